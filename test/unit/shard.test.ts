import { PLAIN_SETTINGS } from "../../src/queues/shard-port.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { SETTLE_ACKED } from "../../src/model/delivery.ts";
import { ShardWorld, TestSink } from "./shard-world.ts";

const DURABLE = { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: false };
const QUORUM = { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: true };
const TRANSIENT = { ...PLAIN_SETTINGS, durable: false, deliverAfterCommit: false };

function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, i) => `m${from + i}`);
}

async function worldWith(count: number, settings = DURABLE): Promise<ShardWorld> {
  const world = new ShardWorld();
  await world.open();
  world.shard.createQueue(1, settings);
  for (const text of numbers(count)) world.publish(text, [1]);
  return world;
}

test("messages are delivered in publish order, also from bodies read back from the log", async () => {
  const world = await worldWith(500);
  await world.committed();
  const sink = new TestSink();
  world.consume(1, sink);
  await world.until(() => sink.received.length === 500, "all delivered");
  assert.deepEqual(sink.texts(), numbers(500));
  const { ready, inFlight, consumers } = world.shard.counts(1);
  assert.deepEqual([ready, inFlight, consumers], [0, 500, 1]);
});

test("what is done atomically is one entry, however large, and is there as a whole after a restart", async () => {
  const world = await worldWith(3);
  const sink = new TestSink(3);
  world.consume(1, sink);
  await world.until(() => sink.received.length === 3, "all delivered");
  await world.committed();
  const before = world.shard.openPosition;
  world.shard.atomically(100 * 400 + 3 * 64, () => {
    for (const text of numbers(100, 100)) world.publish(text.padEnd(200, "."), [1]);
    world.shard.settle(1, 0, 0, 2, SETTLE_ACKED);
  });
  world.publish("behind", [1]);
  await world.committed();
  assert.ok(world.shard.openPosition <= before + 2, "one entry, and at most one for what came behind");
  await world.parts.close();
  await world.open();
  assert.deepEqual([world.shard.counts(1).ready, world.shard.counts(1).inFlight], [101, 0]);
});

test("competing consumers take turns message by message", async () => {
  const world = new ShardWorld();
  await world.open();
  world.shard.createQueue(1, DURABLE);
  const sinks = [new TestSink(), new TestSink(), new TestSink()];
  for (const sink of sinks) world.consume(1, sink);
  for (const text of numbers(9)) world.publish(text, [1]);
  await world.until(() => sinks.every((sink) => sink.received.length === 3), "three each");
  assert.deepEqual(
    sinks.map((sink) => sink.texts()),
    [
      ["m0", "m3", "m6"],
      ["m1", "m4", "m7"],
      ["m2", "m5", "m8"],
    ],
  );
});

test("a requeued message comes back at its original place, counted", async () => {
  const world = await worldWith(20);
  const sink = new TestSink(10);
  world.consume(1, sink);
  await world.until(() => sink.received.length === 10, "ten delivered");
  for (const sequence of [7, 2, 4]) world.shard.requeue(1, 0, sequence, "client");
  const second = new TestSink(5);
  world.consume(1, second);
  await world.until(() => second.received.length === 5, "five delivered");
  assert.deepEqual(
    second.received.map(({ sequence, deliveries }) => [sequence, deliveries]),
    [
      [2, 1],
      [4, 1],
      [7, 1],
      [10, 0],
      [11, 0],
    ],
  );
});

test("a quorum-type queue delivers a message only after its commit", async () => {
  const world = await worldWith(0, QUORUM);
  const sink = new TestSink();
  world.consume(1, sink);
  const position = world.publish("first", [1]);
  let early = false;
  await world.until(() => {
    if (sink.received.length > 0 && world.shard.committed < position) early = true;
    return sink.received.length > 0;
  }, "delivered");
  assert.equal(early, false);
});

test("a restart keeps what was confirmed: order, flags and counts", async () => {
  const world = await worldWith(60);
  const sink = new TestSink(30);
  world.consume(1, sink);
  await world.until(() => sink.received.length === 30, "thirty delivered");
  world.shard.settle(1, 0, 0, 9, 0);
  world.shard.requeue(1, 0, 12, "client");
  await world.parts.close();
  await world.open();
  assert.equal(world.shard.counts(1).ready, 50);
  const again = new TestSink();
  world.consume(1, again);
  await world.until(() => again.received.length === 50, "the rest delivered");
  assert.deepEqual(again.texts(), numbers(50, 10));
  assert.deepEqual(
    again.received.map(({ deliveries }) => deliveries),
    [...Array.from({ length: 20 }, () => 1), ...Array.from({ length: 30 }, () => 0)],
  );
});

