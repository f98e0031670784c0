import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../src/limits.ts";
import type { MessageProperties } from "../../src/model/properties.ts";
import { readRecord } from "../../src/protocols/amqp091/record.ts";
import { type Client, frame, headerFrame, methodFrame, publishFrames, World } from "./amqp091-world.ts";

const PERSISTENT: MessageProperties = { deliveryMode: 2 };

async function confirming(): Promise<{ world: World; client: Client }> {
  const world = await World.open();
  world.broker.add("q");
  const client = world.open({ capabilities: ["connection.blocked"] });
  client.send(1, "confirm.select", { nowait: false });
  client.expect("confirm.select-ok");
  return { world, client };
}

function acks(client: Client): string[] {
  return client.methods().map((method) => {
    assert.ok(method.name === "basic.ack", `only acks are expected, not ${method.name}`);
    return `${method.deliveryTag}${method.multiple ? "*" : ""}`;
  });
}

test("a message is stored byte for byte, at whatever place its bytes are cut in two", async () => {
  const body = Buffer.from("the body of the message");
  const properties: MessageProperties = { contentType: "text/plain", deliveryMode: 2, headers: new Map([["a", 1]]) };
  const bytes = Buffer.concat([
    publishFrames("q", body, { properties }),
    publishFrames("q", "", {}),
    publishFrames("q", "tail", {}),
  ]);
  const world = await World.open();
  const queue = world.broker.add("q");
  const client = world.open();
  for (let cut = 0; cut <= bytes.length; cut++) {
    client.raw(bytes.subarray(0, cut));
    client.raw(bytes.subarray(cut));
    const stored = queue.ready.splice(0).map((message) => readRecord(message.record));
    assert.deepEqual(
      stored.map((record) => record.body.toString()),
      [body.toString(), "", "tail"],
      `cut at ${cut}`,
    );
    assert.deepEqual(stored[0]?.properties, bytes.subarray(bytes.indexOf("text/plain") - 3, bytes.indexOf(body) - 8));
    assert.deepEqual([stored[0]?.exchange, stored[0]?.routingKey], ["", "q"]);
  }
  for (const byte of bytes) client.raw(Buffer.of(byte));
  assert.equal(queue.ready.length, 3);
  assert.deepEqual(client.received(), []);
});

test("messages of several channels, interleaved frame by frame with heartbeats, are kept apart", async () => {
  const world = await World.open();
  const queue = world.broker.add("q");
  const client = world.open();
  client.send(2, "channel.open", { outOfBand: "" });
  const publish = { ticket: 0, exchange: "", routingKey: "q", mandatory: false, immediate: false };
  client.raw(
    Buffer.concat([
      methodFrame(1, "basic.publish", publish),
      methodFrame(2, "basic.publish", publish),
      headerFrame(2, 6, {}),
      frame(3, 2, Buffer.from("tw")),
      headerFrame(1, 3, {}),
      frame(8, 0, Buffer.alloc(0)),
      frame(3, 1, Buffer.from("one")),
      frame(3, 2, Buffer.alloc(0)),
      frame(3, 2, Buffer.from("o---")),
    ]),
  );
  assert.deepEqual(
    queue.ready.map((message) => readRecord(message.record).body.toString()),
    ["one", "two---"],
  );
});

test("a body of many frames arrives whole, also with the smallest frames", async () => {
  const world = await World.open();
  const queue = world.broker.add("q");
  const client = world.open({ frameMax: 4096 });
  const body = Buffer.alloc(300_000, "0123456789abcdef");
  const bytes = publishFrames("q", body, { frameMax: 4096 });
  for (let at = 0; at < bytes.length; at += 65536) client.raw(bytes.subarray(at, at + 65536));
  client.raw(bytes);
  assert.equal(queue.ready.length, 2);
  for (const message of queue.ready) assert.ok(readRecord(message.record).body.equals(body));
});

