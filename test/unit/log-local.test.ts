// The local engine where it meets the disk: durability, damage, a full disk, recycling.

import assert from "node:assert/strict";
import { test } from "node:test";
import { LogFormatError } from "../../src/log/local/segment-format.ts";
import { StorageError } from "../../src/model/errors.ts";
import { EXTENT_BYTES, SHARD_LOG, SimMachine, SMALL_LOG } from "../conformance/log-engines.ts";
import { LogProbe, readAll, textOf } from "../conformance/log-probe.ts";

const FOLDER = `data/${SHARD_LOG}`;

function isDamaged(...words: string[]) {
  return (error: unknown): boolean =>
    error instanceof StorageError && error.kind === "damaged" && words.every((word) => error.message.includes(word));
}

function segmentFiles(machine: SimMachine): string[] {
  return machine.disk.files().filter((path) => path.startsWith(`${FOLDER}/`) && path.endsWith(".seg"));
}

/** The file whose content has `text`, and where. */
function locate(machine: SimMachine, text: string): { path: string; offset: number } {
  for (const path of segmentFiles(machine)) {
    const offset = machine.disk.contentOf(path).indexOf(text);
    if (offset >= 0) return { path, offset };
  }
  throw new Error(`no segment has ${text}`);
}

test("an entry that is announced as committed survives a power loss at that moment", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const machine = await SimMachine.boot(seed);
    const log = await LogProbe.create(machine, SHARD_LOG);
    let announced = 0;
    log.afterCommit = (position) => {
      announced = position;
      // Power fails while the callback runs: nothing after the sync may be needed.
      if (position >= 10) machine.disk = machine.disk.crash();
    };
    for (let index = 0; index < 12; index += 1) {
      log.append(`entry ${index}`.padEnd(600));
      await machine.clock.advance(1);
    }
    await machine.clock.advance(100);
    assert.ok(announced >= 10);
    const found = await LogProbe.acquire(machine, SHARD_LOG, await machine.reopen());
    assert.ok(found.writer.next > announced + 1);
  }
});

test("appends of one turn share one write and one sync", async () => {
  const machine = await SimMachine.boot(1, { segmentBytes: 65_536 });
  const log = await LogProbe.create(machine, SHARD_LOG);
  const before = { ...machine.disk.calls };
  for (let index = 0; index < 50; index += 1) log.append(`entry ${index}`);
  await log.commit();
  assert.equal(machine.disk.calls.syncs - before.syncs, 1);
  assert.equal(machine.disk.calls.writes - before.writes, 1);
  assert.deepEqual(log.commits, [51]);
});

for (const fault of ["syncErrors", "writeErrors"] as const) {
  test(`after one failure (${fault}) nothing is ever committed again`, async () => {
    const machine = await SimMachine.boot(3);
    const log = await LogProbe.create(machine, SHARD_LOG);
    await log.fill(5);
    machine.disk.setFaults({ [fault]: 1 });
    log.append("lost");
    const error = await machine.run(log.writer.ended);
    assert.equal(error?.kind, "io");
    machine.disk.setFaults({});
    assert.throws(
      () => log.append("more"),
      (thrown) => thrown === error,
    );
    await machine.clock.advance(5000);
    assert.equal(log.writer.committed, 6);
    assert.equal(log.commits.at(-1), 6);
    await machine.run(assert.rejects(log.writer.release(), (thrown) => thrown === error));
    await machine.crash();
    const again = await LogProbe.acquire(machine, SHARD_LOG);
    const texts = (await readAll(machine, again.reader, { from: 2, to: 7 })).map(textOf);
    assert.deepEqual(texts, ["2", "3", "4", "5", "6"]);
  });
}

test("what a failed sync left in memory is durable once the next writer has the log", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const machine = await SimMachine.boot(seed);
    const log = await LogProbe.create(machine, SHARD_LOG);
    await log.fill(5);
    machine.disk.setFaults({ syncErrors: 1 });
    log.append("perhaps");
    await machine.run(log.writer.ended);
    machine.disk.setFaults({});
    await machine.kill();
    const second = await LogProbe.acquire(machine, SHARD_LOG);
    const found = (await readAll(machine, second.reader)).map(textOf);
    await machine.crash();
    const third = await LogProbe.acquire(machine, SHARD_LOG);
    assert.deepEqual((await readAll(machine, third.reader)).map(textOf).slice(0, found.length), found);
  }
});

