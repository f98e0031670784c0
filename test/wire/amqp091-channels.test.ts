import assert from "node:assert/strict";
import { test } from "node:test";
import { InvariantError } from "../../src/assert.ts";
import { StorageError } from "../../src/model/errors.ts";
import { encodeMethod } from "../../src/protocols/amqp091/methods.ts";
import type { MethodFields, MethodName } from "../../src/protocols/amqp091/spec.ts";
import { type Client, frame, headerFrame, methodFrame, NO_ARGUMENTS, publishFrames, World } from "./amqp091-world.ts";

const QUEUE = {
  ticket: 0,
  passive: false,
  durable: true,
  exclusive: false,
  autoDelete: false,
  nowait: false,
  arguments: NO_ARGUMENTS,
};
const CONSUME = {
  ticket: 0,
  queue: "q",
  consumerTag: "c",
  noLocal: false,
  noAck: false,
  exclusive: false,
  nowait: false,
  arguments: NO_ARGUMENTS,
};
const PUBLISH = { ticket: 0, exchange: "", routingKey: "q", mandatory: false, immediate: false };

interface ErrorCase {
  readonly what: string;
  readonly channel?: number;
  readonly bytes: Buffer;
  readonly level: "channel.close" | "connection.close";
  readonly code: number;
  readonly text?: string;
  readonly ids?: readonly [number, number];
}

function method<N extends MethodName>(name: N, fields: MethodFields<N>): Buffer {
  return methodFrame(1, name, fields);
}

