// How messages come into queues: what a queue's settings say of each one, then one entry with all its rows.
// Plain messages on plain queues take a path of their own, without an object per message.
//
// A dead letter is moved by the same code: its settle stands in the entry of its new rows, so after a crash
// the message is in exactly one place.

import { assert } from "../assert.ts";
import { readDedupName } from "../model/dedup-name.ts";
import { BrokerError } from "../model/errors.ts";
import { type IncomingMessage, recordSize, writeRecord } from "../model/message.ts";
import { align8, ENQUEUE_HEADER_BYTES, ENQUEUE_REF_BYTES, NAME_HEADER_BYTES, SETTLE_ONE_BYTES } from "./effects.ts";
import type { Journal } from "./journal.ts";
import type { Lane } from "./lane.ts";
import { COLD, SPILLED, TRANSIENT } from "./page.ts";
import type { DyingRow, Queue } from "./queue.ts";
import type { Serving } from "./serving.ts";
import { REFUSED, type ShardCounters } from "./shard-port.ts";
import type { ShardState } from "./shard-state.ts";
import type { ShardTime } from "./shard-time.ts";
import type { Wakes } from "./wakes.ts";

/** HOLD and EXPIRY. */
const PAIR_BYTES = 24;
/** A message without lifetime that may only be delivered when it is durable gets so long to become that, ms. */
const AT_ONCE_MS = 100;

/** One row of a message that is no plain one. */
interface Target {
  readonly queue: Queue;
  readonly lane: Lane;
  /** 0: never. */
  readonly expiryMs: number;
  /** 0: ready at once. */
  readonly dueMs: number;
  readonly name: string | undefined;
}

/** Where a message comes from that is moved. */
export interface Source {
  readonly queue: Queue;
  readonly row: DyingRow;
}

export interface EnqueuingParts {
  readonly journal: Journal;
  readonly state: ShardState;
  readonly serving: Serving;
  readonly counters: ShardCounters;
  readonly time: ShardTime;
  readonly wakes: Wakes;
  readonly maxEntryBytes: number;
  /** Something was appended to the open entry. */
  readonly appended: () => void;
}

export class Enqueuing {
  /** Queues whose limits are to be looked at when this turn's deliveries are done. */
  readonly overfull = new Set<Queue>();
  /** A queue that refuses what does not fit wants it as a dead letter. */
  onRefused: (queue: Queue, record: Buffer) => void = () => undefined;
  private readonly parts: EnqueuingParts;
  private readonly journal: Journal;
  private readonly state: ShardState;
  private readonly serving: Serving;

  constructor(parts: EnqueuingParts) {
    this.parts = parts;
    this.journal = parts.journal;
    this.state = parts.state;
    this.serving = parts.serving;
  }

  /** ShardPort.publish. Throws "too-large". */
  publish(message: IncomingMessage, queueIds: readonly number[]): number {
    const size = recordSize(message);
    // All of its rows are one entry: a fan-out to very many queues may not fit one.
    if (ENQUEUE_HEADER_BYTES + align8(size) + queueIds.length * ENQUEUE_REF_BYTES > this.parts.maxEntryBytes) {
      throw new BrokerError(
        "too-large",
        `a message of ${size} bytes to ${queueIds.length} queues does not fit one log entry`,
      );
    }
    this.parts.counters.published++;
    if (message.expirationMs < 0 && message.delayMs === 0 && this.arePlain(queueIds)) {
      return this.enqueuePlain(message, size, queueIds);
    }
    return this.enqueue(message, size, queueIds, undefined);
  }

  /** Moves a dead letter to `queueIds`, out of where it was. */
  move(message: IncomingMessage, queueIds: readonly number[], source: Source): void {
    this.enqueue(message, recordSize(message), queueIds, source);
  }

  private arePlain(queueIds: readonly number[]): boolean {
    for (let i = 0; i < queueIds.length; i++) if (!this.queue(queueIds[i]!).isPlain) return false;
    return true;
  }