test("a torn tail is cut and told, and the log goes on", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(3);
  log.append("torn".padEnd(200));
  await log.commit();
  const torn = locate(machine, "torn");
  machine.disk.flipBit(torn.path, torn.offset + 100);
  await machine.crash();
  const again = await LogProbe.acquire(machine, SHARD_LOG);
  assert.equal(again.result.cutBytes, 248);
  assert.equal(again.writer.next, 6, "the epoch entry takes the place of the torn one");
  await again.fill(50);
  await again.release();
  const last = await LogProbe.acquire(machine, SHARD_LOG);
  assert.equal(last.result.cutBytes, 0);
  assert.equal((await readAll(machine, last.reader)).length, 56);
});

test("what was cut never comes back, even where it lines up with what is written in its place", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(3);
  // As large as the epoch entry that will take its place, and followed by an intact entry.
  const torn = log.writer.append([]);
  log.append("stale");
  await log.commit();
  const { path, offset } = locate(machine, "stale");
  machine.disk.flipBit(path, offset - 48 - 8);
  await machine.crash();
  const second = await LogProbe.acquire(machine, SHARD_LOG);
  assert.equal(second.writer.next, torn + 1);
  await machine.crash();
  const third = await LogProbe.acquire(machine, SHARD_LOG);
  assert.equal(third.writer.next, torn + 2);
  const epochs = (await readAll(machine, third.reader, { from: torn })).map((entry) => entry.epoch);
  assert.deepEqual(epochs, [2, 3]);
});

test("an invalid entry that was promised to be durable is damage, and nothing is cut", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(12, 100);
  await log.release();
  const { path, offset } = locate(machine, "5...");
  machine.disk.flipBit(path, offset);
  const before = machine.disk.contentOf(path);
  await machine.reopen();
  const refused = assert.rejects(
    machine.store.acquire(SHARD_LOG, "test", new LogProbe(machine)),
    isDamaged(path, `offset ${offset - 48}`, "entry 5"),
  );
  await machine.run(refused);
  assert.ok(machine.disk.contentOf(path).equals(before), "a damaged log is left as it is");
});

test("damage in a finished segment is found when it is read, and names the place", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(100);
  const { path, offset } = locate(machine, "7...");
  machine.disk.flipBit(path, offset + 3, 5);
  await log.release();
  await machine.reopen();
  const again = await LogProbe.acquire(machine, SHARD_LOG);
  const where = isDamaged(path, `offset ${offset - 48}`, "entry 7");
  await machine.run(assert.rejects(again.reader.fetch([7]), where));
  await machine.run(assert.rejects(readAll(machine, again.reader), where));
  assert.equal(textOf((await machine.run(again.reader.fetch([60])))[0]), "60", "the rest is still there");
});

test("a finished segment without its footer is walked, and refused when it does not reach the next", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(100);
  await log.release();
  const { path, offset } = locate(machine, "7...");
  machine.disk.flipBit(path, EXTENT_BYTES - 10);
  await machine.reopen();
  const again = await LogProbe.acquire(machine, SHARD_LOG);
  assert.equal((await readAll(machine, again.reader)).length, 102);
  await again.release();
  machine.disk.flipBit(path, offset);
  await machine.reopen();
  const refused = assert.rejects(
    machine.store.acquire(SHARD_LOG, "test", new LogProbe(machine)),
    isDamaged(path, "entry 7"),
  );
  await machine.run(refused);
});

test("a segment whose header is damaged is not taken for a free one", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(40);
  await log.release();
  const { path } = locate(machine, "40...");
  const content = machine.disk.contentOf(path);
  for (const header of [
    Buffer.alloc(64),
    Buffer.alloc(64, 1),
    Buffer.concat([content.subarray(0, 20), Buffer.alloc(44)]),
  ]) {
    header.copy(content);
    machine.disk.setContent(path, content);
    await machine.reopen();
    await machine.run(assert.rejects(machine.store.acquire(SHARD_LOG, "test", new LogProbe(machine)), isDamaged(path)));
  }
});

