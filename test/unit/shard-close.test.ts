import { PLAIN_SETTINGS } from "../../src/queues/shard-port.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogStore, LogWriter } from "../../src/log/log.ts";
import { StorageError } from "../../src/model/errors.ts";
import { SMALL, ShardWorld, TestSink } from "./shard-world.ts";

const DURABLE = { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: false };

function turns(count: number): Promise<void> {
  return new Promise((resolve) => {
    const next = (left: number): void => void setImmediate(() => (left > 1 ? next(left - 1) : resolve()));
    next(count);
  });
}

/** Lets a test put its hands between the shard and the writers of logs whose id matches. */
function onAcquire(store: LogStore, matches: (id: string) => boolean, change: (writer: LogWriter) => void): void {
  const acquire = store.acquire.bind(store);
  store.acquire = async (id, owner, events) => {
    const result = await acquire(id, owner, events);
    if (matches(id)) change(result.writer);
    return result;
  };
}

test("what is delivered while the shard closes is known as delivered after the restart", async () => {
  const world = new ShardWorld({ ...SMALL, turnBudgetMs: 0, queueQuantumMessages: 1 });
  onAcquire(
    world.store,
    (id) => id === "shard/0",
    (writer) => {
      const release = writer.release.bind(writer);
      writer.release = async () => {
        const released = release();
        await turns(20);
        await released;
      };
    },
  );
  await world.open();
  world.shard.createQueue(1, DURABLE);
  for (let i = 0; i < 200; i++) world.publish(`m${i}`, [1]);
  const sink = new TestSink();
  world.consume(1, sink);
  await world.until(() => sink.received.length >= 10, "some delivered");
  await world.parts.close();
  const delivered = sink.received.length;
  await turns(20);
  assert.equal(world.shard.failure, undefined);
  assert.equal(sink.received.length, delivered, "nothing is delivered by a closed shard");
  assert.throws(() => world.publish("late", [1]), { code: "shutting-down" });
  await world.open();
  const again = new TestSink();
  world.consume(1, again);
  await world.until(() => again.received.length === 200, "all delivered");
  assert.deepEqual(
    again.received.map(({ deliveries }) => deliveries),
    Array.from({ length: 200 }, (_, i) => (i < delivered ? 1 : 0)),
  );
});

test("a close ends although the log fails while a snapshot is under way", async () => {
  // Only the close takes a snapshot.
  const world = new ShardWorld({ ...SMALL, snapshotMinBytes: 65536 });
  let failures = 0;
  world.onFailed = () => void failures++;
  onAcquire(
    world.store,
    (id) => id.startsWith("shard/0/snap/"),
    () => {
      // The main log fails just as the snapshot begins.
      const error = new StorageError("io", "the disk is gone");
      world.shard.journal.seal = () => undefined;
      (world.shard as unknown as { fail(error: StorageError): void }).fail(error);
    },
  );
  await world.open();
  world.shard.createQueue(1, DURABLE);
  for (let i = 0; i < 300; i++) world.publish(`m${i}`, [1]);
  await world.committed();
  await world.parts.close();
  assert.equal(failures, 1);
  assert.deepEqual(await world.store.list("shard/0/snap/"), []);
});

test("no snapshot is begun by a shard that is closed", async () => {
  const world = new ShardWorld({ ...SMALL, snapshotMinBytes: 1024 * 1024 * 1024 });
  await world.open();
  world.shard.createQueue(1, DURABLE);
  world.publish("m", [1]);
  await world.parts.close();
  await world.parts.snapshotter.take();
  await turns(20);
  assert.deepEqual(await world.store.list("shard/0/snap/"), []);
});

test("a log whose extents were freed on the word of a snapshot that is lost is damaged, never shortened", async () => {
  const world = new ShardWorld();
  const remove = world.store.delete.bind(world.store);
  await world.open();
  world.shard.createQueue(1, DURABLE);
  world.publish("kept", [1]);
  await world.parts.snapshotter.take();
  world.store.delete = () => Promise.resolve(); // a crash comes before the older snapshot is removed
  const sink = new TestSink();
  world.consume(1, sink);
  for (let round = 0; round < 10; round++) {
    const from = sink.received.length;
    for (let i = 0; i < 50; i++) world.publish("z".repeat(100), [1]);
    await world.until(() => sink.received.length >= from + 50, "round delivered");
    world.shard.settle(1, 0, from, sink.received.length - 1, 0);
    await world.committed();
  }
  await world.parts.snapshotter.take();
  await world.parts.close();
  world.store.delete = remove;
  const snapshots = await world.store.list("shard/0/snap/");
  assert.ok(snapshots.length > 1);
  const numbers = snapshots.map((id) => Number(id.slice(id.lastIndexOf("/") + 1)));
  for (const id of snapshots) {
    if (id !== `shard/0/snap/${Math.min(...numbers)}`) await remove(id);
  }
  await assert.rejects(world.open(), { kind: "damaged" });
});