  private enqueuePlain(message: IncomingMessage, size: number, queueIds: readonly number[]): number {
    if (message.persistent) {
      for (let i = 0; i < queueIds.length; i++) {
        if (this.queue(queueIds[i]!).settings.durable) return this.logPlain(message, size, queueIds, true);
      }
    }
    const { transient } = this.state;
    if (!transient.reserve(size)) return this.logPlain(message, size, queueIds, false);
    const { bytes, offset, slabId } = transient;
    writeRecord(message, bytes, offset);
    for (let i = 0; i < queueIds.length; i++) {
      const queue = this.queue(queueIds[i]!);
      const lane = queue.lanes[0]!;
      lane.applyEnqueue(lane.next, TRANSIENT, slabId, offset / 8, size);
      this.arrived(queue);
    }
    this.parts.appended();
    return 0;
  }

  /** The body goes to the log; rows of durable queues too when `owned` (the message is persistent). */
  private logPlain(message: IncomingMessage, size: number, queueIds: readonly number[], owned: boolean): number {
    const { journal } = this;
    const recordAt = journal.openRecord(size, queueIds.length - 1, owned);
    writeRecord(message, journal.slabs.bytes, recordAt);
    const position = journal.openPosition;
    const offset = (recordAt - journal.slabs.start) / 8;
    let named = !owned;
    for (let i = 0; i < queueIds.length; i++) {
      const queueId = queueIds[i]!;
      const queue = this.queue(queueId);
      const lane = queue.lanes[0]!;
      const sequence = lane.next;
      if (!owned || !queue.settings.durable) {
        lane.applyEnqueue(sequence, TRANSIENT | SPILLED, position, offset, size);
      } else {
        if (named) journal.addReference(queueId, 0, sequence, { state: 0, position, offset, size });
        else journal.nameRecord(recordAt, queueId, 0, sequence);
        named = true;
        lane.applyEnqueue(sequence, 0, position, offset, size);
      }
      this.arrived(queue);
    }
    return this.logged(owned) ? position : 0;
  }

  private arrived(queue: Queue): void {
    queue.counters.published++;
    if (queue.wanted) this.serving.mark(queue);
  }

  private logged(owned: boolean): boolean {
    if (owned) {
      this.journal.urgent = true;
      this.journal.openMessages++;
    }
    this.parts.appended();
    return owned;
  }

  // Messages with a wish, queues with one

  private enqueue(
    message: IncomingMessage,
    size: number,
    queueIds: readonly number[],
    source: Source | undefined,
  ): number {
    const nowMs = this.parts.time.nowMs();
    const targets: Target[] = [];
    const refusing: Queue[] = [];
    let waitFor = 0;
    for (const queueId of queueIds) {
      const queue = this.queue(queueId);
      const name = this.dedupName(queue, message);
      const original = name === undefined ? -1 : this.findOriginal(queue, name, nowMs);
      if (original >= 0) {
        waitFor = Math.max(waitFor, original);
        queue.counters.deduplicated++;
        this.parts.counters.deduplicated++;
      } else if (this.refuses(queue)) {
        queue.counters.refused++;
        this.parts.counters.refused++;
        refusing.push(queue);
      } else {
        targets.push(targetOf(queue, message, name, nowMs));
      }
    }
    const record = refusing.some(wantsRefused) && source === undefined ? recordOf(message, size) : undefined;
    const position = this.store(message, size, targets, { nowMs, source });
    for (const { queue, lane, expiryMs } of targets) {
      if (expiryMs === nowMs && queue.wanted) this.deliverAtOnce(queue, lane.next - 1);
    }
    if (record !== undefined) for (const queue of refusing) if (wantsRefused(queue)) this.onRefused(queue, record);
    return refusing.length > 0 ? REFUSED : Math.max(position, waitFor);
  }

  private dedupName(queue: Queue, message: IncomingMessage): string | undefined {
    const { dedup } = queue.settings;
    return dedup === undefined ? undefined : readDedupName(message, dedup.header);
  }