const CASES: readonly ErrorCase[] = [
  {
    what: "a passive declare of a missing queue",
    bytes: method("queue.declare", { ...QUEUE, queue: "none", passive: true }),
    level: "channel.close",
    code: 404,
    text: "NOT_FOUND - no queue 'none' in vhost '/'",
    ids: [50, 10],
  },
  {
    what: "consuming from a missing queue",
    bytes: method("basic.consume", { ...CONSUME, queue: "none" }),
    level: "channel.close",
    code: 404,
    text: "NOT_FOUND - no queue 'none' in vhost '/'",
    ids: [60, 20],
  },
  {
    what: "getting from a missing queue",
    bytes: method("basic.get", { ticket: 0, queue: "none", noAck: true }),
    level: "channel.close",
    code: 404,
    ids: [60, 70],
  },
  {
    what: "publishing to a missing exchange",
    bytes: publishFrames("k", "body", { exchange: "none" }),
    level: "channel.close",
    code: 404,
    text: "NOT_FOUND - no exchange 'none' in vhost '/'",
    ids: [60, 40],
  },
  {
    what: "an empty queue name with no queue declared before",
    bytes: method("queue.purge", { ticket: 0, queue: "", nowait: false }),
    level: "channel.close",
    code: 404,
    text: "NOT_FOUND - no previously declared queue",
    ids: [50, 30],
  },
  {
    what: "an ack of an unknown delivery tag",
    bytes: method("basic.ack", { deliveryTag: 99, multiple: false }),
    level: "channel.close",
    code: 406,
    text: "PRECONDITION_FAILED - unknown delivery tag 99",
    ids: [60, 80],
  },
  {
    what: "a nack of an unknown delivery tag",
    bytes: method("basic.nack", { deliveryTag: 5, multiple: true, requeue: true }),
    level: "channel.close",
    code: 406,
    text: "PRECONDITION_FAILED - unknown delivery tag 5",
    ids: [60, 120],
  },
  {
    what: "a body above the size limit",
    bytes: Buffer.concat([method("basic.publish", PUBLISH), headerFrame(1, 16 * 1024 * 1024 + 1, {})]),
    level: "channel.close",
    code: 406,
    text: "PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216",
    ids: [60, 40],
  },
  {
    what: "a foreign user-id",
    bytes: publishFrames("q", "b", { properties: { userId: "mallory" } }),
    level: "channel.close",
    code: 406,
    text: "PRECONDITION_FAILED - user_id property set to 'mallory' but authenticated user was 'guest'",
  },
  {
    what: "an expiration that is no number",
    bytes: publishFrames("q", "b", { properties: { expiration: "abc" } }),
    level: "channel.close",
    code: 406,
    text: "PRECONDITION_FAILED - invalid expiration 'abc': no_integer",
  },
  {
    what: "an expiration with a unit",
    bytes: publishFrames("q", "b", { properties: { expiration: "10s" } }),
    level: "channel.close",
    code: 406,
    text: "PRECONDITION_FAILED - invalid expiration '10s': {leftover_string,\"s\"}",
  },
  {
    what: "a negative expiration",
    bytes: publishFrames("q", "b", { properties: { expiration: "-1" } }),
    level: "channel.close",
    code: 406,
    text: "PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}",
  },
  {
    what: "immediate publishing",
    bytes: publishFrames("q", "b", { immediate: true }),
    level: "connection.close",
    code: 540,
    text: "NOT_IMPLEMENTED - immediate=true",
    ids: [60, 40],
  },
  {
    what: "a prefetch in bytes",
    bytes: method("basic.qos", { prefetchSize: 1, prefetchCount: 0, global: false }),
    level: "connection.close",
    code: 540,
    text: "NOT_IMPLEMENTED - prefetch_size!=0 (1)",
    ids: [60, 10],
  },
  {
    what: "recover without requeue",
    bytes: method("basic.recover", { requeue: false }),
    level: "connection.close",
    code: 540,
    ids: [60, 110],
  },
  {
    what: "channel.flow off",
    bytes: method("channel.flow", { active: false }),
    level: "connection.close",
    code: 540,
    text: "NOT_IMPLEMENTED - active=false",
    ids: [20, 20],
  },
  {
    what: "a method of no known class",
    bytes: frame(1, 1, Buffer.of(0, 99, 0, 1)),
    level: "connection.close",
    code: 540,
  },
  {
    what: "a second channel.open",
    bytes: method("channel.open", { outOfBand: "" }),
    level: "connection.close",
    code: 504,
    text: "CHANNEL_ERROR - second 'channel.open' seen",
    ids: [20, 10],
  },
  {
    what: "a method on a channel that is not open",
    bytes: methodFrame(2, "basic.qos", { prefetchSize: 0, prefetchCount: 1, global: false }),
    level: "connection.close",
    code: 504,
    text: "CHANNEL_ERROR - expected 'channel.open'",
    ids: [60, 10],
  },
  {
    what: "a connection method on a channel",
    bytes: methodFrame(1, "connection.tune-ok", { channelMax: 1, frameMax: 1, heartbeat: 1 }),
    level: "connection.close",
    code: 503,
  },
  {
    what: "a server's method sent by the client",
    bytes: method("basic.consume-ok", { consumerTag: "c" }),
    level: "connection.close",
    code: 503,
  },
  { what: "an unknown frame type", bytes: frame(7, 1, Buffer.alloc(3)), level: "connection.close", code: 501 },
  { what: "a heartbeat on a channel", bytes: frame(8, 1, Buffer.alloc(0)), level: "connection.close", code: 505 },
  { what: "a content header without a method", bytes: headerFrame(1, 3, {}), level: "connection.close", code: 505 },
  { what: "a body without a header", bytes: frame(3, 1, Buffer.alloc(3)), level: "connection.close", code: 505 },
  {
    what: "a body on a channel that is not open",
    bytes: frame(3, 77, Buffer.alloc(3)),
    level: "connection.close",
    code: 505,
  },
  {
    what: "a method between publish and its header",
    bytes: Buffer.concat([method("basic.publish", PUBLISH), method("channel.flow", { active: true })]),
    level: "connection.close",
    code: 505,
  },
  {
    what: "a content header of another class",
    bytes: Buffer.concat([
      method("basic.publish", PUBLISH),
      frame(2, 1, Buffer.concat([Buffer.of(0, 50), Buffer.alloc(10), Buffer.of(0, 0)])),
    ]),
    level: "connection.close",
    code: 505,
    text: "UNEXPECTED_FRAME - expected content header for class 60, got one for class 50 instead",
  },
  {
    what: "a body longer than its header says",
    bytes: Buffer.concat([method("basic.publish", PUBLISH), headerFrame(1, 2, {}), frame(3, 1, Buffer.alloc(3))]),
    level: "connection.close",
    code: 501,
  },
  {
    what: "arguments that run over the end of the frame",
    bytes: frame(1, 1, encodeMethod("queue.declare", { ...QUEUE, queue: "abc" }).subarray(0, 9)),
    level: "connection.close",
    code: 502,
    ids: [50, 10],
  },
  {
    what: "malformed properties",
    bytes: Buffer.concat([
      method("basic.publish", PUBLISH),
      frame(2, 1, Buffer.concat([Buffer.of(0, 60), Buffer.alloc(10), Buffer.of(0x80, 0, 9, 65)])),
    ]),
    level: "connection.close",
    code: 502,
  },
];