test("the route of a key is looked up once, and again after the topology has changed", async () => {
  const world = await World.open();
  const queue = world.broker.add("q");
  world.broker.add("other");
  const client = world.open();
  for (let i = 0; i < 5; i++)
    client.raw(Buffer.concat([publishFrames("q", "1"), publishFrames("q", "2"), publishFrames("other", "3")]));
  assert.equal(world.broker.routeLookups, 2);
  world.broker.deleteQueue({ id: 1, user: "", vhost: "/", mayImpersonate: false }, "q");
  client.publish("q", "to nobody");
  assert.equal(world.broker.routeLookups, 3);
  assert.equal(queue.ready.length, 10);
});

test("a persistent message is confirmed only when its commit is durable, many with one ack", async () => {
  const { world, client } = await confirming();
  for (let i = 0; i < 3; i++) client.publish("q", "p", { properties: PERSISTENT });
  assert.deepEqual(client.received(), []);
  world.broker.commit();
  assert.deepEqual(acks(client), ["3*"]);
  client.publish("q", "p", { properties: PERSISTENT });
  world.broker.commit();
  assert.deepEqual(acks(client), ["4"]);
});

test("a transient message is confirmed in the same turn, but never ahead of an earlier persistent one", async () => {
  const { world, client } = await confirming();
  client.publish("q", "t");
  client.publish("q", "t");
  assert.deepEqual(acks(client), ["2*"]);
  client.publish("q", "p", { properties: PERSISTENT });
  client.publish("q", "t");
  assert.deepEqual(client.received(), []);
  world.broker.commit();
  assert.deepEqual(acks(client), ["4*"]);
});

test("each channel counts its own confirms", async () => {
  const { world, client } = await confirming();
  client.send(2, "channel.open", { outOfBand: "" });
  client.send(2, "confirm.select", { nowait: true });
  client.received();
  client.publish("q", "a", { properties: PERSISTENT });
  client.publish("q", "b", { properties: PERSISTENT, channel: 2 });
  client.publish("q", "c", { properties: PERSISTENT, channel: 2 });
  world.broker.commit();
  const frames = client
    .received()
    .map((one) => one.kind === "method" && one.method.name === "basic.ack" && [one.channel, one.method.deliveryTag]);
  assert.deepEqual(frames, [
    [1, 1],
    [2, 2],
  ]);
});

test("an unroutable mandatory message is returned whole, before its confirm", async () => {
  const { client } = await confirming();
  const body = Buffer.alloc(200_000, "x");
  client.publish("nowhere", body, { mandatory: true, properties: { messageId: "m1" } });
  const frames = client.received();
  const names = frames.flatMap((one) => (one.kind === "method" ? [one.method.name] : []));
  assert.deepEqual(names, ["basic.return", "basic.ack"]);
  const first = frames[0];
  assert.ok(first?.kind === "method" && first.method.name === "basic.return");
  assert.deepEqual(
    [first.method.replyCode, first.method.replyText, first.method.routingKey],
    [312, "NO_ROUTE", "nowhere"],
  );
  const header = frames[1];
  assert.ok(header?.kind === "header" && header.bodySize === body.length && header.properties.messageId === "m1");
  const returned = Buffer.concat(frames.flatMap((one) => (one.kind === "body" ? [one.bytes] : [])));
  assert.ok(returned.equals(body));
});

test("an unroutable message that is not mandatory is dropped and confirmed", async () => {
  const { client } = await confirming();
  client.publish("nowhere", "x", { properties: PERSISTENT });
  assert.deepEqual(acks(client), ["1"]);
});

test("under an alarm a publisher is held at its publish and told, and goes on when the alarm is over", async () => {
  const { world, client } = await confirming();
  world.broker.flow({ blocked: "disk" });
  client.publish("q", "held");
  const blocked = client.expect("connection.blocked");
  assert.equal(blocked.reason, "low on disk");
  assert.equal(client.socket.paused, true);
  assert.equal(world.broker.published, 0);
  client.publish("q", "held too");
  assert.deepEqual(client.received(), []);
  world.broker.flow({ blocked: undefined });
  assert.deepEqual(client.methodNames(), ["connection.unblocked", "basic.ack"]);
  assert.equal(client.socket.paused, false);
  assert.equal(world.broker.published, 2);
});

