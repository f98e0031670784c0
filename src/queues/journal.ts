// The journal: writes effects into the open entry and hands sealed entries to the log. Settles and
// deliveries of a turn are coalesced per lane and written in one go; what was applied is always
// written before its entry is sealed, so that a snapshot taken between entries agrees with the log.

import { assert } from "../assert.ts";
import type { LogWriter } from "../log/log.ts";
import { StorageError } from "../model/errors.ts";
import {
  align8,
  type Attempts,
  BODY,
  DELIVERED,
  DELIVERED_LIST,
  EFFECT_HEADER_BYTES,
  ENQUEUE,
  ENQUEUE_HEADER_BYTES,
  ENQUEUE_REF,
  ENQUEUE_REF_BYTES,
  EXPIRY,
  HOLD,
  NAME,
  NAME_HEADER_BYTES,
  PARK,
  PURGE,
  putEffectHeader,
  putU32,
  putU64,
  QUEUE_CREATE,
  QUEUE_DELETE,
  RELOCATE,
  RESTART,
  RETRY,
  RETRY_BYTES,
  RETURN,
  SETTLE,
} from "./effects.ts";
import type { Lane } from "./lane.ts";
import type { Queue } from "./queue.ts";
import { refFlags, type ShardState } from "./shard-state.ts";
import { Slabs } from "./slabs.ts";

export interface JournalParameters {
  readonly slabBytes: number;
  readonly tailCacheBytes: number;
  readonly entryTargetBytes: number;
}

const POSITIONS_MAX = 2 ** 40;
/** Lists inside one effect stay below this, so that an effect always fits a slab. */
const LIST_MAX = 1024;

export class Journal {
  readonly slabs: Slabs;
  /** Position that the open entry will get. */
  openPosition: number;
  committed: number;
  /** The open entry holds something that somebody waits for, or that should not wait for others. */
  urgent = false;
  appendedBytes = 0;
  /** Messages in the open entry whose publishers may wait for its commit. */
  openMessages = 0;

  private readonly writer: LogWriter;
  private readonly state: ShardState;
  private readonly entryTargetBytes: number;
  private inOneEntry = false;
  private readonly onFailure: (error: StorageError) => void;
  private readonly pendingQueues: Queue[] = [];
  private readonly pendingLanes: Lane[] = [];

  constructor(options: {
    readonly writer: LogWriter;
    readonly state: ShardState;
    readonly parameters: JournalParameters;
    readonly onFailure: (error: StorageError) => void;
  }) {
    const { writer, state, parameters } = options;
    this.writer = writer;
    this.state = state;
    this.onFailure = options.onFailure;
    this.entryTargetBytes = parameters.entryTargetBytes;
    this.openPosition = writer.next;
    this.committed = writer.committed;
    state.applying = this.openPosition;
    this.slabs = new Slabs({
      slabBytes: parameters.slabBytes,
      cacheBytes: parameters.tailCacheBytes,
      firstPosition: this.openPosition,
    });
  }

  /** Bytes that are neither durable nor on their way. */
  get backlogBytes(): number {
    return this.writer.backlogBytes + this.slabs.openBytes;
  }

  /** The highest position that holds an effect, or will when it is sealed. */
  get lastPosition(): number {
    return this.slabs.openBytes > 0 ? this.openPosition : this.openPosition - 1;
  }

  /** True when an entry was handed over and is not durable yet: the next one may wait for it. */
  get commitUnderWay(): boolean {
    return this.committed < this.openPosition - 1;
  }

  /**
   * The effects of `work`, about `bytes` of them, go into one entry, so that a crash finds all or nothing.
   * Only an estimate that is too low makes it two.
   */
  atomically(bytes: number, work: () => void): void {
    this.flush();
    this.seal();
    if (!this.slabs.fits(bytes)) this.slabs.turnOver(this.openPosition, bytes, this.committed);
    this.inOneEntry = true;
    try {
      work();
      this.flush();
    } finally {
      this.inOneEntry = false;
    }
  }

