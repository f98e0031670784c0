// Looking at messages changes nothing, wherever their bodies are.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PLAIN_SETTINGS } from "../../src/queues/shard-port.ts";
import { ShardWorld, TestSink, textOf } from "./shard-world.ts";

const ALL = { skip: 0, count: 1000, bytesMax: 1_000_000 };

async function worldWith(count: number, persistent = true): Promise<ShardWorld> {
  const world = new ShardWorld();
  await world.open();
  world.shard.createQueue(1, PLAIN_SETTINGS);
  for (let n = 0; n < count; n++) world.publish(`m${n}`, [1], persistent);
  return world;
}

const numbers = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, n) => `m${from + n}`);

async function peeked(world: ShardWorld, options = ALL): Promise<string[]> {
  const found = await world.shard.peek(1, options);
  return found.map(({ record }) => textOf(record, 0, record.length));
}

for (const persistent of [true, false]) {
  const what = persistent ? "from memory and read back from the log" : "that are not persistent";
  test(`messages ${what} are shown in order, as often as wanted, and then delivered as if nothing had been`, async () => {
    const world = await worldWith(500, persistent);
    assert.deepEqual(await peeked(world), numbers(0, 500));
    await world.committed();
    const before = { ...world.shard.counts(1), shard: { ...world.shard.counters } };
    assert.deepEqual(await peeked(world), numbers(0, 500));
    assert.deepEqual(await peeked(world, { ...ALL, skip: 490, count: 5 }), numbers(490, 495));
    assert.deepEqual(await peeked(world, { ...ALL, skip: 600 }), []);
    assert.deepEqual({ ...world.shard.counts(1), shard: { ...world.shard.counters } }, before);
    const sink = new TestSink();
    world.consume(1, sink);
    await world.until(() => sink.received.length === 500, "all delivered");
    assert.deepEqual(sink.texts(), numbers(0, 500));
    assert(sink.received.every(({ deliveries }) => deliveries === 0));
  });
}

test("what is in flight is not shown; what came back is, in its place and with its deliveries", async () => {
  const world = await worldWith(6);
  const sink = new TestSink(3);
  world.consume(1, sink);
  await world.until(() => sink.received.length === 3, "three delivered");
  assert.deepEqual(await peeked(world), numbers(3, 6));
  world.shard.requeue(1, 0, sink.received[1]!.sequence, "client");
  const found = await world.shard.peek(1, ALL);
  assert.deepEqual(
    found.map(({ record, deliveries }) => [textOf(record, 0, record.length), deliveries]),
    [
      ["m1", 1],
      ["m3", 0],
      ["m4", 0],
      ["m5", 0],
    ],
  );
});

test("what was purged is not shown, also while it is still being dropped", async () => {
  const world = await worldWith(300);
  assert.equal(world.shard.purge(1), 300);
  world.publish("m300", [1]);
  assert.deepEqual(await peeked(world), ["m300"]);
});

test("an answer ends before the message that would make it too large, but has one at least", async () => {
  const world = await worldWith(3);
  const [first] = await world.shard.peek(1, ALL);
  const size = first!.record.length;
  assert.deepEqual(await peeked(world, { ...ALL, bytesMax: 1 }), ["m0"]);
  assert.deepEqual(await peeked(world, { ...ALL, bytesMax: 2 * size }), ["m0", "m1"]);
});

test("a queue that is deleted or emptied during a look gives what was still there", async () => {
  const world = await worldWith(500);
  await world.committed();
  const looking = peeked(world);
  world.shard.deleteQueue(1);
  const found = await looking;
  assert.deepEqual(found, numbers(0, found.length));
});