test("a missing segment in the middle is a hole, as after a free, and its entries are refused", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(60);
  await log.release();
  const { path } = locate(machine, "30...");
  await machine.run(machine.disk.remove(path));
  await machine.reopen();
  const again = await LogProbe.acquire(machine, SHARD_LOG);
  await machine.run(assert.rejects(again.reader.fetch([30]), isDamaged("entry 30")));
  assert.equal((await readAll(machine, again.reader)).at(-1)?.position, 62);
});

test("a log of a newer format is refused with a sentence that says so", async () => {
  const machine = await SimMachine.boot(1);
  await machine.run(machine.store.create(SHARD_LOG));
  const path = `${FOLDER}/log.json`;
  const marker = machine.disk.contentOf(path).toString();
  machine.disk.setContent(path, Buffer.from(marker.replace('"format":1', '"format":2')));
  const refused = assert.rejects(machine.store.acquire(SHARD_LOG, "test", new LogProbe(machine)), (error: unknown) => {
    assert.ok(error instanceof LogFormatError);
    assert.match(error.message, /log\.json has log format 2, .* reads up to 1: .*newer version/);
    return true;
  });
  await machine.run(refused);
});

test("a damaged marker is damage, not an empty log", async () => {
  const machine = await SimMachine.boot(1);
  await machine.run(machine.store.create(SHARD_LOG));
  const path = `${FOLDER}/log.json`;
  const marker = machine.disk.contentOf(path).toString();
  for (const text of ["", "{", marker.replace(/"key":\d/, '"key":1000')]) {
    machine.disk.setContent(path, Buffer.from(text));
    await machine.run(assert.rejects(machine.store.acquire(SHARD_LOG, "test", new LogProbe(machine)), isDamaged(path)));
  }
});

test("freed segments are used again, and their old entries never come back", async () => {
  const machine = await SimMachine.boot(5);
  const log = await LogProbe.create(machine, SHARD_LOG);
  for (let round = 0; round < 30; round += 1) {
    await log.fill(20);
    log.writer.free(1, log.reader.bounds().extents.at(-1)?.first ?? 1);
    await machine.clock.advance(20);
  }
  assert.ok(segmentFiles(machine).length <= 8, "files are recycled or removed");
  for (let restart = 0; restart < 5; restart += 1) {
    const expected = log.writer.next - 1;
    await machine.crash();
    const again = await LogProbe.acquire(machine, SHARD_LOG);
    assert.equal(again.writer.committed, expected + restart + 1);
    for (const entry of await readAll(machine, again.reader)) {
      if (entry.payload.length > 0) assert.equal(textOf(entry), String(entry.position));
    }
  }
});

test("a segment that is being read is not recycled under the read", async () => {
  const machine = await SimMachine.boot(9, { faults: { slowCalls: 0.5 } });
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(60);
  const [, extent] = log.reader.bounds().extents;
  assert.ok(extent !== undefined);
  const positions = Array.from({ length: extent.end - extent.first }, (_, index) => extent.first + index);
  const reading = log.reader.fetch(positions.slice(0, 4));
  log.writer.free(1, log.writer.next);
  for (let index = 0; index < 60; index += 1) log.append("other".padEnd(200, "."));
  const entries = await machine.run(reading);
  assert.deepEqual(entries.map(textOf), positions.slice(0, 4).map(String));
});

test("a log that is hardly used prepares nothing", async () => {
  const machine = await SimMachine.boot(1, { segmentBytes: 1024 * 1024 });
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(40);
  await machine.clock.advance(10_000);
  assert.equal(segmentFiles(machine).length, 1);
  assert.ok(machine.disk.calls.writtenBytes < 512 * 1024);
  await log.fill(20, 20_000);
  await machine.clock.advance(10_000);
  assert.ok(segmentFiles(machine).length >= 3, "above a 64th the reserve is made");
});

test("small logs grow and are removed, never prepared", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SMALL_LOG);
  await log.fill(100);
  const before = machine.disk.files().length;
  log.writer.free(1, log.writer.next);
  await machine.clock.advance(1000);
  assert.ok(before > 4);
  assert.deepEqual(machine.disk.files().length, 2, "the marker and the last segment");
});

