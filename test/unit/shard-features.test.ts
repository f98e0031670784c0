// What queue settings do to messages, over the memory log with small pages: priorities, lifetimes, limits,
// dead letters, retries, delays and duplicates.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SETTLE_REJECTED } from "../../src/model/delivery.ts";
import type { IncomingMessage } from "../../src/model/message.ts";
import { encodeTable } from "../../src/model/field-table.ts";
import { FLAG_HEADERS, FLAG_MESSAGE_ID } from "../../src/model/properties.ts";
import {
  type Death,
  type DeadLetter,
  PLAIN_SETTINGS,
  type QueueSettings,
  REFUSED,
} from "../../src/queues/shard-port.ts";
import { messageOf, ShardWorld, SMALL, TestSink, textOf } from "./shard-world.ts";

async function worldWith(settings: Partial<QueueSettings>): Promise<ShardWorld> {
  const world = new ShardWorld(SMALL);
  await world.open();
  world.shard.createQueue(1, { ...PLAIN_SETTINGS, ...settings });
  return world;
}

/** A message with a wish. */
function wish(text: string, wishes: Partial<Pick<IncomingMessage, "priority" | "expirationMs" | "delayMs">>) {
  return Object.assign(messageOf(text, true), wishes);
}

function withMessageId(text: string, id: string): IncomingMessage {
  const message = messageOf(text, true);
  const flags = Buffer.alloc(2);
  flags.writeUInt16BE(FLAG_MESSAGE_ID);
  message.properties = Buffer.concat([flags, Buffer.of(id.length), Buffer.from(id)]);
  message.propertiesEnd = message.properties.length;
  return message;
}

function withHeader(text: string, name: string, value: string): IncomingMessage {
  const message = messageOf(text, true);
  const flags = Buffer.alloc(2);
  flags.writeUInt16BE(FLAG_HEADERS);
  message.properties = Buffer.concat([flags, encodeTable(new Map([[name, value]]))]);
  message.propertiesEnd = message.properties.length;
  return message;
}

/** Sends every dead letter of queue 1 to queue 2, with the reason in front of the body. */
function deadLettersTo2(world: ShardWorld): void {
  world.shard.setDeadLetterRouter({
    route(death: Death): DeadLetter {
      return {
        message: messageOf(`${death.reason}:${textOf(death.bytes, death.start, death.size)}`, true),
        queueIds: [2],
      };
    },
  });
}

test("a message of higher priority overtakes the backlog, and its order is kept inside a priority", async () => {
  const world = await worldWith({ priorityMax: 5 });
  for (const [text, priority] of [
    ["a0", 0],
    ["b3", 3],
    ["c5", 9],
    ["d3", 3],
    ["e0", 0],
  ] as const) {
    world.shard.publish(wish(text, { priority }), [1]);
  }
  await world.committed();
  await world.parts.close();
  await world.open();
  world.shard.configureQueue(1, { ...PLAIN_SETTINGS, priorityMax: 5 });
  const sink = new TestSink();
  world.consume(1, sink);
  await world.until(() => sink.received.length === 5, "all delivered");
  assert.deepEqual(sink.texts(), ["c5", "b3", "d3", "a0", "e0"]);
});

test("a message that has expired is never delivered, and takes no room, with or without a consumer", async () => {
  const world = await worldWith({ messageTtlMs: 30 });
  world.shard.publish(messageOf("short", true), [1]);
  world.shard.publish(wish("shorter", { expirationMs: 1 }), [1]);
  world.shard.publish(wish("limited by the queue", { expirationMs: 60_000 }), [1]);
  await world.until(() => world.shard.counts(1).ready === 0, "expired without a consumer");
  assert.equal(world.shard.counts(1).bytes, 0);
  assert.equal(world.shard.counts(1).counters.expired, 3);
});

test("a lifetime goes on over a restart", async () => {
  const world = await worldWith({});
  world.shard.publish(wish("dies", { expirationMs: 40 }), [1]);
  world.shard.publish(wish("lives", { expirationMs: 3_600_000 }), [1]);
  await world.committed();
  await world.parts.close();
  await world.open();
  await world.until(() => world.shard.counts(1).ready === 1, "one expired");
  const sink = new TestSink();
  world.consume(1, sink);
  await world.until(() => sink.received.length === 1, "the other one delivered");
  assert.deepEqual(sink.texts(), ["lives"]);
});

