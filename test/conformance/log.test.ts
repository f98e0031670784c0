// What every log engine guarantees. One suite, run on each of them.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { StorageError } from "../../src/model/errors.ts";
import { ENGINES, EXTENT_BYTES, type LogFixture, SHARD_LOG, SMALL_LOG } from "./log-engines.ts";
import { LogProbe, readAll, textOf } from "./log-probe.ts";

const isStorageError = (kind: StorageError["kind"]) => (error: unknown) =>
  error instanceof StorageError && error.kind === kind;

for (const engine of ENGINES) {
  describe(`log, ${engine.name}`, () => {
    const check = (name: string, run: (fixture: LogFixture) => Promise<void>): void => {
      test(name, async () => {
        const fixture = await engine.open();
        try {
          await run(fixture);
        } finally {
          await fixture.dispose();
        }
      });
    };

    check("positions are dense from 1, where the first epoch entry is", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      assert.equal(log.writer.epoch, 1);
      assert.equal(log.writer.committed, 1);
      for (let expected = 2; expected < 200; expected += 1) {
        assert.equal(log.writer.next, expected);
        assert.equal(log.append("x".repeat(expected)), expected);
      }
      await log.commit();
      const entries = await readAll(fixture, log.reader);
      assert.deepEqual(
        entries.map((entry) => entry.position),
        Array.from({ length: 199 }, (_, index) => index + 1),
      );
      await log.release();
    });

    check("the watermark rises in order, once per group, up to what was appended", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      log.afterCommit = (position) => assert.equal(log.writer.committed, position);
      await log.fill(100);
      assert.equal(log.commits.at(-1), 101);
      assert.ok(log.commits.every((position, index) => index === 0 || position > (log.commits[index - 1] ?? 0)));
      assert.ok(log.commits.length <= 40, "appends of one turn share a commit");
      await log.release();
    });

    check("an append is not committed when it returns, and nobody reads it before it is", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      await log.fill(3);
      const position = log.append("not yet");
      assert.equal(log.writer.committed, position - 1);
      assert.equal(log.reader.bounds().next, position);
      assert.equal(log.writer.backlogBytes, "not yet".length);
      const early = log.reader.read(1);
      await log.commit();
      const seen: number[] = [];
      await fixture.run(
        (async () => {
          for await (const batch of early) seen.push(...batch.map((entry) => entry.position));
        })(),
      );
      assert.deepEqual(seen, [1, 2, 3, 4], "a read ends where the log was committed when it was asked for");
      assert.equal(log.reader.bounds().next, position + 1);
      assert.equal(log.writer.backlogBytes, 0);
      await log.release();
    });

    check("an uncommitted entry is not fetched", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      const position = log.append("not yet");
      const refused = assert.rejects(log.reader.fetch([position]), isStorageError("damaged"));
      await fixture.run(refused);
      await log.release();
    });

    check("the payload is the concatenation of the parts, and time and epoch come back", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      const parts = ["", "one ", "two", "", " three"].map((text) => Buffer.from(text));
      const position = log.writer.append(parts);
      const empty = log.writer.append([]);
      await log.commit();
      const [entry, none] = await fixture.run(log.reader.fetch([position, empty]));
      assert.equal(entry?.payload.toString(), "one two three");
      assert.equal(entry.epoch, 1);
      assert.ok(entry.timeMs > Date.UTC(2020, 0, 1));
      assert.equal(none?.payload.length, 0);
      await log.release();
    });

    check("an entry with thousands of parts is written whole", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      const parts = Array.from({ length: 5000 }, (_, index) => Buffer.from(`${index};`));
      const position = log.writer.append(parts);
      log.append("after");
      await log.commit();
      const [entry, after] = await fixture.run(log.reader.fetch([position, position + 1]));
      assert.ok(entry?.payload.equals(Buffer.concat(parts)));
      assert.equal(textOf(after), "after");
      await log.release();
    });

    check("a read starts and stops where it is told", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      await log.fill(60);
      const some = await readAll(fixture, log.reader, { from: 17, to: 43 });
      assert.deepEqual(
        some.map((entry) => entry.position),
        Array.from({ length: 26 }, (_, index) => index + 17),
      );
      assert.deepEqual(
        some.map(textOf),
        some.map((entry) => String(entry.position)),
      );
      assert.deepEqual(await readAll(fixture, log.reader, { from: 62 }), []);
      assert.equal((await readAll(fixture, log.reader, { from: 60, to: 1000 })).length, 2);
      await log.release();
    });

    check("scattered positions are fetched, each exactly", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      await log.fill(80);
      const positions = [1, 2, 3, 4, 9, 11, 12, 40, 41, 42, 77, 80, 81];
      const entries = await fixture.run(log.reader.fetch(positions));
      assert.deepEqual(
        entries.map((entry) => entry.position),
        positions,
      );
      assert.deepEqual(entries.slice(1).map(textOf), positions.slice(1).map(String));
      assert.deepEqual(await fixture.run(log.reader.fetch([])), []);
      await log.release();
    });

    check("an entry larger than an extent gets an extent of its own", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      await log.fill(3);
      const large = Buffer.alloc(5 * EXTENT_BYTES, "large");
      const position = log.writer.append([large.subarray(0, 1000), large.subarray(1000)]);
      const after = log.append("after");
      await log.commit();
      assert.deepEqual(log.extents.slice(-2), [position, after]);
      const [entry] = await fixture.run(log.reader.fetch([position]));
      assert.ok(entry?.payload.equals(large));
      const extent = log.reader.bounds().extents.find(({ first }) => first === position);
      assert.equal(extent?.end, position + 1);
      log.writer.free(position, after);
      assert.equal(
        log.reader.bounds().extents.some(({ first }) => first === position),
        false,
      );
      await log.release();
    });

    check("onExtent is called inside append, and tells the extents that bounds shows", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      for (let index = 0; index < 100; index += 1) {
        const before = log.extents.length;
        const position = log.append("x".repeat(300));
        if (log.extents.length > before) assert.equal(log.extents.at(-1), position);
      }
      await log.commit();
      const { extents, first, next } = log.reader.bounds();
      assert.deepEqual(
        extents.map((extent) => extent.first),
        [1, ...log.extents],
      );
      assert.equal(first, 1);
      assert.equal(next, log.writer.next);
      assert.ok(extents.every((extent, index) => extent.end === (extents[index + 1]?.first ?? next)));
      assert.ok(extents.every((extent) => extent.bytes > 0));
      await log.release();
    });

    check("only whole extents are freed, never the last, and reads pass over holes", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      await log.fill(100);
      const [one, two, three, four] = log.reader.bounds().extents;
      assert.ok(one !== undefined && two !== undefined && three !== undefined && four !== undefined);
      log.writer.free(two.first + 1, three.end - 1);
      assert.equal(log.reader.bounds().extents[1]?.first, two.first, "parts of extents stay");
      log.writer.free(two.first, three.end + 1);
      const positions = (await readAll(fixture, log.reader)).map((entry) => entry.position);
      assert.equal(positions[0], 1);
      assert.deepEqual(positions.slice(one.end - 1, one.end + 1), [four.first, four.first + 1]);
      await fixture.run(assert.rejects(log.reader.fetch([two.first]), isStorageError("damaged")));
      log.writer.free(1, log.writer.next);
      const { extents, first, next } = log.reader.bounds();
      assert.equal(extents.length, 1);
      assert.equal(first, extents[0]?.first);
      assert.equal(next, 102);
      assert.equal((await readAll(fixture, log.reader)).at(-1)?.position, 101);
      await log.release();
    });

    check("a read that goes on while its extents are freed returns only intact entries", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      await log.fill(120);
      const read = async (): Promise<void> => {
        let last = 0;
        for await (const batch of log.reader.read(1)) {
          for (const entry of batch) {
            assert.ok(entry.position > last);
            if (entry.position > 1) assert.equal(textOf(entry), String(entry.position));
            last = entry.position;
          }
          log.writer.free(1, Math.min(last + 30, 100));
          for (let index = 0; index < 5; index += 1) log.append("more".padEnd(300, "."));
        }
        assert.equal(last, 121);
      };
      await fixture.run(read());
      await log.release();
    });

    check("a freed log takes new entries again and again", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      for (let round = 0; round < 20; round += 1) {
        await log.fill(40);
        const { extents } = log.reader.bounds();
        log.writer.free(1, extents.at(-1)?.first ?? 1);
      }
      const entries = await readAll(fixture, log.reader);
      assert.ok(entries.length > 0 && entries.length < 40);
      assert.deepEqual(
        entries.map(textOf),
        entries.map((entry) => String(entry.position)),
      );
      await log.release();
    });

    check("release commits what was appended, and the writer takes nothing more", async (fixture) => {
      const log = await LogProbe.create(fixture, SHARD_LOG);
      const position = log.append("last words");
      await log.release();
      assert.equal(await log.writer.ended, undefined);
      assert.equal(log.writer.committed, position);
      assert.throws(() => log.append("too late"), isStorageError("closed"));
      const reader = await fixture.run((await fixture.reopen()).reader(SHARD_LOG));
      assert.equal(textOf((await readAll(fixture, reader)).at(-1)), "last words");
    });

    check("acquire fences the older writer, which never commits again", async (fixture) => {
      const old = await LogProbe.create(fixture, SHARD_LOG);
      await old.fill(5);
      old.append("perhaps");
      const commits = old.commits.length;
      const young = await LogProbe.acquire(fixture, SHARD_LOG);
      assert.equal((await old.writer.ended)?.kind, "fenced");
      assert.throws(() => old.append("no"), isStorageError("fenced"));
      assert.equal(young.writer.epoch, old.writer.epoch + 1);
      await young.fill(5);
      assert.equal(old.commits.length, commits);
      const epochs = (await readAll(fixture, young.reader)).map((entry) => entry.epoch);
      assert.deepEqual(
        epochs,
        [...epochs].sort((a, b) => a - b),
      );
      assert.equal(epochs.at(-1), 2);
      await young.release();
    });

    check("a reopened log has every entry, and a new epoch", async (fixture) => {
      let log = await LogProbe.create(fixture, SHARD_LOG);
      let expected = 1;
      for (let epoch = 1; epoch <= 5; epoch += 1) {
        assert.equal(log.writer.epoch, epoch);
        await log.fill(30);
        expected += 30;
        await log.release();
        log = await LogProbe.acquire(fixture, SHARD_LOG, await fixture.reopen());
        assert.equal(log.result.cutBytes, 0);
        expected += 1;
        assert.equal(log.writer.next, expected + 1);
        assert.equal(log.writer.committed, expected);
      }
      const entries = await readAll(fixture, log.reader);
      assert.deepEqual(
        entries.map((entry) => entry.position),
        Array.from({ length: expected }, (_, index) => index + 1),
      );
      for (const entry of entries) if (entry.payload.length > 0) assert.equal(textOf(entry), String(entry.position));
      await log.release();
    });

    check("logs are created once, listed by prefix, and gone when deleted", async (fixture) => {
      const ids = ["meta", "shard/0", "shard/0/cold", "shard/0/snap/3", "shard/1"];
      for (const id of ids) await fixture.run(fixture.store.create(id));
      await fixture.run(assert.rejects(fixture.store.create("shard/0"), isStorageError("closed")));
      assert.deepEqual(await fixture.run(fixture.store.list("")), ids);
      assert.deepEqual(await fixture.run(fixture.store.list("shard/0/")), ["shard/0/cold", "shard/0/snap/3"]);
      await fixture.run(fixture.store.delete("shard/0"));
      await fixture.run(fixture.store.delete("shard/0/snap/3"));
      const store = await fixture.reopen();
      assert.deepEqual(await fixture.run(store.list("")), ["meta", "shard/0/cold", "shard/1"]);
      await fixture.run(
        assert.rejects(store.acquire("shard/0", "test", new LogProbe(fixture)), isStorageError("closed")),
      );
      await fixture.run(assert.rejects(store.reader("shard/7"), isStorageError("closed")));
      await fixture.run(store.create("shard/0"));
      const anew = await LogProbe.acquire(fixture, "shard/0", store);
      assert.equal(anew.writer.next, 2, "a log made anew is empty");
      await anew.release();
    });

    check("logs are independent of each other", async (fixture) => {
      const one = await LogProbe.create(fixture, SHARD_LOG);
      const two = await LogProbe.create(fixture, SMALL_LOG);
      await Promise.all([one.fill(20), two.fill(40, 500)]);
      await one.release();
      assert.equal(two.append("goes on"), 42);
      await two.commit();
      assert.equal((await readAll(fixture, two.reader)).length, 42);
      await two.release();
    });

    check("a reader of a log that nobody writes sees its committed entries", async (fixture) => {
      const log = await LogProbe.create(fixture, "shard/0/snap/1");
      await log.fill(50);
      await log.release();
      const reader = await fixture.run(fixture.store.reader("shard/0/snap/1"));
      assert.equal(reader.bounds().next, 52);
      assert.equal((await readAll(fixture, reader)).length, 51);
      await fixture.run(fixture.store.delete("shard/0/snap/1"));
    });
  });
}