  /** Order 5: the position that a duplicate has to wait for; -1: it is none. */
  private findOriginal(queue: Queue, name: string, nowMs: number): number {
    return queue.names?.find(name, nowMs, queue.settings.dedup?.windowMs) ?? -1;
  }

  private refuses(queue: Queue): boolean {
    if (queue.settings.overflow === "drop-head" || !queue.isFull) return false;
    // What consumers can take now is as good as gone.
    if (queue.wanted) this.serving.serveNow(queue);
    return queue.isFull;
  }

  /** Writes the record and its rows, and settles where it came from, in one entry. Returns what to wait for. */
  private store(
    message: IncomingMessage,
    size: number,
    targets: readonly Target[],
    { nowMs, source }: { readonly nowMs: number; readonly source: Source | undefined },
  ): number {
    const { journal, state } = this;
    const owned = message.persistent && targets.some(({ queue }) => queue.settings.durable);
    if (source !== undefined) journal.flushLane(source.queue, source.row.lane);
    let location = { state: TRANSIENT, position: 0, offset: 0, size };
    let recordAt = -1;
    if (targets.length > 0 && (owned || !state.transient.reserve(size))) {
      recordAt = journal.openRecord(size, targets.length - 1, owned, extraBytes(targets, source));
      writeRecord(message, journal.slabs.bytes, recordAt);
      const offset = (recordAt - journal.slabs.start) / 8;
      location = { state: TRANSIENT | SPILLED, position: journal.openPosition, offset, size };
    } else if (targets.length > 0) {
      writeRecord(message, state.transient.bytes, state.transient.offset);
      location = { state: TRANSIENT, position: state.transient.slabId, offset: state.transient.offset / 8, size };
    }
    let unnamedAt = owned ? recordAt : -1;
    for (const target of targets) {
      const { queue, lane } = target;
      const isLogged = owned && queue.settings.durable;
      const sequence = lane.next;
      if (isLogged && unnamedAt >= 0) journal.nameRecord(unnamedAt, queue.id, lane.index, sequence);
      else if (isLogged) journal.addReference(queue.id, lane.index, sequence, { ...location, state: 0 });
      if (isLogged) unnamedAt = -1;
      const { position, offset } = location;
      lane.applyEnqueue(sequence, isLogged ? 0 : location.state, position, offset, size);
      this.finish(target, sequence, { isLogged, nowMs });
    }
    if (source !== undefined) this.settleSource(source, owned);
    return this.logged(owned) ? journal.openPosition : 0;
  }

  /** What a row has besides its place. */
  private finish(
    { queue, lane, expiryMs, dueMs, name }: Target,
    sequence: number,
    { isLogged, nowMs }: { readonly isLogged: boolean; readonly nowMs: number },
  ): void {
    const { journal } = this;
    const { wakes } = this.parts;
    queue.counters.published++;
    if (expiryMs > 0) {
      if (isLogged) journal.writeExpiry(queue.id, lane.index, sequence, expiryMs);
      lane.applyExpiry(sequence, expiryMs);
      wakes.add(queue, expiryMs);
    }
    if (dueMs > 0) {
      if (isLogged) journal.writeHold(queue.id, lane.index, sequence, dueMs);
      lane.applyHold(sequence, dueMs);
      wakes.add(queue, dueMs);
    }
    const { dedup, lengthMax, bytesMax } = queue.settings;
    if (name !== undefined && dedup !== undefined) {
      if (isLogged) journal.writeName(queue.id, name, nowMs);
      queue.remembered().add(name, nowMs, isLogged ? journal.openPosition : 0);
      queue.remembered().trim(dedup.cacheMax, nowMs, dedup.windowMs);
    }
    if (lengthMax !== undefined || bytesMax !== undefined) this.overfull.add(queue);
    if (queue.wanted) this.serving.mark(queue);
  }