test("a message without lifetime is delivered at once or not at all", async () => {
  const world = await worldWith({ messageTtlMs: 0 });
  world.shard.publish(messageOf("nobody there", true), [1]);
  await world.until(() => world.shard.counts(1).ready === 0, "expired");
  const sink = new TestSink();
  world.consume(1, sink);
  for (const text of ["somebody there", "and for the next one"]) world.shard.publish(messageOf(text, true), [1]);
  await world.until(() => sink.received.length === 2, "delivered");
  assert.deepEqual(sink.texts(), ["somebody there", "and for the next one"]);
  // Once it came back it waits for nobody.
  world.shard.requeue(1, 0, sink.received[0]!.sequence, "client");
  await world.until(() => world.shard.counts(1).ready === 0, "expired");
  assert.deepEqual([sink.received.length, world.shard.counts(1).inFlight], [2, 1]);
});

test("a queue that is too long drops its oldest messages, what consumers hold not counted", async () => {
  const world = await worldWith({ lengthMax: 3 });
  for (let i = 0; i < 10; i++) world.shard.publish(messageOf(`m${i}`, true), [1]);
  await world.committed();
  assert.equal(world.shard.counts(1).ready, 3);
  const sink = new TestSink();
  world.consume(1, sink);
  await world.until(() => sink.received.length === 3, "the rest delivered");
  assert.deepEqual(sink.texts(), ["m7", "m8", "m9"]);
});

test("a queue that holds too many bytes drops its oldest messages", async () => {
  const world = await worldWith({ bytesMax: 150 });
  for (let i = 0; i < 10; i++) world.shard.publish(messageOf("x".repeat(40), true), [1]);
  await world.committed();
  const { ready, readyBytes } = world.shard.counts(1);
  assert.ok(readyBytes <= 150 && ready >= 2, `${ready} messages of ${readyBytes} bytes`);
});

test("a full queue that rejects publishes says so, and the other queues get the message", async () => {
  const world = await worldWith({ lengthMax: 1, overflow: "reject-publish" });
  world.shard.createQueue(2, PLAIN_SETTINGS);
  assert.ok(world.shard.publish(messageOf("fits", true), [1]) > 0);
  assert.equal(world.shard.publish(messageOf("too much", true), [1, 2]), REFUSED);
  await world.committed();
  assert.deepEqual([world.shard.counts(1).ready, world.shard.counts(2).ready], [1, 1]);
  assert.equal(world.shard.counts(1).counters.refused, 1);
});

test("a full queue takes what its consumers can take at once", async () => {
  const world = await worldWith({ lengthMax: 1, overflow: "reject-publish" });
  const sink = new TestSink();
  world.consume(1, sink);
  for (let i = 0; i < 20; i++) assert.notEqual(world.shard.publish(messageOf(`m${i}`, true), [1]), REFUSED);
  await world.until(() => sink.received.length === 20, "all delivered");
});

test("what is rejected, expired or too much goes to the dead letters, in order, and nowhere else", async () => {
  const world = await worldWith({ deadLetters: true, lengthMax: 4 });
  world.shard.createQueue(2, PLAIN_SETTINGS);
  deadLettersTo2(world);
  const sink = new TestSink(2);
  world.consume(1, sink);
  for (let i = 0; i < 8; i++) world.shard.publish(messageOf(`m${i}`, true), [1]);
  await world.until(() => sink.received.length === 2 && world.shard.counts(2).ready === 2, "two too many");
  world.shard.settle(1, 0, sink.received[0]!.sequence, sink.received[1]!.sequence, SETTLE_REJECTED);
  world.shard.publish(wish("short", { expirationMs: 1 }), [1]);
  await world.until(() => world.shard.counts(2).ready >= 5, "all of them dead letters");
  await world.committed();
  await world.parts.close();
  await world.open();
  const dead = new TestSink();
  world.consume(2, dead);
  await world.until(() => dead.received.length >= 5, "dead letters delivered");
  assert.deepEqual(dead.texts().slice(0, 4), ["maxlen:m2", "maxlen:m3", "rejected:m0", "rejected:m1"]);
  assert.ok(dead.texts().includes("expired:short") || dead.texts().includes("maxlen:m4"));
  const rest = new TestSink();
  world.consume(1, rest);
  await world.until(() => rest.received.length + dead.received.length === 9, "each in exactly one place");
});