test("a full disk is told while the reserve still takes entries, and told again when space is back", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(30);
  await machine.clock.advance(100);
  machine.disk.setCapacity(machine.disk.usedBytes);
  while (log.space.length === 0) await log.fill(1);
  assert.deepEqual(log.space, ["low"]);
  const low = log.writer.next;
  await log.fill(12);
  assert.equal(log.writer.committed, low + 11, "the reserve takes what drains the log");
  log.writer.free(1, log.reader.bounds().extents.at(-1)?.first ?? 1);
  await machine.clock.advance(100);
  assert.deepEqual(log.space, ["low", "ok"], "freed segments are the new reserve");
  await log.fill(20);
  machine.disk.setCapacity(Number.POSITIVE_INFINITY);
  await machine.clock.advance(3000);
  assert.equal(log.space.at(-1), "ok");
});

test("a log leaves a growing file for the reserve before the disk can fill up under it", async () => {
  const machine = await SimMachine.boot(1, { segmentBytes: 65_536 });
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(80);
  await machine.clock.advance(1000);
  await log.fill(3);
  machine.disk.setCapacity(machine.disk.usedBytes);
  await log.fill(200);
  assert.equal(log.writer.committed, 284);
});

test("space that somebody else gives back is noticed within a second", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  machine.disk.setCapacity(machine.disk.usedBytes + EXTENT_BYTES / 2);
  await log.fill(8);
  await machine.clock.advance(2500);
  assert.deepEqual(log.space, ["low"]);
  machine.disk.setCapacity(Number.POSITIVE_INFINITY);
  await machine.clock.advance(1100);
  assert.deepEqual(log.space, ["low", "ok"]);
});

test("when the reserve is used up too, the writer ends with full, and nothing committed is lost", async () => {
  const machine = await SimMachine.boot(1);
  const log = await LogProbe.create(machine, SHARD_LOG);
  await log.fill(30);
  await machine.clock.advance(100);
  machine.disk.setCapacity(machine.disk.usedBytes);
  const failing = assert.rejects(
    log.fill(200),
    (error: unknown) => error instanceof StorageError && error.kind === "full",
  );
  await failing;
  assert.equal((await machine.run(log.writer.ended))?.kind, "full");
  const { committed } = log.writer;
  await machine.crash();
  machine.disk.setCapacity(Number.POSITIVE_INFINITY);
  const again = await LogProbe.acquire(machine, SHARD_LOG);
  assert.ok(again.writer.next > committed + 1);
});

test("no crash leaves half a log: create and delete are all or nothing", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const machine = await SimMachine.boot(seed);
    const creating = machine.store.create(SHARD_LOG);
    creating.catch(() => undefined);
    await machine.clock.advance(seed / 6);
    await machine.crash();
    const created = await machine.run(machine.store.list(""));
    if (created.length === 0) await machine.run(machine.store.create(SHARD_LOG));
    const log = await LogProbe.acquire(machine, SHARD_LOG);
    await log.fill(40);
    await log.release();
    const deleting = machine.store.delete(SHARD_LOG);
    deleting.catch(() => undefined);
    await machine.clock.advance(seed / 4);
    await machine.crash();
    const left = await machine.run(machine.store.list(""));
    if (left.length > 0) {
      const kept = await LogProbe.acquire(machine, SHARD_LOG);
      assert.equal(kept.writer.next, 43, "a log that is still listed is whole");
      await kept.release();
      await machine.run(machine.store.delete(SHARD_LOG));
    }
    await machine.run(machine.store.create(SHARD_LOG));
    assert.equal((await LogProbe.acquire(machine, SHARD_LOG)).writer.next, 2);
  }
});

test("create and delete are durable when they resolve", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const machine = await SimMachine.boot(seed);
    await machine.run(machine.store.create(SHARD_LOG));
    await machine.run(machine.store.create("shard/0/cold"));
    await machine.crash();
    assert.deepEqual(await machine.run(machine.store.list("")), [SHARD_LOG, "shard/0/cold"]);
    await machine.run(machine.store.delete(SHARD_LOG));
    await machine.crash();
    assert.deepEqual(await machine.run(machine.store.list("")), ["shard/0/cold"]);
  }
});