for (const { what, bytes, level, code, text, ids } of CASES) {
  test(`${what} is answered with ${level} ${code}`, async () => {
    const world = await World.open();
    const client = world.open();
    client.raw(bytes);
    const close = client.expect(level);
    assert.equal(close.replyCode, code);
    if (text !== undefined) assert.equal(close.replyText, text);
    if (ids !== undefined) assert.deepEqual([close.classId, close.methodId], ids);
    assert.equal(world.door.internalErrors, 0);
    // The same error byte by byte: chunking changes nothing.
    const slow = world.open();
    for (const byte of bytes) slow.raw(Buffer.of(byte));
    const again = slow.expect(level);
    assert.deepEqual([again.replyCode, again.replyText], [close.replyCode, close.replyText]);
  });
}

test("a frame that does not end with the end mark, or is too large, is 501 and ends the socket", async () => {
  const world = await World.open();
  const unmarked = frame(1, 1, encodeMethod("tx.select", {}));
  unmarked[unmarked.length - 1] = 0;
  for (const bytes of [unmarked, Buffer.from("010001000010ff", "hex"), Buffer.from("01000100ffffff", "hex")]) {
    const client = world.open({ frameMax: 4096 });
    client.raw(Buffer.concat([bytes, Buffer.alloc(20)]));
    assert.equal(client.expect("connection.close").replyCode, 501);
    assert.equal(client.socket.ended, true);
  }
});

test("after a channel error the channel ignores everything until close-ok, and then can be opened again", async () => {
  const world = await World.open();
  world.broker.add("q");
  const client = world.open();
  client.ack(1);
  client.expect("channel.close");
  client.publish("q", "ignored");
  for (const part of [0, 20, 40]) client.raw(publishFrames("q", "ignored").subarray(part, part + 20));
  client.send(1, "basic.qos", { prefetchSize: 0, prefetchCount: 1, global: false });
  assert.deepEqual(client.received(), []);
  client.send(1, "channel.close-ok", {});
  client.send(1, "channel.open", { outOfBand: "" });
  client.expect("channel.open-ok");
  client.publish("q", "taken");
  client.received();
  assert.equal(world.broker.queues.get("q")?.ready.length, 1);
});

test("two sides that close a channel at once both get their close-ok", async () => {
  const client = (await World.open()).open();
  client.ack(1);
  client.expect("channel.close");
  client.send(1, "channel.close", { replyCode: 200, replyText: "", classId: 0, methodId: 0 });
  client.expect("channel.close-ok");
  client.send(1, "channel.close-ok", {});
  client.send(1, "channel.open", { outOfBand: "" });
  client.expect("channel.open-ok");
});

test("a reused consumer tag is 530 for the connection", async () => {
  const world = await World.open();
  world.broker.add("q");
  const client = world.open();
  client.consume("q", { tag: "same" });
  client.consume("q", { tag: "same" });
  const close = client.methods().at(-1);
  assert.ok(close?.name === "connection.close");
  assert.deepEqual([close.replyCode, close.replyText], [530, "NOT_ALLOWED - attempt to reuse consumer tag 'same'"]);
});