  /** A message without lifetime is for a consumer that can take it now, behind all others, or for nobody. */
  private deliverAtOnce(queue: Queue, sequence: number): void {
    queue.atOnce = sequence;
    this.serving.serveNow(queue);
    queue.atOnce = -1;
  }

  private settleSource({ queue, row }: Source, inEntry: boolean): void {
    const state = row.lane.applySettle(row.sequence);
    assert(state >= 0, "a moved message is there");
    this.serving.onGone(queue, row.lane, row.sequence);
    if ((state & TRANSIENT) !== 0) return;
    if (inEntry) this.journal.writeSettle(queue.id, row.lane.index, row.sequence, row.reason);
    else this.journal.noteSettled(queue, row.lane, row.sequence, row.reason);
  }

  /** A message that was held back from the start is due: it joins the end of its queue. */
  joinEnd(queue: Queue, lane: Lane, sequence: number): void {
    const { journal } = this;
    journal.flushLane(queue, lane);
    const page = lane.page(Math.floor(sequence / this.state.pageRows))!;
    const row = lane.rowOf(sequence);
    const state = page.state(row) & (COLD | TRANSIENT | SPILLED);
    const [position, offset, size, expiryMs] = [page.position(row), page.offset(row), page.size(row), page.expiry(row)];
    const isLogged = (state & TRANSIENT) === 0;
    if (isLogged) {
      journal.reserveEffects(ENQUEUE_REF_BYTES + PAIR_BYTES + SETTLE_ONE_BYTES);
      journal.addReference(queue.id, lane.index, lane.next, { state, position, offset, size });
    }
    const joined = lane.next;
    lane.applyEnqueue(joined, state, position, offset, size);
    if (expiryMs > 0) {
      if (isLogged) journal.writeExpiry(queue.id, lane.index, joined, expiryMs);
      lane.applyExpiry(joined, expiryMs);
    }
    lane.applySettle(sequence);
    if (isLogged) journal.writeSettle(queue.id, lane.index, sequence, 0);
  }

  private queue(queueId: number): Queue {
    const queue = this.state.queues.get(queueId);
    assert(queue !== undefined, "a route leads to existing queues");
    return queue;
  }
}

function targetOf(queue: Queue, message: IncomingMessage, name: string | undefined, nowMs: number): Target {
  const { priorityMax, messageTtlMs } = queue.settings;
  const lane = queue.lane(Math.min(message.priority, priorityMax));
  const dueMs = message.delayMs > 0 ? nowMs + message.delayMs : 0;
  let lifeMs = messageTtlMs ?? Number.POSITIVE_INFINITY;
  if (message.expirationMs >= 0) lifeMs = Math.min(lifeMs, message.expirationMs);
  if (lifeMs === Number.POSITIVE_INFINITY) return { queue, lane, expiryMs: 0, dueMs, name };
  if (lifeMs === 0 && queue.settings.deliverAfterCommit && queue.wanted && !queue.hasReady) lifeMs = AT_ONCE_MS;
  return { queue, lane, expiryMs: Math.max(nowMs, dueMs) + lifeMs, dueMs, name };
}

/** Room for the effects that come with the rows. */
function extraBytes(targets: readonly Target[], source: Source | undefined): number {
  let bytes = source === undefined ? 0 : SETTLE_ONE_BYTES;
  for (const { expiryMs, dueMs, name } of targets) {
    if (expiryMs > 0) bytes += PAIR_BYTES;
    if (dueMs > 0) bytes += PAIR_BYTES;
    if (name !== undefined) bytes += NAME_HEADER_BYTES + align8(Buffer.byteLength(name));
  }
  return bytes;
}

function wantsRefused({ settings }: Queue): boolean {
  return settings.overflow === "reject-publish-dlx" && settings.deadLetters;
}

function recordOf(message: IncomingMessage, size: number): Buffer {
  const record = Buffer.allocUnsafe(size);
  writeRecord(message, record, 0);
  return record;
}