  /** Room for effects of one operation that must stay in one entry; entries are cut before it. */
  private reserveAtomic(bytes: number): void {
    const full = this.slabs.openBytes + bytes > this.entryTargetBytes;
    if (this.slabs.openBytes > 0 && full && !this.inOneEntry) {
      this.flush();
      this.seal();
    }
    this.reserve(bytes);
  }

  /** Room for `bytes` in the open entry; seals it when the slab is full. */
  private reserve(bytes: number): void {
    if (this.slabs.fits(bytes)) return;
    this.seal();
    this.slabs.turnOver(this.openPosition, bytes, this.committed);
  }

  /** Hands the open entry to the log. When the log has failed, nothing is confirmed any more. */
  seal(): void {
    if (this.slabs.openBytes === 0) return;
    const payload = this.slabs.seal();
    const position = this.append(payload);
    this.appendedBytes += payload.length;
    const { state } = this;
    if (state.openReferences > 0) {
      state.main.retain(position, state.openLiveBytes, state.openReferences);
    }
    state.openReferences = 0;
    state.openLiveBytes = 0;
    this.openPosition = position + 1;
    state.applying = this.openPosition;
    this.urgent = false;
    this.openMessages = 0;
  }

  private append(payload: Buffer): number {
    try {
      const position = this.writer.append([payload]);
      assert(position === this.openPosition, "the open entry gets the position it was promised");
      assert(position < POSITIONS_MAX, "a row has 40 bits for a position");
      return position;
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      // The state in memory is ahead of a log that has ended: the process is about to end too.
      this.onFailure(error);
      return this.openPosition;
    }
  }

  /**
   * Makes room for a message and `references` more rows on it in one entry. Returns the offset of
   * the record in `slabs.bytes`; the caller writes it there. `owned`: the first row is logged. `extraBytes`:
   * room for further effects of the same operation.
   */
  openRecord(size: number, references: number, owned: boolean, extraBytes = 0): number {
    this.reserveAtomic(ENQUEUE_HEADER_BYTES + align8(size) + references * ENQUEUE_REF_BYTES + extraBytes);
    const { bytes, at } = this.slabs;
    putEffectHeader(bytes, at, owned ? ENQUEUE : BODY, 0, 0, 0, 0);
    putU32(bytes, at + 16, size);
    putU32(bytes, at + 20, 0);
    const recordAt = at + ENQUEUE_HEADER_BYTES;
    const end = recordAt + align8(size);
    for (let i = recordAt + size; i < end; i++) bytes[i] = 0;
    this.slabs.at = end;
    return recordAt;
  }

  /** Room for effects that must stay together. */
  reserveEffects(bytes: number): void {
    this.reserveAtomic(bytes);
  }

  /** Names the first row of the record at `recordAt`. */
  nameRecord(recordAt: number, queueId: number, lane: number, sequence: number): void {
    putEffectHeader(this.slabs.bytes, recordAt - ENQUEUE_HEADER_BYTES, ENQUEUE, lane, 0, queueId, sequence);
  }

  /** One more row on a record; room was made by `openRecord`. */
  addReference(
    queueId: number,
    lane: number,
    sequence: number,
    location: { readonly state: number; readonly position: number; readonly offset: number; readonly size: number },
  ): void {
    const { bytes, at } = this.slabs;
    putEffectHeader(bytes, at, ENQUEUE_REF, lane, refFlags(location.state), queueId, sequence);
    putU32(bytes, at + 16, location.offset);
    putU32(bytes, at + 20, location.size);
    putU64(bytes, at + 24, location.position);
    this.slabs.at = at + ENQUEUE_REF_BYTES;
  }

  /** Remembers that a lane has effects to write (`flush`). */
  notePending(queue: Queue, lane: Lane): void {
    if (lane.pending) return;
    lane.pending = true;
    this.pendingQueues.push(queue);
    this.pendingLanes.push(lane);
  }

  /** A durable row was settled; coalesced until `flush`. */
  noteSettled(queue: Queue, lane: Lane, sequence: number, reason: number): void {
    const last = lane.settledFirst.length - 1;
    if (
      last >= 0 &&
      lane.settledReason[last] === reason &&
      lane.settledFirst[last]! + lane.settledCount[last]! === sequence
    ) {
      lane.settledCount[last]!++;
      return;
    }
    lane.settledFirst.push(sequence);
    lane.settledCount.push(1);
    lane.settledReason.push(reason);
    this.notePending(queue, lane);
  }

