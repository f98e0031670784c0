import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageProperties } from "../../src/model/properties.ts";
import { type Client, type ReceivedMessage, World } from "./amqp091-world.ts";

async function filled(
  count: number,
  settings: { readonly quorum?: boolean } = {},
): Promise<{ world: World; client: Client }> {
  const world = await World.open();
  world.broker.add("q", settings);
  const client = world.open({ capabilities: ["consumer_cancel_notify"] });
  for (let i = 1; i <= count; i++) client.publish("q", `m${i}`);
  return { world, client };
}

function bodies(messages: readonly ReceivedMessage[]): string[] {
  return messages.map((message) => message.body.toString());
}

function redelivered(messages: readonly ReceivedMessage[]): boolean[] {
  return messages.map(
    ({ method }) => (method.name === "basic.deliver" || method.name === "basic.get-ok") && method.redelivered,
  );
}

function qos(client: Client, prefetchCount: number, global = false): void {
  client.send(1, "basic.qos", { prefetchSize: 0, prefetchCount, global });
  client.expect("basic.qos-ok");
}

test("a delivery carries tag, exchange, key, all properties and the body, cut to the negotiated frames", async () => {
  const world = await World.open();
  world.broker.add("q");
  const client = world.open({ frameMax: 4096 });
  const properties: MessageProperties = {
    contentType: "a/b",
    contentEncoding: "gzip",
    headers: new Map([["k", "v"]]),
    deliveryMode: 2,
    priority: 3,
    correlationId: "c",
    replyTo: "r",
    expiration: "60000",
    messageId: "m",
    timestamp: 1700000000n,
    type: "t",
    userId: "guest",
    appId: "app",
    clusterId: "x",
  };
  const body = Buffer.alloc(10_000, "abc");
  client.publish("q", body, { properties, frameMax: 4096 });
  client.publish("q", "");
  client.consume("q", { tag: "my-tag" });
  const [first, second] = client.messages();
  assert.ok(first?.method.name === "basic.deliver" && second?.method.name === "basic.deliver");
  const { consumerTag, deliveryTag, exchange, routingKey } = first.method;
  assert.deepEqual(
    [consumerTag, deliveryTag, exchange, routingKey, first.method.redelivered],
    ["my-tag", 1, "", "q", false],
  );
  assert.deepEqual(first.properties, properties);
  assert.ok(first.body.equals(body));
  assert.equal(first.bodyFrames, 3);
  assert.deepEqual([second.method.deliveryTag, second.body.length, second.bodyFrames], [2, 0, 0]);
});

test("a consumer without a tag gets one from the server", async () => {
  const { client } = await filled(0);
  client.consume("q", { tag: "" });
  assert.match(client.expect("basic.consume-ok").consumerTag, /^amq\.ctag-[\w-]{22}$/);
});

test("prefetch bounds what is in flight, and each ack lets the next message through", async () => {
  const { client } = await filled(5);
  qos(client, 2);
  client.consume("q");
  assert.deepEqual(bodies(client.messages()), ["m1", "m2"]);
  client.ack(1);
  assert.deepEqual(bodies(client.messages()), ["m3"]);
  client.ack(3, true);
  assert.deepEqual(bodies(client.messages()), ["m4", "m5"]);
});

test("a changed prefetch concerns later consumers only", async () => {
  const { world, client } = await filled(0);
  qos(client, 1);
  client.consume("q", { tag: "one" });
  client.expect("basic.consume-ok");
  qos(client, 3);
  client.consume("q", { tag: "three" });
  client.received();
  const publisher = world.open();
  for (let i = 0; i < 10; i++) publisher.publish("q", "x");
  const tags = client.messages().map(({ method }) => method.name === "basic.deliver" && method.consumerTag);
  assert.equal(tags.filter((tag) => tag === "one").length, 1);
  assert.equal(tags.filter((tag) => tag === "three").length, 3);
});

test("a shared prefetch holds for all consumers of the channel together, exactly", async () => {
  const { client } = await filled(6);
  qos(client, 2, true);
  client.consume("q", { tag: "a" });
  client.consume("q", { tag: "b" });
  client.consume("q", { tag: "c" });
  assert.equal(client.messages().length, 2);
  client.ack(1);
  assert.equal(client.messages().length, 1);
  client.consume("q", { tag: "late" });
  assert.equal(client.messages().length, 0, "a new consumer finds the shared credit used up");
  client.ack(0, true);
  assert.equal(client.messages().length, 2);
});

