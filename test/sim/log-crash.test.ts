// Random operations on the local log engine under faults, with what must be found afterwards known
// beforehand. After every restart: nothing that was announced as committed is missing, nothing is
// there that was not appended, and what is read is what was written.
//
// QUAYSIDE_SIM_SEEDS=N tries N new seeds; QUAYSIDE_SIM_SEED=S runs one.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test } from "node:test";
import { StorageError } from "../../src/model/errors.ts";
import { SHARD_LOG, SimMachine } from "../conformance/log-engines.ts";
import { LogProbe, readAll } from "../conformance/log-probe.ts";
import { Prng } from "./prng.ts";

/** Always run: kept so that a failure stays a failure. */
const FIXED_SEEDS = 150;
const NEW_SEEDS = Number(process.env["QUAYSIDE_SIM_SEEDS"] ?? 50);
const RESTARTS = 5;

/** What the log must hold. */
interface Model {
  /** The payload at each position that was appended and could still be there. */
  readonly payloads: Map<number, Buffer>;
  /** The highest position announced as committed. */
  committed: number;
  /** The epoch of the last writer that could append. */
  epoch: number;
  /** Ranges given to `free`: their entries may be there or not. */
  readonly freed: { readonly from: number; readonly to: number }[];
}

interface Run {
  readonly machine: SimMachine;
  readonly random: Prng;
  readonly model: Model;
  readonly trace: string[];
}

function payloadFor(random: Prng): Buffer {
  // Mostly small, sometimes around the edges of a block or a segment, sometimes larger than one.
  const sizes = [random.below(64), random.below(700), random.between(3800, 4100), random.below(9000)];
  const size = sizes[[0, 0, 1, 1, 1, 1, 2, 3][random.below(8)] ?? 0] ?? 0;
  const payload = Buffer.alloc(size);
  // Filled with something that is cheap and never repeats.
  for (let at = 0; at + 4 <= size; at += 4) payload.writeUInt32LE(at === 0 ? random.u32() : at, at);
  return payload;
}

function isFreed(model: Model, position: number): boolean {
  return model.freed.some(({ from, to }) => position >= from && position < to);
}

/** Compares the whole log with the model. */
async function checkContent({ machine, model }: Run, log: LogProbe): Promise<void> {
  const entries = await readAll(machine, log.reader);
  const seen = new Set<number>();
  let last = 0;
  for (const { position, payload, epoch } of entries) {
    assert.ok(position > last, "positions rise");
    assert.ok(epoch <= log.writer.epoch);
    last = position;
    seen.add(position);
    const expected = model.payloads.get(position);
    assert.ok(expected !== undefined, `entry ${position} was never appended`);
    assert.ok(payload.equals(expected), `entry ${position} is not what was appended`);
  }
  for (let position = 1; position <= model.committed; position += 1) {
    assert.ok(seen.has(position) || isFreed(model, position), `committed entry ${position} is missing`);
  }
  const some = [...seen].filter((_, index) => index % 7 === 3);
  const fetched = await machine.run(log.reader.fetch(some));
  assert.deepEqual(
    fetched.map((entry) => entry.position),
    some,
  );
}

/** Some appends, frees and waiting; returns when the writer failed or the steps are used up. */
async function work({ machine, random, model, trace }: Run, log: LogProbe): Promise<void> {
  log.afterCommit = (position) => {
    assert.ok(position > model.committed, "the watermark rises");
    model.committed = position;
  };
  let isEnded = false;
  void log.writer.ended.then(() => {
    isEnded = true;
  });
  for (let step = random.between(1, 40); step > 0; step -= 1) {
    const choice = random.below(10);
    if (choice < 6) {
      for (let count = random.between(1, 6); count > 0 && !isEnded; count -= 1) {
        const payload = payloadFor(random);
        const cut = random.below(payload.length + 1);
        model.payloads.set(log.writer.next, payload);
        log.writer.append([payload.subarray(0, cut), payload.subarray(cut)]);
      }
    } else if (choice < 7 && log.reader.bounds().extents.length > 0) {
      const extent = random.pick(log.reader.bounds().extents);
      const range = { from: extent.first, to: random.chance(0.5) ? extent.end : log.reader.bounds().next };
      model.freed.push(range);
      trace.push(`free ${range.from}..${range.to}`);
      log.writer.free(range.from, range.to);
    } else {
      await machine.clock.advance(random.below(4));
    }
    // Promises run on: a failure shows here.
    await machine.clock.advance(0);
    if (isEnded) {
      const error = await log.writer.ended;
      trace.push(`ended ${error?.kind ?? ""}`);
      assert.ok(error?.kind === "io" || error?.kind === "full");
      return;
    }
  }
}

