// Effects and snapshots as bytes: what is written is read back, and bytes that are neither are told
// from them by a DecodeError, whatever they are.

import { PLAIN_SETTINGS } from "../../src/queues/shard-port.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { LogWriter } from "../../src/log/log.ts";
import { DecodeError } from "../../src/model/errors.ts";
import { type EffectHandler, readEffects } from "../../src/queues/effects.ts";
import { Journal } from "../../src/queues/journal.ts";
import { COLD, IN_FLIGHT } from "../../src/queues/page.ts";
import { ShardState } from "../../src/queues/shard-state.ts";
import {
  encodeEnd,
  encodePage,
  encodeQueue,
  encodeStart,
  encodeKeep,
  SnapshotLoad,
} from "../../src/queues/snapshot-format.ts";

type Effect = readonly [keyof EffectHandler, ...unknown[]];

/** Keeps what it is told; `effects` is empty again after `take`. */
class Recorder implements EffectHandler {
  effects: Effect[] = [];
  enqueue = this.#on("enqueue");
  enqueueRef = this.#on("enqueueRef");
  delivered = this.#on("delivered");
  deliveredOne = this.#on("deliveredOne");
  settle = this.#on("settle");
  returned = this.#on("returned");
  relocate = this.#on("relocate");
  purge = this.#on("purge");
  queueCreate = this.#on("queueCreate");
  queueDelete = this.#on("queueDelete");
  restart = this.#on("restart");
  held = this.#on("held");
  parked = this.#on("parked");
  expires = this.#on("expires");
  retried = this.#on("retried");
  named = this.#on("named");

  #on(name: keyof EffectHandler): (...values: unknown[]) => void {
    return (...values) => void this.effects.push([name, ...values]);
  }
}

const PARAMETERS = { pageRows: 64, pageRowsFirst: 4, transientSlabBytes: 1024, transientBytesMax: 4096 };

/** A log that keeps the payloads of its entries. */
function recordingWriter(payloads: Buffer[]): LogWriter {
  return {
    epoch: 1,
    get next(): number {
      return payloads.length + 1;
    },
    committed: 0,
    backlogBytes: 0,
    ended: new Promise(() => undefined),
    append(parts) {
      return payloads.push(Buffer.concat(parts));
    },
    free: () => undefined,
    release: () => Promise.resolve(),
  };
}

class World {
  readonly payloads: Buffer[] = [];
  readonly state = new ShardState(PARAMETERS);
  readonly journal = new Journal({
    writer: recordingWriter(this.payloads),
    state: this.state,
    parameters: { slabBytes: 4096, tailCacheBytes: 0, entryTargetBytes: 512 },
    onFailure: (error) => {
      throw error;
    },
  });

  readBack(): Effect[] {
    this.journal.flush();
    this.journal.seal();
    const recorder = new Recorder();
    for (const payload of this.payloads) readEffects(payload, recorder);
    return recorder.effects;
  }
}

const u32 = fc.nat(0xffff_ffff);
const sequence = fc.maxSafeNat();
const position = fc.nat(2 ** 31 - 1).map((low) => low * 511); // up to 40 bits