test("dead letters whose bodies are on disk are read back and keep their order", async () => {
  const world = await worldWith({});
  world.shard.createQueue(2, PLAIN_SETTINGS);
  deadLettersTo2(world);
  const texts = Array.from({ length: 400 }, (_, i) => `m${i}`);
  for (const text of texts) world.shard.publish(messageOf(text + "z".repeat(60), true), [1]);
  await world.committed();
  world.shard.configureQueue(1, { ...PLAIN_SETTINGS, deadLetters: true, lengthMax: 10 });
  await world.until(() => world.shard.counts(2).ready === 390, "all but ten are dead letters");
  const dead = new TestSink();
  world.consume(2, dead);
  await world.until(() => dead.received.length === 390, "dead letters delivered");
  assert.deepEqual(
    dead.texts().map((text) => text.replace(/z+$/, "")),
    texts.slice(0, 390).map((text) => `maxlen:${text}`),
  );
});

test("a message that came back too often is a dead letter; what the client asks for does not count", async () => {
  const world = await worldWith({ deadLetters: true, deliveryLimit: 2 });
  world.shard.createQueue(2, PLAIN_SETTINGS);
  deadLettersTo2(world);
  const sink = new TestSink();
  world.consume(1, sink);
  world.shard.publish(messageOf("poison", true), [1]);
  for (let round = 1; round <= 5; round++) {
    await world.until(() => sink.received.length === round, "delivered again");
    world.shard.requeue(1, 0, sink.received.at(-1)!.sequence, "client");
  }
  for (let round = 6; round <= 8; round++) {
    await world.until(() => sink.received.length === round, "delivered again");
    world.shard.requeue(1, 0, sink.received.at(-1)!.sequence, "closed");
  }
  await world.until(() => world.shard.counts(2).ready === 1, "dead at the third failure");
  assert.equal(sink.received.length, 8);
  assert.deepEqual(
    sink.received.map(({ deliveries }) => deliveries),
    [0, 1, 2, 3, 4, 5, 6, 7],
  );
});

test("retries wait longer each time, let others pass, count over a restart, and end as a dead letter", async () => {
  const retry = { when: "all", minMs: 20, maxMs: 60, multiplier: 2, jitter: 0, rejectsToo: true } as const;
  const settings = { ...PLAIN_SETTINGS, deadLetters: true, deliveryLimit: 3, retry };
  const world = await worldWith(settings);
  world.shard.createQueue(2, PLAIN_SETTINGS);
  deadLettersTo2(world);
  let sink = new TestSink();
  world.consume(1, sink);
  world.shard.publish(messageOf("poison", true), [1]);
  await world.until(() => sink.received.length === 1, "first attempt");
  world.shard.settle(1, 0, 0, 0, SETTLE_REJECTED);
  assert.deepEqual([world.shard.counts(1).delayed, world.shard.counts(1).ready], [1, 0]);
  world.shard.publish(messageOf("other", true), [1]);
  await world.until(() => sink.received.length === 2, "the other one passes");
  assert.equal(sink.texts()[1], "other");
  world.shard.settle(1, 0, 1, 1, 0);
  await world.committed();
  await world.parts.close();
  await world.open();
  world.shard.configureQueue(1, settings);
  deadLettersTo2(world);
  sink = new TestSink();
  world.consume(1, sink);
  for (let attempt = 2; attempt <= 4; attempt++) {
    await world.until(() => sink.received.length === attempt - 1, "the next attempt");
    assert.equal(sink.received.at(-1)!.deliveries, attempt - 1);
    world.shard.requeue(1, 0, 0, "client");
  }
  await world.until(() => world.shard.counts(2).ready === 1, "dead after four attempts");
});

test("a delayed message comes when it is due, as a first delivery, behind what came before", async () => {
  const world = await worldWith({});
  world.shard.publish(wish("late", { delayMs: 60 }), [1]);
  world.shard.publish(wish("later", { delayMs: 3_600_000 }), [1]);
  world.shard.publish(messageOf("now", true), [1]);
  assert.deepEqual([world.shard.counts(1).ready, world.shard.counts(1).delayed], [1, 2]);
  await world.committed();
  await world.parts.snapshotter.take();
  await world.parts.close();
  await world.open();
  await world.until(() => world.shard.counts(1).ready === 2, "one is due");
  await world.committed();
  await world.parts.close();
  await world.open();
  const sink = new TestSink();
  world.consume(1, sink);
  await world.until(() => sink.received.length === 2, "delivered");
  assert.deepEqual(sink.texts(), ["now", "late"]);
  assert.deepEqual(sink.received[1]!.deliveries, 0);
  assert.equal(world.shard.counts(1).delayed, 1);
});