test("transient messages and queues are gone after a restart, durable neighbours are not", async () => {
  const world = await worldWith(0);
  world.shard.createQueue(2, TRANSIENT);
  for (let i = 0; i < 40; i++) world.publish(`t${i}`, [1, 2], false);
  for (let i = 0; i < 40; i++) world.publish(`d${i}`, [1, 2]);
  const sink = new TestSink();
  world.consume(2, sink);
  await world.until(() => sink.received.length === 80, "transient queue delivers both kinds");
  await world.committed();
  await world.parts.close();
  await world.open();
  assert.deepEqual([...world.shard.queueIds()], [1]);
  const again = new TestSink();
  world.consume(1, again);
  await world.until(() => again.received.length === 40, "the durable ones delivered");
  assert.deepEqual(
    again.texts(),
    Array.from({ length: 40 }, (_, i) => `d${i}`),
  );
});

test("bodies of transient messages beyond the memory limit go through the log", async () => {
  const world = await worldWith(0);
  const big = "x".repeat(700);
  for (let i = 0; i < 60; i++) world.publish(`${i}${big}`, [1], false);
  assert.ok(world.shard.state.transient.usedBytes <= 8192);
  await world.committed();
  const sink = new TestSink();
  world.consume(1, sink, true);
  await world.until(() => sink.received.length === 60, "all delivered");
  assert.deepEqual(
    sink.received.map(({ text }) => Number.parseInt(text, 10)),
    Array.from({ length: 60 }, (_, i) => i),
  );
  assert.deepEqual(world.shard.counts(1).bytes, 0);
});

test("a fan-out is stored once and delivered to every queue", async () => {
  const world = await worldWith(0);
  world.shard.createQueue(2, DURABLE);
  world.shard.createQueue(3, DURABLE);
  const before = world.shard.journal.slabs.openBytes;
  world.publish("y".repeat(300), [1, 2, 3]);
  assert.ok(world.shard.journal.slabs.openBytes - before < 450);
  await world.parts.close();
  await world.open();
  for (const queueId of [1, 2, 3]) {
    const sink = new TestSink();
    world.consume(queueId, sink);
    await world.until(() => sink.received.length === 1, "delivered");
    assert.equal(sink.received[0]!.text.length, 300);
  }
});

test("purge drops what is ready, keeps what is in flight, and survives a restart", async () => {
  const world = await worldWith(100);
  const sink = new TestSink(10);
  world.consume(1, sink);
  await world.until(() => sink.received.length === 10, "ten delivered");
  world.shard.requeue(1, 0, 3, "client");
  sink.consumer!.cancel();
  assert.equal(world.shard.purge(1), 91);
  const { ready, inFlight, readyBytes } = world.shard.counts(1);
  assert.deepEqual([ready, inFlight, readyBytes], [0, 9, 0]);
  world.publish("after", [1]);
  await world.parts.close();
  await world.open();
  const again = new TestSink();
  world.consume(1, again);
  await world.until(() => again.received.length === 10, "nine and one");
  assert.deepEqual(again.texts(), ["m0", "m1", "m2", "m4", "m5", "m6", "m7", "m8", "m9", "after"]);
});

test("a deleted queue stays deleted, its consumers are told, and its space is given back", async () => {
  const world = await worldWith(300);
  const sink = new TestSink(5);
  world.consume(1, sink);
  await world.until(() => sink.received.length === 5, "five delivered");
  assert.equal(world.shard.deleteQueue(1), 295);
  assert.equal(sink.isCancelled, true);
  world.shard.settle(1, 0, 0, 4, 0);
  await world.until(() => world.shard.state.liveBytes === 0, "references released");
  await world.parts.close();
  await world.open();
  assert.equal(world.shard.hasQueue(1), false);
});

