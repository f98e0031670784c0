import { PLAIN_SETTINGS } from "../../src/queues/shard-port.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { StorageError } from "../../src/model/errors.ts";
import { SMALL, ShardWorld, TestSink } from "./shard-world.ts";

const DURABLE = { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: false };

test("a queue with a long backlog does not keep the others waiting when a turn's budget is used up", async () => {
  const world = new ShardWorld({ ...SMALL, turnBudgetMs: 0, queueQuantumMessages: 1, tailCacheBytes: 1024 * 1024 });
  await world.open();
  const sinks: TestSink[] = [];
  for (const queueId of [1, 2, 3]) {
    world.shard.createQueue(queueId, DURABLE);
    for (let i = 0; i < 50; i++) world.publish(`${queueId}:${i}`, [queueId]);
  }
  for (const queueId of [1, 2, 3]) {
    const sink = new TestSink();
    sinks.push(sink);
    world.consume(queueId, sink);
  }
  await world.until(() => sinks.some((sink) => sink.received.length === 10), "one queue is far");
  for (const sink of sinks) assert.ok(sink.received.length >= 9, `only ${sink.received.length} delivered`);
});

test("the cleaner finds spilled bodies of transient messages, and empties their extents", async () => {
  const world = new ShardWorld({ ...SMALL, transientBytesMax: 0 });
  await world.open();
  world.shard.createQueue(1, DURABLE);
  world.shard.createQueue(2, { ...PLAIN_SETTINGS, durable: false, deliverAfterCommit: false });
  const sink = new TestSink();
  world.consume(1, sink, true);
  for (let round = 0; round < 40; round++) {
    for (let i = 0; i < 50; i++) world.publish(`${i}${"z".repeat(60)}`, [1]);
    world.publish(`stuck${round}`, [2], false);
    await world.until(() => sink.received.length === 50 * (round + 1), "round delivered");
    await world.committed();
  }
  await world.parts.snapshotter.take();
  let ticks = 0;
  await world.until(() => {
    if (ticks++ % 50 === 0) world.publish("tick", [1]);
    return world.parts.cleaner.cleanedExtents >= 20;
  }, "extents cleaned");
  assert.ok(world.parts.cleaner.movedBytes > 0, "bodies were found");
  const stuck = new TestSink();
  world.consume(2, stuck);
  await world.until(() => stuck.received.length === 40, "stuck messages delivered");
  assert.deepEqual(
    stuck.texts(),
    Array.from({ length: 40 }, (_, i) => `stuck${i}`),
  );
});

test("a basic.get on a queue with an unreadable body is refused, and a purge repairs the queue", async () => {
  const world = new ShardWorld();
  await world.open();
  world.shard.createQueue(1, DURABLE);
  for (let i = 0; i < 300; i++) world.publish(`m${i}`, [1]);
  await world.parts.close();
  await world.open();
  const { main } = world.shard.readers;
  const fetch = main.fetch.bind(main);
  main.fetch = () => Promise.reject(new Error("the sector is gone"));
  const answers: boolean[] = [];
  world.shard.take(1, false, new TestSink(), (found) => answers.push(found));
  await world.until(() => answers.length > 0, "the get that found the damage is answered");
  assert.deepEqual(answers, [false]);
  assert.throws(() => world.shard.take(1, false, new TestSink(), () => undefined), { code: "unavailable" });
  main.fetch = fetch;
  assert.equal(world.shard.purge(1), 300);
  const sink = new TestSink();
  world.consume(1, sink);
  world.publish("new", [1]);
  await world.until(() => sink.received.length === 1, "delivered after the purge");
});

test("reads ahead for many queues at once stay within their common bound", async () => {
  const world = new ShardWorld({ ...SMALL, readAheadBytes: 1024, readAheadTotalBytes: 8192 });
  await world.open();
  const queueIds = Array.from({ length: 40 }, (_, i) => i + 1);
  for (const queueId of queueIds) world.shard.createQueue(queueId, DURABLE);
  for (let i = 0; i < 40; i++) for (const queueId of queueIds) world.publish(`${i}`.padEnd(40, "."), [queueId]);
  await world.parts.close();
  await world.open();
  const { main } = world.shard.readers;
  const fetch = main.fetch.bind(main);
  let reading = 0;
  let readingMax = 0;
  main.fetch = async (positions) => {
    reading += positions.length;
    readingMax = Math.max(readingMax, reading);
    await new Promise<void>((resolve) => void setImmediate(resolve));
    const entries = await fetch(positions);
    reading -= positions.length;
    return entries;
  };
  const sinks = queueIds.map((queueId) => {
    const sink = new TestSink();
    world.consume(queueId, sink);
    return sink;
  });
  await world.until(() => sinks.every((sink) => sink.received.length === 40), "all delivered");
  // An entry holds about 512 bytes, and one window may pass the bound alone.
  assert.ok(readingMax <= 64, `${readingMax} entries were read at once`);
});

test("an extent that cannot be read back does not keep the cleaner from the others", async () => {
  const world = new ShardWorld();
  await world.open();
  world.shard.createQueue(1, DURABLE);
  world.shard.createQueue(2, DURABLE);
  const sink = new TestSink();
  world.consume(1, sink, true);
  const { main } = world.shard.readers;
  const fetch = main.fetch.bind(main);
  for (let round = 0; round < 60; round++) {
    for (let i = 0; i < 50; i++) world.publish(`${i}${"z".repeat(60)}`, [1]);
    // The first extents are the emptiest.
    world.publish("stuck".padEnd(10 + round, "."), [2]);
    await world.until(() => sink.received.length === 50 * (round + 1), "round delivered");
    await world.committed();
  }
  main.fetch = async (positions) => {
    if (positions[0]! < 20) throw new StorageError("damaged", "the sector is gone");
    return fetch(positions);
  };
  await world.parts.snapshotter.take();
  let ticks = 0;
  await world.until(() => {
    if (ticks++ % 50 === 0) world.publish("tick", [1]);
    return world.parts.cleaner.cleanedExtents >= 5;
  }, "other extents cleaned");
});