test("a bug while a connection is served ends that connection with 541, is counted and hurts nobody else", async () => {
  const world = await World.open();
  world.broker.add("q");
  const client = world.open();
  const other = world.open();
  world.broker.failure = new InvariantError("planted");
  client.publish("q", "x");
  const close = client.expect("connection.close");
  assert.equal(close.replyCode, 541);
  assert.doesNotMatch(close.replyText, /planted/);
  assert.equal(world.door.internalErrors, 1);
  world.broker.failure = undefined;
  other.publish("q", "y");
  other.received();
  assert.equal(world.broker.queues.get("q")?.ready.length, 1);
});

test("failed storage is 541 and nothing is confirmed", async () => {
  const world = await World.open();
  world.broker.add("q");
  const client = world.open();
  client.send(1, "confirm.select", { nowait: true });
  world.broker.failure = new StorageError("io", "disk gone");
  client.publish("q", "x", { properties: { deliveryMode: 2 } });
  world.broker.commit();
  assert.equal(client.expect("connection.close").replyCode, 541);
});

test("an empty queue name means the queue that the channel declared last, also as routing key", async () => {
  const world = await World.open();
  const client = world.open();
  client.send(1, "queue.declare", { ...QUEUE, queue: "" });
  const { queue } = client.expect("queue.declare-ok");
  client.send(1, "queue.bind", {
    ticket: 0,
    queue: "",
    exchange: "amq.direct",
    routingKey: "",
    nowait: false,
    arguments: NO_ARGUMENTS,
  });
  client.expect("queue.bind-ok");
  assert.deepEqual([world.broker.bindings[0]?.queue, world.broker.bindings[0]?.routingKey], [queue, queue]);
});

test("a change of the topology is answered when it is durable, and what follows waits for it, nowait too", async () => {
  const world = await World.open();
  const client = world.open();
  world.broker.metaIsDurable = false;
  const declare = { ...QUEUE, queue: "q" };
  client.raw(
    Buffer.concat([
      methodFrame(1, "queue.declare", { ...declare, nowait: true }),
      methodFrame(1, "queue.declare", declare),
      methodFrame(1, "queue.delete", { ticket: 0, queue: "q", ifUnused: false, ifEmpty: false, nowait: false }),
    ]),
  );
  assert.deepEqual(client.received(), []);
  assert.equal(world.broker.queues.size, 1);
  client.publish("q", "held back");
  assert.equal(client.socket.paused, true, "what arrives meanwhile pauses the socket");
  world.broker.commitMeta();
  assert.deepEqual(client.received(), []);
  world.broker.commitMeta();
  assert.deepEqual(client.methodNames(), ["queue.declare-ok"]);
  assert.equal(world.broker.queues.size, 0, "the delete has been carried out, but is not answered yet");
  assert.equal(world.broker.published, 0);
  world.broker.commitMeta();
  assert.deepEqual(client.methodNames(), ["queue.delete-ok"]);
  assert.equal(world.broker.published, 1);
  assert.equal(client.socket.paused, false);
});

function channelsOf(client: Client, count: number): void {
  for (let channel = 2; channel <= count; channel++) client.send(channel, "channel.open", { outOfBand: "" });
  client.received();
}

test("closing a channel leaves the others alone", async () => {
  const world = await World.open();
  world.broker.add("q");
  const client = world.open();
  channelsOf(client, 3);
  assert.equal(world.door.channelCount, 3);
  client.send(2, "channel.close", { replyCode: 200, replyText: "", classId: 0, methodId: 0 });
  client.expect("channel.close-ok");
  client.publish("q", "x", { channel: 3 });
  client.received();
  assert.equal(world.broker.queues.get("q")?.ready.length, 1);
  assert.equal(world.door.channelCount, 2);
});