  /** Writes the coalesced effects of all lanes into the open entry. */
  flush(): void {
    for (let i = 0; i < this.pendingLanes.length; i++) {
      const lane = this.pendingLanes[i]!;
      lane.pending = false;
      this.flushLane(this.pendingQueues[i]!, lane);
    }
    this.pendingLanes.length = 0;
    this.pendingQueues.length = 0;
    this.state.main.seal(this.lastPosition);
    this.state.cold.seal(this.lastPosition);
  }

  /** Writes the coalesced effects of one lane: needed before effects that depend on their order. */
  flushLane(queue: Queue, lane: Lane): void {
    if (queue.deleted) return;
    if (queue.settings.durable && lane.cursor > lane.marked) {
      this.writePair(DELIVERED, queue.id, lane.index, lane.marked, lane.cursor);
    }
    lane.marked = lane.cursor;
    if (lane.redelivered.length > 0) this.flushRedelivered(queue.id, lane);
    if (lane.settledFirst.length > 0) this.flushSettled(queue.id, lane);
  }

  private flushRedelivered(queueId: number, lane: Lane): void {
    const list = lane.redelivered;
    for (let from = 0; from < list.length; from += LIST_MAX) {
      const count = Math.min(LIST_MAX, list.length - from);
      let at = this.openList(DELIVERED_LIST, queueId, lane.index, count, 8);
      for (let i = from; i < from + count; i++) {
        putU64(this.slabs.bytes, at, list[i]!);
        at += 8;
      }
    }
    list.length = 0;
  }

  private flushSettled(queueId: number, lane: Lane): void {
    mergeRuns(lane);
    const total = lane.settledFirst.length;
    for (let from = 0; from < total; from += LIST_MAX) {
      const count = Math.min(LIST_MAX, total - from);
      let at = this.openList(SETTLE, queueId, lane.index, count, 16);
      for (let i = from; i < from + count; i++) {
        putU64(this.slabs.bytes, at, lane.settledFirst[i]!);
        putU32(this.slabs.bytes, at + 8, lane.settledCount[i]!);
        putU32(this.slabs.bytes, at + 12, lane.settledReason[i]!);
        at += 16;
      }
    }
    lane.settledFirst.length = 0;
    lane.settledCount.length = 0;
    lane.settledReason.length = 0;
  }

  private openList(type: number, queueId: number, lane: number, count: number, itemBytes: number): number {
    this.reserve(24 + count * itemBytes);
    const { bytes, at } = this.slabs;
    putEffectHeader(bytes, at, type, lane, 0, queueId, 0);
    putU32(bytes, at + 16, count);
    putU32(bytes, at + 20, 0);
    this.slabs.at = at + 24 + count * itemBytes;
    return at + 24;
  }

  private writePair(type: number, queueId: number, lane: number, sequence: number, value: number): void {
    this.reserve(24);
    const { bytes, at } = this.slabs;
    putEffectHeader(bytes, at, type, lane, 0, queueId, sequence);
    putU64(bytes, at + 16, value);
    this.slabs.at = at + 24;
  }

  writeReturn(queueId: number, lane: number, sequence: number, deliveries: number): void {
    this.writePair(RETURN, queueId, lane, sequence, deliveries);
  }

  writeRetry(queueId: number, lane: number, sequence: number, attempts: Attempts): void {
    this.reserve(RETRY_BYTES);
    const { bytes, at } = this.slabs;
    putEffectHeader(bytes, at, RETRY, lane, 0, queueId, sequence);
    putU32(bytes, at + 16, attempts.deliveries);
    putU32(bytes, at + 20, attempts.failures);
    putU64(bytes, at + 24, attempts.dueMs);
    this.slabs.at = at + RETRY_BYTES;
  }

  writeHold(queueId: number, lane: number, sequence: number, dueMs: number): void {
    this.writePair(HOLD, queueId, lane, sequence, dueMs);
  }