test("extents are freed once their messages are settled and a snapshot lies behind them", async () => {
  const world = await worldWith(0);
  const sink = new TestSink();
  world.consume(1, sink);
  for (let round = 0; round < 40; round++) {
    const from = sink.received.length;
    for (const text of numbers(50)) world.publish(text + "z".repeat(60), [1]);
    await world.until(() => sink.received.length === from + 50, "round delivered");
    world.shard.settle(1, 0, from, from + 49, 0);
    await world.committed();
  }
  await world.parts.snapshotter.take();
  await world.committed();
  const used = world.parts.cleaner.usedBytes;
  assert.ok(used < 40_000, `used ${used} after 300 kB of settled messages`);
});

test("a snapshot leaves out what its base has already, and a start from both finds everything", async () => {
  const world = await worldWith(0);
  world.shard.createQueue(2, DURABLE);
  for (const text of numbers(800)) world.publish(text, [2]);
  await world.committed();
  const { snapshotter } = world.parts;
  await snapshotter.take();
  const baseBytes = snapshotter.newestBytes;
  for (let round = 0; round < 3; round++) {
    world.publish(`late${round}`, [1, 2]);
    await world.committed();
    await snapshotter.take();
    assert.ok(snapshotter.newestBytes < baseBytes / 4, `${snapshotter.newestBytes} of ${baseBytes} bytes`);
  }
  assert.equal((await world.store.list("shard/0/snap")).length, 2, "base and newest");
  await world.parts.close();
  for (let restart = 0; restart < 2; restart++) {
    await world.open();
    assert.equal(world.shard.counts(2).ready, 803);
    world.publish(`after${restart}`, [1]);
    await world.committed();
    await world.parts.snapshotter.take();
    assert.ok(world.parts.snapshotter.newestBytes < baseBytes / 4, "the base outlives restarts");
    await world.parts.close();
  }
  await world.open();
  const sink = new TestSink();
  world.consume(2, sink);
  await world.until(() => sink.received.length === 803, "all delivered");
  assert.deepEqual(sink.texts(), [...numbers(800), "late0", "late1", "late2"]);
});

test("the cleaner moves stuck messages out of nearly empty extents, and they survive", async () => {
  const world = await worldWith(0);
  world.shard.createQueue(2, DURABLE);
  const sink = new TestSink();
  world.consume(1, sink);
  for (let round = 0; round < 60; round++) {
    const from = sink.received.length;
    for (const text of numbers(50)) world.publish(text + "z".repeat(60), [1]);
    world.publish(`stuck${round}`, [2]);
    await world.until(() => sink.received.length === from + 50, "round delivered");
    world.shard.settle(1, 0, from, from + 49, 0);
    await world.committed();
    if (round % 10 === 9) await world.parts.snapshotter.take();
  }
  // The cleaner looks for work after commits.
  for (let tick = 0; world.parts.cleaner.cleanedExtents <= 5; tick++) {
    assert.ok(tick < 20_000, "extents cleaned");
    world.publish("tick", [1]);
    await world.until(() => sink.received.length === 3001 + tick, "tick delivered");
    world.shard.settle(1, 0, 3000 + tick, 3000 + tick, 0);
    await world.committed();
  }
  await world.parts.close();
  await world.open();
  const again = new TestSink();
  world.consume(2, again);
  await world.until(() => again.received.length === 60, "stuck messages delivered");
  assert.deepEqual(
    again.texts(),
    Array.from({ length: 60 }, (_, i) => `stuck${i}`),
  );
});

test("basic.get takes one message, or says that there is none", async () => {
  const world = await worldWith(1);
  const sink = new TestSink();
  const answers: boolean[] = [];
  world.shard.take(1, false, sink, (found) => answers.push(found));
  world.shard.take(1, false, sink, (found) => answers.push(found));
  await world.until(() => answers.length === 2, "both answered");
  assert.deepEqual([answers, sink.texts()], [[true, false], ["m0"]]);
});

test("a fan-out that does not fit one entry is refused, and nothing of it is stored", async () => {
  const world = await worldWith(0);
  const queues = Math.ceil(world.store.traits.maxEntryBytes / 32) + 1;
  const queueIds = Array.from({ length: queues }, () => 1);
  assert.throws(() => world.publish("too much", queueIds), { code: "too-large" });
  assert.equal(world.shard.counts(1).ready, 0);
});