test("an alarm leaves consumers alone, and a publisher without the capability is held silently", async () => {
  const world = await World.open();
  const queue = world.broker.add("q");
  const publisher = world.open();
  publisher.publish("q", "before");
  world.broker.flow({ blocked: "memory" });
  const consumer = world.open();
  consumer.consume("q");
  assert.equal(consumer.messages().length, 1);
  consumer.ack(1);
  assert.equal(queue.inFlight.size, 0);
  publisher.publish("q", "held");
  assert.deepEqual(publisher.received(), []);
  assert.equal(publisher.socket.paused, true);
  world.broker.flow({ blocked: undefined });
  assert.equal(consumer.messages().length, 1);
});

test("a held publisher is not dropped for missed heartbeats", async () => {
  const world = await World.open();
  const client = world.open({ heartbeat: 1 });
  world.broker.flow({ blocked: "memory" });
  client.publish("q", "held");
  world.clock.advance(60_000);
  assert.equal(client.socket.destroyed, false);
});

test("congestion pauses the sockets that publish, and only those, until it is over", async () => {
  const world = await World.open();
  world.broker.add("q");
  const publisher = world.open();
  const other = world.open();
  world.broker.congestion = "all";
  publisher.publish("q", "x");
  other.send(1, "basic.qos", { prefetchSize: 0, prefetchCount: 1, global: false });
  assert.equal(publisher.socket.paused, true);
  assert.equal(other.socket.paused, false);
  assert.equal(world.broker.published, 1, "what was read is published");
  world.broker.flow({ congestion: "none" });
  assert.equal(publisher.socket.paused, false);
});

test("who publishes much waits for a short backlog while others publish little, and only then", async () => {
  const world = await World.open();
  world.broker.add("q");
  const [flood, modest] = [world.open(), world.open()];
  const second = (): void => {
    flood.publish("q", Buffer.alloc(LIMITS.modestBytesMax + 1), { properties: PERSISTENT });
    flood.settle();
    world.clock.advance(1000);
  };
  world.broker.congestion = "many";
  second();
  flood.publish("q", "x");
  assert.equal(flood.socket.paused, false, "nobody else is there to wait for it");
  modest.publish("q", "x");
  flood.publish("q", "x");
  modest.publish("q", "x");
  assert.deepEqual([flood.socket.paused, modest.socket.paused], [true, false]);
  world.broker.flow({});
  assert.equal(flood.socket.paused, true, "nothing has changed");
  world.broker.flow({ congestion: "none" });
  assert.equal(flood.socket.paused, false);
  world.broker.congestion = "many";
  flood.publish("q", "x");
  assert.equal(flood.socket.paused, true);
  world.clock.advance(7000);
  assert.equal(flood.socket.paused, false, "the others have stopped publishing");
});

test("one turn makes one write to a socket, whatever it answers", async () => {
  const { world, client } = await confirming();
  const before = client.socket.writes;
  client.consume("q", { tag: "c" });
  for (let i = 0; i < 50; i++) client.publish("q", `m${i}`);
  world.broker.turn();
  assert.equal(client.socket.writes, before + 1);
  assert.equal(client.messages().length, 50);
});

test("a connection that sends more than its share of a turn waits for the next one", async () => {
  const world = await World.open();
  const queue = world.broker.add("q");
  const client = world.open();
  const bytes = publishFrames("q", Buffer.alloc(65_000));
  for (let i = 0; i < 4; i++) client.raw(bytes);
  assert.equal(client.socket.paused, false);
  client.raw(bytes);
  assert.equal(client.socket.paused, true);
  assert.equal(queue.ready.length, 5, "what was read is parsed");
  world.broker.turn();
  assert.equal(client.socket.paused, false);
});

for (const name of ["channel.close", "connection.close"] as const) {
  test(`confirms that are due leave before the answer to ${name}`, async () => {
    const { world, client } = await confirming();
    client.publish("q", "p", { properties: PERSISTENT });
    world.broker.commit();
    const closing = { replyCode: 200, replyText: "", classId: 0, methodId: 0 };
    client.send(name === "channel.close" ? 1 : 0, name, closing);
    assert.deepEqual(client.methodNames(), ["basic.ack", `${name}-ok`]);
  });
}