  /** A ready row waits for another of its group; after a restart it is ready again. */
  writePark(queueId: number, lane: number, sequence: number): void {
    this.writePair(PARK, queueId, lane, sequence, 0);
  }

  writeExpiry(queueId: number, lane: number, sequence: number, expiryMs: number): void {
    this.writePair(EXPIRY, queueId, lane, sequence, expiryMs);
  }

  writeName(queueId: number, name: string, timeMs: number): void {
    const size = Buffer.byteLength(name);
    const total = NAME_HEADER_BYTES + align8(size);
    this.reserve(total);
    const { bytes, at } = this.slabs;
    putEffectHeader(bytes, at, NAME, 0, 0, queueId, timeMs);
    putU32(bytes, at + 16, size);
    putU32(bytes, at + 20, 0);
    bytes.fill(0, at + NAME_HEADER_BYTES, at + total);
    bytes.write(name, at + NAME_HEADER_BYTES, "utf8");
    this.slabs.at = at + total;
  }

  /** One settle in the open entry itself, which has room: it must not be parted from what it goes with. */
  writeSettle(queueId: number, lane: number, sequence: number, reason: number): void {
    const at = this.openList(SETTLE, queueId, lane, 1, 16);
    putU64(this.slabs.bytes, at, sequence);
    putU32(this.slabs.bytes, at + 8, 1);
    putU32(this.slabs.bytes, at + 12, reason);
  }

  writePurge(queueId: number, lane: number, from: number, to: number): void {
    this.writePair(PURGE, queueId, lane, from, to);
  }

  writeQueueCreate(queueId: number, flags: number): void {
    this.writeBare(QUEUE_CREATE, flags, queueId);
  }

  writeQueueDelete(queueId: number): void {
    this.writeBare(QUEUE_DELETE, 0, queueId);
  }

  writeRestart(): void {
    this.writeBare(RESTART, 0, 0);
  }

  private writeBare(type: number, extra: number, queueId: number): void {
    this.reserve(EFFECT_HEADER_BYTES);
    putEffectHeader(this.slabs.bytes, this.slabs.at, type, 0, extra, queueId, 0);
    this.slabs.at += EFFECT_HEADER_BYTES;
  }

  /** Rows of one lane moved to the cold log: moves[i] = sequence, position, offset. */
  writeRelocate(
    queueId: number,
    lane: number,
    moves: readonly { readonly sequence: number; readonly position: number; readonly offset: number }[],
  ): void {
    assert(moves.length <= LIST_MAX, "a relocation fits an effect");
    let at = this.openList(RELOCATE, queueId, lane, moves.length, 24);
    for (const move of moves) {
      putU64(this.slabs.bytes, at, move.sequence);
      putU64(this.slabs.bytes, at + 8, move.position);
      putU32(this.slabs.bytes, at + 16, move.offset);
      putU32(this.slabs.bytes, at + 20, 0);
      at += 24;
    }
  }
}

/** Sorts the settled runs of a lane and joins neighbours: competing consumers ack interleaved. */
function mergeRuns(lane: Lane): void {
  const { settledFirst, settledCount, settledReason } = lane;
  if (settledFirst.length < 2) return;
  const order = settledFirst.map((_, i) => i).sort((a, b) => settledFirst[a]! - settledFirst[b]!);
  const first: number[] = [];
  const count: number[] = [];
  const reason: number[] = [];
  for (const i of order) {
    const last = first.length - 1;
    if (last >= 0 && reason[last] === settledReason[i] && first[last]! + count[last]! === settledFirst[i]) {
      count[last]! += settledCount[i]!;
    } else {
      first.push(settledFirst[i]!);
      count.push(settledCount[i]!);
      reason.push(settledReason[i]!);
    }
  }
  for (let i = 0; i < first.length; i++) {
    settledFirst[i] = first[i]!;
    settledCount[i] = count[i]!;
    settledReason[i] = reason[i]!;
  }
  settledFirst.length = first.length;
  settledCount.length = first.length;
  settledReason.length = first.length;
}