/** One effect: how it is written, and what must be read back. */
const effect: fc.Arbitrary<{ write(journal: Journal): Effect[] }> = fc.oneof(
  fc
    .record({ queue: u32, sequence, size: fc.nat(6000), refs: fc.array(fc.tuple(u32, sequence), { maxLength: 5 }) })
    .map(({ queue, sequence: first, size, refs }) => ({
      write(journal: Journal): Effect[] {
        const at = journal.openRecord(size, refs.length, true);
        journal.slabs.bytes.fill(0xee, at, at + size);
        const offset = (at - journal.slabs.start) / 8;
        const place = { state: 0, position: journal.openPosition, offset, size };
        journal.nameRecord(at, queue, 0, first);
        for (const [other, row] of refs) journal.addReference(other, 0, row, place);
        return [
          ["enqueue", queue, 0, first, offset, size],
          ...refs.map(([other, row]): Effect => ["enqueueRef", other, 0, row, place.position, offset, size, false]),
        ];
      },
    })),
  fc.record({ size: fc.nat(6000) }).map(({ size }) => ({
    write(journal: Journal): Effect[] {
      const at = journal.openRecord(size, 0, false);
      journal.slabs.bytes.fill(0xee, at, at + size);
      return [];
    },
  })),
  fc
    .record({ queue: u32, row: sequence, position, offset: fc.nat(0xff_ffff), size: u32, cold: fc.boolean() })
    .map((ref) => ({
      write(journal: Journal): Effect[] {
        const { queue, row, cold, ...place } = ref;
        journal.openRecord(0, 1, false);
        journal.addReference(queue, 0, row, { ...place, state: cold ? COLD : 0 });
        return [["enqueueRef", queue, 0, row, place.position, place.offset, place.size, cold]];
      },
    })),
  fc.record({ queue: u32, row: sequence, deliveries: u32 }).map(({ queue, row, deliveries }) => ({
    write(journal: Journal): Effect[] {
      journal.writeReturn(queue, 0, row, deliveries);
      return [["returned", queue, 0, row, deliveries]];
    },
  })),
  fc.record({ queue: u32, from: sequence, to: sequence }).map(({ queue, from, to }) => ({
    write(journal: Journal): Effect[] {
      journal.writePurge(queue, 0, from, to);
      return [["purge", queue, 0, from, to]];
    },
  })),
  fc.record({ queue: u32, flags: fc.nat(0xffff) }).map(({ queue, flags }) => ({
    write(journal: Journal): Effect[] {
      journal.writeQueueCreate(queue, flags);
      journal.writeQueueDelete(queue);
      journal.writeRestart();
      return [["queueCreate", queue, flags], ["queueDelete", queue], ["restart"]];
    },
  })),
  fc
    .record({
      queue: u32,
      moves: fc.array(fc.record({ sequence, position, offset: fc.nat(0xff_ffff) }), { minLength: 1, maxLength: 1024 }),
    })
    .map(({ queue, moves }) => ({
      write(journal: Journal): Effect[] {
        journal.writeRelocate(queue, 0, moves);
        return moves.map((move) => ["relocate", queue, 0, move.sequence, move.position, move.offset]);
      },
    })),
);

test("every effect is read back as it was written, across entries and slabs", () => {
  fc.assert(
    fc.property(fc.array(effect, { maxLength: 30 }), (effects) => {
      const world = new World();
      const expected = effects.flatMap((one) => one.write(world.journal));
      assert.deepEqual(world.readBack(), expected);
      for (const payload of world.payloads) assert.equal(payload.length % 8, 0);
    }),
    { numRuns: 100 },
  );
});

test("coalesced deliveries and settles of a lane are read back in full, however many there are", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(20_000), { maxLength: 3000 }), fc.nat(5000), (settled, delivered) => {
      const world = new World();
      const queue = world.state.addQueue(7, { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: false });
      const lane = queue.lanes[0]!;
      lane.cursor = delivered;
      world.journal.notePending(queue, lane);
      lane.redelivered.push(...settled);
      for (const row of settled) world.journal.noteSettled(queue, lane, row, row % 3 === 0 ? 1 : 0);
      const found = new Set<number>();
      const again: number[] = [];
      for (const [name, queueId, laneIndex, first, count] of world.readBack()) {
        assert.deepEqual([queueId, laneIndex], [7, 0]);
        if (name === "delivered") assert.deepEqual([first, count], [0, delivered]);
        else if (name === "deliveredOne") again.push(Number(first));
        else {
          assert.equal(name, "settle");
          for (let i = 0; i < Number(count); i++) {
            assert.equal(found.has(Number(first) + i), false);
            found.add(Number(first) + i);
          }
        }
      }
      assert.deepEqual(again, settled);
      assert.deepEqual(
        [...found].sort((a, b) => a - b),
        settled.toSorted((a, b) => a - b),
      );
    }),
    { numRuns: 50 },
  );
});