test("a message that came before is stored once, and confirmed no sooner than its original", async () => {
  const dedup = { header: "", cacheMax: 100, windowMs: undefined };
  const world = await worldWith({ dedup });
  const first = world.shard.publish(withMessageId("one", "id-1"), [1]);
  assert.ok(first > 0);
  assert.equal(world.shard.publish(withMessageId("again", "id-1"), [1]), first);
  assert.ok(world.shard.publish(withMessageId("two", "id-2"), [1]) > 0);
  assert.ok(world.shard.publish(withHeader("three", "x-deduplication-header", "id-1"), [1]) > 0);
  assert.ok(world.shard.publish(messageOf("unnamed", true), [1]) > 0);
  await world.committed();
  await world.parts.snapshotter.take();
  world.shard.publish(withMessageId("four", "id-4"), [1]);
  await world.committed();
  await world.parts.close();
  await world.open();
  world.shard.configureQueue(1, { ...PLAIN_SETTINGS, dedup });
  for (const id of ["id-1", "id-2", "id-4"]) world.shard.publish(withMessageId("after the restart", id), [1]);
  assert.deepEqual([world.shard.counts(1).ready, world.shard.counts(1).counters.deduplicated], [5, 3]);
});

test("a name is forgotten when its window is over or newer ones push it out", async () => {
  const world = await worldWith({ dedup: { header: "k", cacheMax: 2, windowMs: 40 } });
  for (const key of ["a", "b", "c", "a"]) world.shard.publish(withHeader(key, "k", key), [1]);
  assert.equal(world.shard.counts(1).ready, 4);
  world.shard.publish(withHeader("a", "k", "a"), [1]);
  assert.equal(world.shard.counts(1).ready, 4);
  // A message that lives longer than the window tells when it is over.
  world.shard.createQueue(3, PLAIN_SETTINGS);
  world.shard.publish(wish("clock", { expirationMs: 60 }), [3]);
  await world.until(() => world.shard.counts(3).ready === 0, "the window is over");
  world.shard.publish(withHeader("a", "k", "a"), [1]);
  assert.equal(world.shard.counts(1).ready, 5);
});

test("consumers of higher priority get the messages as long as they can take some", async () => {
  const world = await worldWith({});
  const [low, high] = [new TestSink(), new TestSink(2)];
  world.shard.consume(1, low, { noAck: false, exclusive: false });
  world.shard.consume(1, high, { noAck: false, exclusive: false, priority: 5 });
  for (let i = 0; i < 5; i++) world.shard.publish(messageOf(`m${i}`, true), [1]);
  await world.until(() => low.received.length + high.received.length === 5, "all delivered");
  assert.deepEqual(
    [high.texts(), low.texts()],
    [
      ["m0", "m1"],
      ["m2", "m3", "m4"],
    ],
  );
});

test("of the consumers of a single-active-consumer queue one gets everything, and when it goes the next", async () => {
  const world = await worldWith({ singleActiveConsumer: true });
  const sinks = [new TestSink(), new TestSink(), new TestSink()];
  const consumers = sinks.map((sink) => world.shard.consume(1, sink, { noAck: true, exclusive: false }));
  assert.deepEqual(
    consumers.map(({ isActive }) => isActive),
    [true, false, false],
  );
  for (let i = 0; i < 3; i++) world.shard.publish(messageOf(`m${i}`, true), [1]);
  await world.until(() => sinks[0]!.received.length === 3, "all to the first");
  consumers[0]!.cancel();
  assert.equal(consumers[1]!.isActive, true);
  world.shard.publish(messageOf("next", true), [1]);
  await world.until(() => sinks[1]!.received.length === 1, "to the second");
  assert.deepEqual([sinks[0]!.received.length, sinks[2]!.received.length], [3, 0]);
});

