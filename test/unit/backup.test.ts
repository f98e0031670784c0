// Online backups: what was durable when one began is in it, whatever goes on meanwhile.

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import amqplib from "amqplib";
import { backUp, type BackupSource, restoreBackup } from "../../src/log/local/backup.ts";
import { type LocalStore, openLocalLogStore } from "../../src/log/local/store.ts";
import { startBroker } from "../../src/main.ts";
import { PLAIN_SETTINGS } from "../../src/queues/shard-port.ts";
import { createNodeClock } from "../../src/runtime/node-clock.ts";
import { createNodeDisk } from "../../src/runtime/node-disk.ts";
import { restoreData } from "../../src/data-folder.ts";
import { silentLogger } from "./broker-fixtures.ts";
import { testFolder } from "./process-fixtures.ts";
import { ShardWorld, SMALL, TestSink } from "./shard-world.ts";

const folder = testFolder("backup");
const disk = createNodeDisk();
const QUEUE = 1;

/** Segments of a few kilobytes: extents are freed and recycled all the time. */
function openStore(root: string): Promise<LocalStore> {
  const options = { segmentBytes: 8192, commitBytesMax: 4096 };
  return openLocalLogStore({ disk, clock: createNodeClock(), logger: silentLogger, root, options });
}

function sourceOf(store: LocalStore, world: ShardWorld): BackupSource {
  const holdAll: BackupSource["holdAll"] = () => {
    const holds = ["shard/0", "shard/0/cold"].map((id) => store.hold(id)).filter((hold) => hold !== undefined);
    return { holds, finished: world.parts.snapshotter.newestLogs };
  };
  return { disk, root: store.root, holdAll, version: "test", wallMs: 0 };
}

test("every backup made under load holds what was durable and unsettled when it began, in order", async () => {
  const store = await openStore(join(folder, "busy/logs"));
  const world = new ShardWorld({ ...SMALL, snapshotMinBytes: 16 * 1024 }, store);
  const shard = await world.open();
  shard.createQueue(QUEUE, { ...PLAIN_SETTINGS, durable: true });
  const sink = new TestSink();
  world.consume(QUEUE, sink);
  // Every tenth message is never acknowledged: it has to be in every later backup.
  const kept: string[] = [];
  let [published, settled] = [0, 0];
  const work = async (): Promise<void> => {
    for (let i = 0; i < 25; i++) world.publish(`message ${published++} ${"x".repeat(200)}`, [QUEUE]);
    await world.committed();
    await world.until(() => sink.received.length === published, "everything is delivered");
    for (; settled < sink.received.length; settled++) {
      const { lane, sequence, text } = sink.received[settled]!;
      if (settled % 10 === 0) kept.push(text);
      else shard.settle(QUEUE, lane, sequence, sequence, 0);
    }
  };
  for (let round = 0; round < 5; round++) {
    for (let i = 0; i < 10; i++) await work();
    const expected = [...kept];
    const target = join(folder, `copy-${round}`);
    let done = false;
    const backup = backUp(sourceOf(store, world), target).finally(() => (done = true));
    while (!done) await work();
    const report = await backup;
    assert(report.bytes > 0);
    const restored = join(folder, `restored-${round}`);
    await restoreBackup(disk, target, restored);
    const copy = new ShardWorld(SMALL, await openStore(join(restored, "logs")));
    await copy.open();
    const found = new TestSink();
    copy.consume(QUEUE, found);
    await copy.until(() => found.texts().includes(expected.at(-1)!), `backup ${round} has the newest that was kept`);
    const texts = new Set(found.texts());
    assert.deepEqual(
      expected.filter((text) => !texts.has(text)),
      [],
    );
    const numbers = found.texts().map((text) => Number(text.split(" ")[1]));
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
    );
    await copy.parts.close();
    for (const gone of [target, restored]) rmSync(gone, { recursive: true });
  }
  // The run is worth nothing unless there were snapshots, freed extents and moved bodies.
  assert(world.parts.snapshotter.taken > 2);
  assert(world.parts.cleaner.cleanedExtents > 0);
  await world.parts.close();
});

test("a backup that was cut off, or changed, or would overwrite something, is refused", async () => {
  const store = await openStore(join(folder, "small/logs"));
  const world = new ShardWorld(SMALL, store);
  await world.open();
  const target = join(folder, "whole");
  await backUp(sourceOf(store, world), target);
  await assert.rejects(backUp(sourceOf(store, world), target), /is not empty: a backup goes into a folder of its own/);
  const data = join(folder, "into");
  await restoreBackup(disk, target, data);
  await assert.rejects(restoreBackup(disk, target, data), /is not empty: restore into a folder of its own/);
  const segments = readdirSync(join(target, "logs/shard/0")).filter((name) => name.endsWith(".seg"));
  const path = join(target, "logs/shard/0", segments[0] ?? "");
  const bytes = readFileSync(path);
  bytes[70]! ^= 1;
  writeFileSync(path, bytes);
  await assert.rejects(restoreBackup(disk, target, join(folder, "into-2")), /is not what was backed up/);
  assert.deepEqual(readdirSync(join(folder, "into-2")), ["logs-restoring"]);
  rmSync(join(target, "backup.json"));
  await assert.rejects(restoreBackup(disk, target, join(folder, "into-3")), /holds no whole backup/);
  mkdirSync(join(folder, "used"));
  writeFileSync(join(folder, "used/file"), "");
  await assert.rejects(backUp(sourceOf(store, world), join(folder, "used")), /is not empty/);
  await world.parts.close();
});

test("a broker is backed up while clients publish, and what they had confirmed is there after the restore", async () => {
  const broker = await startBroker({ data: join(folder, "broker"), hosts: ["127.0.0.1"] });
  const connection = await amqplib.connect(broker.addresses[0]!.url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue("work", { durable: true });
  await channel.assertExchange("events", "topic", { durable: true });
  await channel.bindQueue("work", "events", "#");
  let confirmed = 0;
  let stop = false;
  const publishing = (async () => {
    while (!stop) {
      const first = confirmed;
      for (let i = first; i < first + 100; i++) {
        channel.publish("events", "k", Buffer.from(String(i)), { persistent: true });
      }
      await channel.waitForConfirms();
      confirmed = first + 100;
    }
  })();
  while (confirmed < 1000) await new Promise((resolve) => void setImmediate(resolve));
  const before = confirmed;
  await broker.backUp(join(folder, "broker-backup"));
  stop = true;
  await publishing;
  await connection.close();
  await broker.close();

  await restoreData(join(folder, "broker-backup"), join(folder, "broker-restored"));
  const restored = await startBroker({ data: join(folder, "broker-restored"), hosts: ["127.0.0.1"] });
  const again = await amqplib.connect(restored.addresses[0]!.url);
  const reader = await again.createChannel();
  await reader.checkExchange("events");
  const { messageCount } = await reader.checkQueue("work");
  assert(messageCount >= before, `${messageCount} of ${before}`);
  for (let i = 0; i < messageCount; i++) {
    const message = await reader.get("work", { noAck: true });
    assert.equal(message !== false && message.content.toString(), String(i));
  }
  await again.close();
  await restored.close();
});