test("a shared prefetch set later concerns consumers that are there, and lifting it lets them go on", async () => {
  const { client } = await filled(2);
  client.consume("q", { tag: "a" });
  client.consume("q", { tag: "b" });
  assert.equal(client.messages().length, 2);
  qos(client, 2, true);
  for (let i = 3; i <= 6; i++) client.publish("q", `m${i}`);
  assert.equal(client.messages().length, 0);
  client.ack(1);
  assert.deepEqual(bodies(client.messages()), ["m3"]);
  client.send(1, "basic.qos", { prefetchSize: 0, prefetchCount: 0, global: true });
  assert.equal(client.messages().length, 3);
});

test("acks reach the broker as ranges", async () => {
  const { world, client } = await filled(10);
  client.consume("q");
  client.received();
  client.ack(4, true);
  assert.deepEqual(world.broker.settled.splice(0), [{ queueId: 1, first: 0, last: 3, reason: 0 }]);
  client.raw(
    Buffer.concat([5, 6, 7, 9, 8].map((tag) => Buffer.from(`0100010000000d003c0050000000000000000${tag}00ce`, "hex"))),
  );
  const ranges = world.broker.settled.map(({ first, last }) => [first, last]);
  assert.deepEqual(ranges, [
    [4, 6],
    [7, 8],
  ]);
});

test("tag 0 with multiple acks everything, and fails on nothing", async () => {
  const { world, client } = await filled(3);
  client.ack(0, true);
  client.consume("q");
  client.received();
  client.ack(0, true);
  assert.equal(world.broker.queues.get("q")?.inFlight.size, 0);
  assert.deepEqual(client.received(), []);
});

test("acking twice is 406", async () => {
  const { client } = await filled(2);
  client.consume("q");
  client.received();
  client.ack(1);
  client.ack(1);
  assert.equal(client.expect("channel.close").replyCode, 406);
});

test("no-ack deliveries need no ack and have tags of the same count", async () => {
  const { world, client } = await filled(2);
  client.consume("q", { noAck: true });
  assert.equal(client.messages().length, 2);
  assert.equal(world.broker.queues.get("q")?.inFlight.size, 0);
  client.consume("q", { tag: "other" });
  client.received();
  client.send(1, "basic.cancel", { consumerTag: "ctag", nowait: false });
  client.expect("basic.cancel-ok");
  client.publish("q", "third");
  const [third] = client.messages();
  assert.ok(third?.method.name === "basic.deliver");
  assert.equal(third.method.deliveryTag, 3);
  client.ack(3);
  assert.deepEqual(client.received(), []);
});

test("nack and reject with requeue bring messages back at their place, marked redelivered; without, they are gone", async () => {
  const { world, client } = await filled(4);
  qos(client, 4);
  client.consume("q");
  client.received();
  client.send(1, "basic.reject", { deliveryTag: 2, requeue: true });
  const again = client.messages();
  assert.deepEqual([bodies(again), redelivered(again)], [["m2"], [true]]);
  client.send(1, "basic.nack", { deliveryTag: 4, multiple: true, requeue: false });
  assert.deepEqual(
    world.broker.settled.map(({ first, last, reason }) => [first, last, reason]),
    [
      [0, 0, 1],
      [2, 3, 1],
    ],
  );
  client.send(1, "basic.nack", { deliveryTag: 5, multiple: false, requeue: true });
  assert.deepEqual(bodies(client.messages()), ["m2"]);
});

test("recover brings everything unacked back in order", async () => {
  const { client } = await filled(3);
  client.consume("q");
  client.received();
  client.ack(2);
  client.send(1, "basic.recover", { requeue: true });
  const frames = client.received();
  assert.ok(frames[0]?.kind === "method" && frames[0].method.name === "basic.recover-ok");
  const texts = frames.flatMap((one) => (one.kind === "body" ? [one.bytes.toString()] : []));
  assert.deepEqual(texts, ["m1", "m3"]);
});

for (const end of ["the channel closes", "the channel fails", "the connection closes", "the socket breaks"] as const) {
  test(`when ${end}, unacked messages go to others in order and marked redelivered`, async () => {
    const { world, client } = await filled(3);
    client.consume("q");
    client.received();
    client.ack(2);
    const closing = { replyCode: 200, replyText: "", classId: 0, methodId: 0 };
    if (end === "the channel closes") client.send(1, "channel.close", closing);
    else if (end === "the channel fails") client.ack(99);
    else if (end === "the connection closes") client.send(0, "connection.close", closing);
    else client.socket.peerClosed(new Error("reset"));
    const other = world.open();
    other.consume("q");
    const messages = other.messages();
    assert.deepEqual(
      [bodies(messages), redelivered(messages)],
      [
        ["m1", "m3"],
        [true, true],
      ],
    );
    assert.equal(world.broker.queues.get("q")?.consumers.length, 1);
  });
}