async function restart({ machine, random, trace }: Run, log: LogProbe): Promise<void> {
  const how = random.below(5);
  trace.push(["crash", "crash", "crash", "kill", "release"][how] ?? "");
  if (how < 3) {
    await machine.crash();
    return;
  }
  if (how === 3) {
    await machine.kill();
    return;
  }
  await log.release().catch((error: unknown) => assert.ok(error instanceof StorageError));
  await machine.reopen();
}

/** Acquires the log, through further crashes while it does so. */
async function acquire(run: Run): Promise<LogProbe> {
  const { machine, random, model, trace } = run;
  while (random.chance(0.2)) {
    trace.push("crash while acquiring");
    const early = new LogProbe(machine);
    const acquiring = machine.store.acquire(SHARD_LOG, "test", early);
    acquiring.catch(() => undefined);
    await machine.clock.advance(random.below(15));
    await (random.chance(0.3) ? machine.kill() : machine.crash());
  }
  machine.disk.setFaults({ slowCalls: 0.05 });
  const log = await LogProbe.acquire(machine, SHARD_LOG);
  const { next } = log.writer;
  trace.push(`acquired, next ${next}, epoch ${log.writer.epoch}, cut ${log.result.cutBytes}`);
  assert.ok(next > model.committed + 1, "every committed entry and the new epoch entry are there");
  // Epoch entries are empty, also those of acquisitions that were cut off, where a cut began.
  await noteEpochEntries(run, log);
  for (const position of model.payloads.keys()) if (position >= next) model.payloads.delete(position);
  model.committed = next - 1;
  model.epoch = log.writer.epoch;
  return log;
}

/** Entries that the engine made itself replace what had been appended at their place and was cut. */
async function noteEpochEntries({ machine, model }: Run, log: LogProbe): Promise<void> {
  const before = model.committed;
  let { epoch } = model;
  for (const entry of await readAll(machine, log.reader)) {
    const isNew = entry.epoch > epoch;
    epoch = Math.max(epoch, entry.epoch);
    if (!isNew || entry.position <= before) continue;
    assert.equal(entry.payload.length, 0, "an epoch begins with its own entry");
    model.payloads.set(entry.position, entry.payload);
    for (const position of model.payloads.keys()) {
      // What had been appended behind a cut is gone; later epochs wrote only their own entries here.
      if (position > entry.position) model.payloads.delete(position);
    }
  }
}

async function simulate(seed: number, trace: string[]): Promise<void> {
  const random = new Prng(seed);
  // One block a segment shows the edges of segments, several show what a crash does inside of one.
  const machine = await SimMachine.boot(random.u32(), { segmentBytes: random.pick([4096, 12_288, 32_768]) });
  const run: Run = { machine, random, trace, model: { payloads: new Map(), committed: 0, epoch: 0, freed: [] } };
  await machine.run(machine.store.create(SHARD_LOG));
  for (let round = 0; round < RESTARTS; round += 1) {
    const log = await acquire(run);
    await checkContent(run, log);
    machine.disk.setFaults({
      syncErrors: random.chance(0.3) ? 0.03 : 0,
      writeErrors: random.chance(0.1) ? 0.03 : 0,
      slowCalls: random.pick([0, 0.05, 0.5]),
    });
    const isTight = random.chance(0.2);
    if (isTight) machine.disk.setCapacity(machine.disk.usedBytes + random.below(60_000));
    await work(run, log);
    machine.disk.setCapacity(Number.POSITIVE_INFINITY);
    trace.push(`worked, next ${log.writer.next}, committed ${log.writer.committed}`);
    await restart(run, log);
  }
  await checkContent(run, await acquire(run));
}

async function simulateOrTell(seed: number): Promise<void> {
  const trace: string[] = [];
  try {
    await simulate(seed, trace);
  } catch (error) {
    throw new Error(`QUAYSIDE_SIM_SEED=${seed} fails; it did:\n  ${trace.join("\n  ")}\n${String(error)}`, {
      cause: error,
    });
  }
}

const only = process.env["QUAYSIDE_SIM_SEED"];
if (only !== undefined) {
  test(`the log survives seed ${only}`, () => simulateOrTell(Number(only)));
} else {
  test("no committed entry is lost or changed by crashes, failed syncs and full disks", async () => {
    for (let seed = 1; seed <= FIXED_SEEDS; seed += 1) await simulateOrTell(seed);
  });

  test(`the same holds for ${NEW_SEEDS} seeds never tried before`, async () => {
    for (let count = 0; count < NEW_SEEDS; count += 1) await simulateOrTell(randomInt(2 ** 32));
  });

  test("the same seed gives the same run", async () => {
    const traces: string[][] = [[], []];
    for (const trace of traces) await simulate(7, trace);
    assert.deepEqual(traces[0], traces[1]);
  });
}