/** Runs `decode`; anything that it throws must be a DecodeError. */
function decodes(decode: () => void): void {
  try {
    decode();
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
  }
}

/** A payload with some bytes changed, and perhaps its end cut off. */
const mutations = fc.record({
  bytes: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
  keep: fc.option(fc.nat()),
});

function mutated(payload: Buffer, { bytes, keep }: { bytes: [number, number][]; keep: number | null }): Buffer {
  const copy = Buffer.from(payload);
  for (const [at, value] of bytes) if (copy.length > 0) copy[at % copy.length] = value;
  return keep === null ? copy : copy.subarray(0, keep % (copy.length + 1));
}

test("random bytes as an entry are effects or a DecodeError", () => {
  const kinds = fc.tuple(fc.integer({ min: 0, max: 14 }), fc.uint8Array({ maxLength: 400 }));
  fc.assert(
    fc.property(kinds, ([kind, rest]) => {
      const recorder = new Recorder();
      decodes(() => readEffects(Buffer.from([kind, ...rest]), recorder));
      assert.ok(recorder.effects.length <= 401 / 8);
    }),
    { numRuns: 5000 },
  );
});

test("an entry with changed bytes is effects or a DecodeError, in bounded work", () => {
  fc.assert(
    fc.property(fc.array(effect, { minLength: 1, maxLength: 5 }), mutations, (effects, changes) => {
      const world = new World();
      for (const one of effects) one.write(world.journal);
      world.journal.seal();
      for (const payload of world.payloads) {
        const recorder = new Recorder();
        decodes(() => readEffects(mutated(payload, changes), recorder));
        assert.ok(recorder.effects.length <= payload.length / 8);
      }
    }),
    { numRuns: 1000 },
  );
});

/** A snapshot of one queue with a dense and a sparse page. */
function snapshotPayload(): Buffer {
  const state = new ShardState(PARAMETERS);
  const queue = state.addQueue(3, { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: true });
  const lane = queue.lanes[0]!;
  state.applying = 9;
  for (let row = 0; row < 100; row++) lane.applyEnqueue(row, row % 5 === 0 ? COLD : 0, 9, row * 4, 30);
  for (let row = 0; row < 64; row++) if (row % 16 !== 0) lane.applySettle(row);
  lane.applyDelivered(60, 70);
  lane.applyReturn(65, 3);
  const pages = [...lane.pages.values()].map((page) => encodePage(3, lane, page, 12)!.bytes);
  return Buffer.concat([encodeStart(5, PARAMETERS.pageRows, 0), encodeQueue(queue), ...pages, encodeEnd(12)]);
}

function emptyState(): ShardState {
  const state = new ShardState(PARAMETERS);
  state.startReplay(Number.MAX_SAFE_INTEGER);
  return state;
}

test("a snapshot is read back as it was written", () => {
  const state = emptyState();
  const load = new SnapshotLoad(state, 1);
  load.take(snapshotPayload());
  load.finish();
  assert.deepEqual([load.bounds, load.base, load.isComplete], [{ start: 5, end: 12 }, 0, true]);
  const lane = state.lane(3, 0)!;
  assert.deepEqual([lane.next, lane.marked, lane.pages.size], [100, 70, 2]);
  const [sparse, dense] = [lane.pages.get(0)!, lane.pages.get(1)!];
  assert.deepEqual([sparse.live, dense.live, sparse.stamp, dense.returned], [4, 36, 12, 1]);
  assert.deepEqual([sparse.offset(48), sparse.size(48), sparse.position(48)], [192, 30, 9]);
  assert.deepEqual([dense.state(2) & 3, dense.deliveries(1), dense.state(1) & COLD], [IN_FLIGHT, 3, COLD]);
});