test("messages of one group come one after the other, those of other groups in parallel, also after a restart", async () => {
  const world = await worldWith({ groups: true });
  const sink = new TestSink();
  world.consume(1, sink);
  for (const [text, key] of [
    ["a1", "a"],
    ["a2", "a"],
    ["b1", "b"],
    ["a3", "a"],
    ["b2", "b"],
  ] as const) {
    world.shard.publish(withHeader(text, "x-message-group", key), [1]);
  }
  world.shard.publish(messageOf("free", true), [1]);
  await world.until(() => sink.received.length === 3, "the first of each group, and what has none");
  assert.deepEqual(sink.texts(), ["a1", "b1", "free"]);
  const { ready, inFlight, delayed } = world.shard.counts(1);
  assert.deepEqual([ready, inFlight, delayed], [3, 3, 0]);
  world.shard.requeue(1, 0, sink.received[0]!.sequence, "client");
  await world.until(() => sink.received.length === 4, "a1 again");
  assert.equal(sink.texts()[3], "a1");
  world.shard.settle(1, 0, sink.received[3]!.sequence, sink.received[3]!.sequence, 0);
  await world.until(() => sink.received.length === 5, "the next of its group");
  assert.equal(sink.texts()[4], "a2");
  await world.committed();
  await world.parts.snapshotter.take();
  await world.parts.close();
  await world.open();
  world.shard.configureQueue(1, { ...PLAIN_SETTINGS, groups: true });
  const again = new TestSink();
  world.consume(1, again);
  for (let done = 0; done < 5; done++) {
    await world.until(() => again.received.length > done, "one more");
    const { sequence } = again.received[done]!;
    world.shard.settle(1, 0, sequence, sequence, 0);
  }
  await world.until(() => world.shard.counts(1).ready === 0, "all of them");
  const order = (key: string): string[] => again.texts().filter((text) => text.startsWith(key));
  assert.deepEqual(
    [order("a"), order("b")],
    [
      ["a2", "a3"],
      ["b1", "b2"],
    ],
  );
});

test("a purge takes the waiting messages of groups too", async () => {
  const world = await worldWith({ groups: true });
  world.consume(1, new TestSink());
  for (let i = 0; i < 5; i++) world.shard.publish(withHeader(`m${i}`, "x-message-group", "g"), [1]);
  await world.until(() => world.shard.counts(1).inFlight === 1 && world.shard.counts(1).ready === 4, "four wait");
  assert.equal(world.shard.purge(1), 4);
  assert.equal(world.shard.counts(1).ready, 0);
});

test("a message that is requeued in a loop is slowed, and the others pass", async () => {
  const world = await worldWith({});
  const sink = new TestSink();
  world.consume(1, sink);
  world.shard.publish(messageOf("hot", true), [1]);
  let done = 0;
  const loop = (): void => {
    for (; done < sink.received.length; done++) {
      const { text, sequence } = sink.received[done]!;
      if (text === "hot") world.shard.requeue(1, 0, sequence, "client");
    }
  };
  await world.until(() => {
    loop();
    return world.shard.counts(1).delayed === 1;
  }, "the hot one waits");
  const before = sink.received.length;
  assert.ok(before > 30 && before < 40, `${before} deliveries before it was slowed`);
  world.shard.publish(messageOf("cold", true), [1]);
  await world.until(() => sink.texts().includes("cold"), "the other one passes");
});

test("basic.get comes after the consumers that wait, and finds no more than the queue may hold", async () => {
  const world = await worldWith({ lengthMax: 2 });
  for (let i = 0; i < 5; i++) world.shard.publish(messageOf(`m${i}`, true), [1]);
  const got = new TestSink();
  world.shard.take(1, true, got, () => undefined);
  await world.until(() => got.received.length === 1, "one");
  assert.deepEqual(got.texts(), ["m3"]);
  const waiting = new TestSink(1);
  world.consume(1, waiting);
  await world.until(() => waiting.received.length === 1, "the consumer has one");
  waiting.credit = 1;
  waiting.consumer?.resume();
  const answers: boolean[] = [];
  world.shard.publish(messageOf("late", true), [1]);
  world.shard.take(1, true, got, (found) => answers.push(found));
  await world.until(() => answers.length === 1, "answered");
  assert.deepEqual([answers, waiting.texts()], [[false], ["m4", "late"]]);
});