test("on queues that count, redeliveries carry x-delivery-count and keep the other headers' types", async () => {
  const { client } = await filled(0, { quorum: true });
  client.publish("q", "x", { properties: { headers: new Map([["n", 7n]]), deliveryMode: 2, messageId: "m" } });
  client.publish("q", "y");
  client.consume("q");
  assert.equal(client.messages()[0]?.properties.headers?.has("x-delivery-count"), false);
  client.send(1, "basic.nack", { deliveryTag: 0, multiple: true, requeue: true });
  const [x, y] = client.messages();
  assert.deepEqual(
    x?.properties.headers,
    new Map([
      ["n", 7n],
      ["x-delivery-count", 1n],
    ]),
  );
  assert.deepEqual([x?.properties.messageId, x?.properties.deliveryMode], ["m", 2]);
  assert.deepEqual(y?.properties.headers, new Map([["x-delivery-count", 1n]]));
  client.send(1, "basic.nack", { deliveryTag: 3, multiple: false, requeue: true });
  assert.equal(client.messages()[0]?.properties.headers?.get("x-delivery-count"), 2n);
});

test("basic.get answers with a message and what is left, or get-empty; later methods wait for it", async () => {
  const { world, client } = await filled(2);
  const get = { ticket: 0, queue: "q", noAck: false };
  client.send(1, "basic.get", get);
  client.send(1, "basic.get", get);
  client.send(1, "basic.get", get);
  client.send(1, "channel.flow", { active: true });
  const names = client
    .methods()
    .map((method) => (method.name === "basic.get-ok" ? `${method.deliveryTag}/${method.messageCount}` : method.name));
  assert.deepEqual(names, ["1/1", "2/0", "basic.get-empty", "channel.flow-ok"]);
  client.ack(2, true);
  assert.equal(world.broker.queues.get("q")?.inFlight.size, 0);
});

test("a message got while its connection dies goes back to the queue", async () => {
  const { world, client } = await filled(1);
  client.send(1, "basic.get", { ticket: 0, queue: "q", noAck: false });
  client.socket.peerClosed();
  world.broker.settleDown();
  assert.equal(world.broker.queues.get("q")?.ready.length, 1);
});

test("deleting a queue cancels its consumers with a basic.cancel to clients that asked for it", async () => {
  const { world, client } = await filled(1);
  const plain = world.open();
  client.consume("q", { tag: "told" });
  plain.consume("q", { tag: "untold" });
  client.received();
  plain.received();
  world.broker.deleteQueue({ id: 1, user: "", vhost: "/", mayImpersonate: false }, "q");
  assert.deepEqual(client.methods(), [{ name: "basic.cancel", consumerTag: "told", nowait: true }]);
  assert.deepEqual(plain.received(), []);
  client.ack(1);
  client.consume("q", { tag: "told" });
  assert.equal(client.expect("channel.close").replyCode, 404, "the tag is free again, the queue is gone");
});

test("a cancelled consumer gets nothing more, and its unacked messages stay until they are acked", async () => {
  const { world, client } = await filled(2);
  client.consume("q");
  client.received();
  client.send(1, "basic.cancel", { consumerTag: "ctag", nowait: false });
  client.expect("basic.cancel-ok");
  client.publish("q", "m3");
  assert.deepEqual(client.received(), []);
  client.consume("q", { tag: "next" });
  assert.deepEqual(bodies(client.messages()), ["m3"]);
  client.ack(2, true);
  client.ack(3);
  assert.equal(world.broker.queues.get("q")?.inFlight.size, 0);
});

test("a socket that takes no bytes stops deliveries near the limit, and they go on after it drained", async () => {
  const world = await World.open();
  const queue = world.broker.add("q");
  const client = world.open();
  const publisher = world.open();
  const body = Buffer.alloc(100_000, "z");
  for (let i = 0; i < 50; i++) publisher.publish("q", body);
  client.socket.stuck = true;
  client.consume("q", { noAck: true });
  const first = client.messages().length;
  assert.ok(first >= 10 && first <= 12, `${first} deliveries fill the socket`);
  assert.equal(client.messages().length, 0);
  client.socket.stuck = false;
  client.socket.flushed();
  let rest = 0;
  for (let i = 0; i < 10; i++) rest += client.messages().length;
  assert.equal(first + rest, 50);
  assert.equal(queue.ready.length, 0);
});