/** A snapshot that changed page 1 and keeps page 0 of snapshot 1, which is its base. */
function changedPayload(): Buffer {
  const state = new ShardState(PARAMETERS);
  const queue = state.addQueue(3, { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: true });
  const lane = queue.lanes[0]!;
  state.applying = 21;
  for (let row = 64; row < 70; row++) lane.applyEnqueue(row, 0, 21, row, 40);
  const page = encodePage(3, lane, lane.pages.get(1)!, 33)!.bytes;
  const keep = encodeKeep(3, lane, [0]);
  return Buffer.concat([encodeStart(20, PARAMETERS.pageRows, 1), encodeQueue(queue), page, keep, encodeEnd(33)]);
}

/** Loads `payload` as snapshot 2; when it has a base, that is the other snapshot of this file. */
function loadWithBase(payload: Buffer, state: ShardState): SnapshotLoad {
  const load = new SnapshotLoad(state, 2);
  load.take(payload);
  if (load.base === 1) load.takeFromBase(snapshotPayload());
  load.finish();
  return load;
}

test("a snapshot with a base has its own pages as they changed and takes the others from the base", () => {
  const state = emptyState();
  const load = loadWithBase(changedPayload(), state);
  assert.deepEqual([load.bounds, load.base], [{ start: 20, end: 33 }, 1]);
  const lane = state.lane(3, 0)!;
  const [kept, changed] = [lane.pages.get(0)!, lane.pages.get(1)!];
  assert.deepEqual([lane.pages.size, kept.live, kept.stamp, kept.savedIn], [2, 4, 12, 1]);
  assert.deepEqual([changed.live, changed.stamp, changed.savedIn], [6, 33, 2]);
});

test("a snapshot whose base lacks a page, or is no base, is refused", () => {
  const lane = emptyState().addQueue(3, { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: true }).lanes[0]!;
  const lacking = Buffer.concat([changedPayload(), encodeKeep(3, lane, [7])]);
  assert.throws(() => loadWithBase(lacking, emptyState()), DecodeError);
  assert.throws(() => new SnapshotLoad(emptyState(), 1).take(changedPayload()), DecodeError);
  assert.throws(() => {
    const load = new SnapshotLoad(emptyState(), 3);
    load.take(changedPayload());
    load.takeFromBase(changedPayload());
  }, DecodeError);
});

test("a snapshot of the format that knew no bases is read", () => {
  const start = Buffer.alloc(16);
  start[0] = 1;
  start[1] = 1;
  start.writeUInt32LE(PARAMETERS.pageRows, 4);
  start.writeUInt32LE(5, 8);
  const state = emptyState();
  const load = new SnapshotLoad(state, 1);
  load.take(Buffer.concat([start, snapshotPayload().subarray(24)]));
  load.finish();
  assert.deepEqual([load.bounds, load.base, state.lane(3, 0)!.pages.size], [{ start: 5, end: 12 }, 0, 2]);
});

test("a snapshot with changed bytes is loaded or a DecodeError, and what was loaded can be worked with", () => {
  fc.assert(
    fc.property(mutations, fc.boolean(), (changes, hasBase) => {
      const payload = hasBase ? changedPayload() : snapshotPayload();
      const state = emptyState();
      decodes(() => {
        loadWithBase(mutated(payload, changes), state);
        for (const queue of state.queues.values()) {
          for (const lane of queue.lanes) {
            for (const page of lane.pages.values()) {
              let live = 0;
              for (let row = page.find(0, 0b1110); row >= 0; row = page.find(row + 1, 0b1110)) live++;
              assert.equal(live, page.live);
            }
          }
        }
      });
    }),
    { numRuns: 3000 },
  );
});

test("random bytes as a snapshot are a snapshot or a DecodeError", () => {
  const kinds = fc.tuple(fc.integer({ min: 0, max: 6 }), fc.uint8Array({ maxLength: 300 }));
  fc.assert(
    fc.property(kinds, ([kind, rest]) => {
      decodes(() => loadWithBase(Buffer.from([kind, ...rest]), emptyState()));
    }),
    { numRuns: 5000 },
  );
});
