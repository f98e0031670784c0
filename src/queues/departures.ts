// How messages leave a queue without an ack: expired, rejected, too many, returned too often. With a
// dead-letter exchange each is moved where the router says, in one entry; without one it is settled at
// once. A body that is not in memory is read first; until then its row is in nobody's hands, and after a
// crash it is where it was.

import { assert } from "../assert.ts";
import type { LogReader } from "../log/log.ts";
import { SETTLE_DELIVERY_LIMIT, SETTLE_EXPIRED, SETTLE_MAXLEN, SETTLE_REJECTED } from "../model/delivery.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Bodies } from "./bodies.ts";
import type { Enqueuing } from "./enqueuing.ts";
import type { Journal } from "./journal.ts";
import type { Lane } from "./lane.ts";
import { COLD, READY, RETURNED, SPILLED, STATE_MASK, TRANSIENT } from "./page.ts";
import type { DyingRow, Queue } from "./queue.ts";
import type { DeadLetterRouter, DeathReason, SettleReason, ShardCounters } from "./shard-port.ts";
import { locationKey, type ShardState } from "./shard-state.ts";
import type { ShardTime } from "./shard-time.ts";

/** Entries read for dead letters of one queue at once. */
const READ_ENTRIES_MAX = 32;
/** Rows of one queue that may be on their way out: expiry goes on when they are gone. */
const DYING_MAX = 4096;
/** Reads in a row that may fail before a message is left where it is. */
const FAILURES_MAX = 4;
/** Rows that leave at once, in the turn itself, because a queue is too long. */
const TRIM_MAX = 4096;
const READY_ROWS = (1 << READY) | (1 << RETURNED);

export interface DeparturesParts {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly journal: Journal;
  readonly state: ShardState;
  readonly bodies: Bodies;
  readonly enqueuing: Enqueuing;
  readonly counters: ShardCounters;
  readonly time: ShardTime;
  readonly readers: { readonly main: LogReader; cold: LogReader | undefined };
  /** A message is gone for good. */
  readonly gone: (queue: Queue, lane: Lane, sequence: number) => void;
  readonly schedule: () => void;
}

/** Bodies read from disk for the rows of one queue. */
interface Reading {
  entries: Map<number, Buffer>;
  isPending: boolean;
  failures: number;
}

export class Departures {
  router: DeadLetterRouter | undefined = undefined;
  private readonly parts: DeparturesParts;
  private readonly queues = new Set<Queue>();
  private readonly readings = new Map<Queue, Reading>();

  constructor(parts: DeparturesParts) {
    this.parts = parts;
    parts.enqueuing.onRefused = (queue, record) => this.deadLetterRefused(queue, record);
  }

  /** A ready message leaves. */
  leaveReady(queue: Queue, lane: Lane, sequence: number, reason: SettleReason): void {
    if (this.router !== undefined && queue.settings.deadLetters) {
      lane.takeDying(lane.page(Math.floor(sequence / this.parts.state.pageRows))!, lane.rowOf(sequence));
    }
    this.leave(queue, lane, sequence, reason);
  }

  /** A message that is in nobody's hands any more, but was in somebody's, leaves. */
  leave(queue: Queue, lane: Lane, sequence: number, reason: SettleReason): void {
    if (reason === SETTLE_EXPIRED) {
      queue.counters.expired++;
      this.parts.counters.expired++;
    }
    if (this.router === undefined || !queue.settings.deadLetters) {
      this.drop(queue, { lane, sequence, reason });
      return;
    }
    queue.dying.push({ lane, sequence, reason });
    this.queues.add(queue);
    this.parts.schedule();
  }

  private drop(queue: Queue, { lane, sequence, reason }: DyingRow): void {
    const state = lane.applySettle(sequence);
    assert(state >= 0, "a dropped message is there");
    this.parts.gone(queue, lane, sequence);
    if ((state & TRANSIENT) === 0) this.parts.journal.noteSettled(queue, lane, sequence, reason);
    if (reason === SETTLE_EXPIRED) return;
    queue.counters.dropped++;
    this.parts.counters.dropped++;
  }

  // Expiry and length

  /**
   * Expires what is due by `nowMs`, until `deadlineMs` (monotonic). Returns when to look again, or Infinity.
   */
  expire(queue: Queue, nowMs: number, deadlineMs: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const lane of queue.lanes) {
      for (const page of lane.pages.values()) {
        if (page.expiryMin > nowMs) {
          next = Math.min(next, page.expiryMin);
          continue;
        }
        if (queue.dying.length >= DYING_MAX || this.parts.clock.monotonicMs() >= deadlineMs) return nowMs + 1;
        next = Math.min(next, this.expirePage(queue, lane, page.number, nowMs));
      }
    }
    return next;
  }

  private expirePage(queue: Queue, lane: Lane, number: number, nowMs: number): number {
    const page = lane.pages.get(number)!;
    const base = number * this.parts.state.pageRows;
    let next = Number.POSITIVE_INFINITY;
    for (let row = page.find(0, READY_ROWS); row >= 0; row = page.find(row + 1, READY_ROWS)) {
      const expiryMs = page.expiry(row);
      if (expiryMs === 0) continue;
      // A purged row that is not taken out yet is gone for everybody.
      if ((page.state(row) & STATE_MASK) === READY && base + row < lane.cursor) continue;
      if (expiryMs <= nowMs) this.leaveReady(queue, lane, base + row, SETTLE_EXPIRED);
      else next = Math.min(next, expiryMs);
    }
    page.expiryMin = next;
    return next;
  }

  /** Drops the heads of a queue that is too long; true when there is more to do. */
  trim(queue: Queue): boolean {
    if (queue.deleted || queue.settings.overflow !== "drop-head") return false;
    for (let dropped = 0; queue.isTooLong; dropped++) {
      if (dropped >= TRIM_MAX) return true;
      // The lowest priority goes first.
      const lane = queue.lanes.find(({ ready, purging }) => ready > purging);
      if (lane === undefined || !lane.head()) return false;
      this.leaveReady(queue, lane, lane.headSequence, SETTLE_MAXLEN);
    }
    return false;
  }

  // Dead letters

  get isPending(): boolean {
    return this.queues.size > 0;
  }

  /** Moves what can be moved until `deadlineMs`; true when there is more to do right away. */
  slice(deadlineMs: number): boolean {
    for (const queue of this.queues) {
      if (this.moveAll(queue, deadlineMs)) return true;
      if (queue.dying.length === 0 || queue.deleted) {
        this.queues.delete(queue);
        this.readings.delete(queue);
      }
    }
    return false;
  }

  private moveAll(queue: Queue, deadlineMs: number): boolean {
    const { dying } = queue;
    const { clock, state } = this.parts;
    let done = 0;
    let isLate = false;
    while (done < dying.length && !queue.deleted && !isLate) {
      const row = dying[done]!;
      const page = row.lane.page(Math.floor(row.sequence / state.pageRows));
      const at = row.lane.rowOf(row.sequence);
      assert(page !== undefined, "a row on its way out is there");
      const record = this.record(queue, row, page.state(at), [page.position(at), page.offset(at), page.size(at)]);
      if (record === undefined) {
        this.read(queue, done);
        break;
      }
      this.moveOne(queue, row, record);
      done++;
      isLate = clock.monotonicMs() >= deadlineMs;
    }
    dying.splice(0, queue.deleted ? dying.length : done);
    return isLate && dying.length > 0;
  }

  /** A copy of the row's record, since what holds it may be used again while it is moved. */
  private record(
    queue: Queue,
    row: DyingRow,
    state: number,
    place: readonly [number, number, number],
  ): Buffer | undefined {
    const [position, offset, size] = place;
    const { bodies } = this.parts;
    const page = row.lane.page(Math.floor(row.sequence / this.parts.state.pageRows))!;
    if (bodies.locate(queue, page, row.lane.rowOf(row.sequence), state)) {
      return Buffer.from(bodies.bytes.subarray(bodies.start, bodies.start + size));
    }
    const entry = this.readings.get(queue)?.entries.get(locationKey(position, (state & COLD) !== 0));
    return entry === undefined ? undefined : Buffer.from(entry.subarray(offset * 8, offset * 8 + size));
  }

  private moveOne(queue: Queue, row: DyingRow, record: Buffer): void {
    const { enqueuing, counters, time } = this.parts;
    const letter = this.router?.route({
      queueId: queue.id,
      bytes: record,
      start: 0,
      size: record.length,
      reason: deathReason(row.reason),
      timeMs: time.nowMs(),
    });
    if (letter === undefined || letter.queueIds.length === 0) {
      this.drop(queue, row);
      return;
    }
    enqueuing.move(letter.message, letter.queueIds, { queue, row });
    queue.counters.deadLettered++;
    counters.deadLettered++;
  }

  /** A publish that a full queue refused becomes a dead letter itself. */
  private deadLetterRefused(queue: Queue, record: Buffer): void {
    const { enqueuing, time, counters } = this.parts;
    const timeMs = time.nowMs();
    const death = { queueId: queue.id, bytes: record, start: 0, size: record.length, timeMs } as const;
    const letter = this.router?.route({ ...death, reason: "maxlen" });
    if (letter === undefined || letter.queueIds.length === 0) return;
    enqueuing.publish(letter.message, letter.queueIds);
    queue.counters.deadLettered++;
    counters.deadLettered++;
  }

  private read(queue: Queue, from: number): void {
    let reading = this.readings.get(queue);
    if (reading === undefined)
      this.readings.set(queue, (reading = { entries: new Map(), isPending: false, failures: 0 }));
    if (reading.isPending) return;
    const { main, cold } = this.positions(queue, from);
    const current = reading;
    current.isPending = true;
    this.fetch(main, cold).then(
      (entries) => {
        current.isPending = false;
        current.failures = 0;
        current.entries = entries;
        this.parts.schedule();
      },
      (error: Error) => {
        current.isPending = false;
        current.entries = new Map();
        // The cleaner may have moved the body meanwhile: the row knows where it is now.
        if (++current.failures >= FAILURES_MAX) this.leaveDamaged(queue, current, error);
        this.parts.schedule();
      },
    );
  }

  /** Where the bodies of the next rows are that are on disk. */
  private positions(queue: Queue, from: number): { readonly main: Set<number>; readonly cold: Set<number> } {
    const main = new Set<number>();
    const cold = new Set<number>();
    for (let i = from; i < queue.dying.length && main.size + cold.size < READ_ENTRIES_MAX; i++) {
      const { lane, sequence } = queue.dying[i]!;
      const page = lane.page(Math.floor(sequence / this.parts.state.pageRows))!;
      const row = lane.rowOf(sequence);
      const state = page.state(row);
      if ((state & (TRANSIENT | SPILLED)) === TRANSIENT) continue;
      const position = page.position(row);
      // What is not committed is in memory, and cannot be read from the log yet.
      if ((state & COLD) === 0 && position > this.parts.journal.committed) continue;
      ((state & COLD) !== 0 ? cold : main).add(position);
    }
    return { main, cold };
  }

  private async fetch(main: Set<number>, cold: Set<number>): Promise<Map<number, Buffer>> {
    const { readers } = this.parts;
    const entries = new Map<number, Buffer>();
    const ascending = (positions: Set<number>): number[] => [...positions].sort((a, b) => a - b);
    for (const { position, payload } of main.size === 0 ? [] : await readers.main.fetch(ascending(main))) {
      entries.set(locationKey(position, false), payload);
    }
    for (const { position, payload } of cold.size === 0 ? [] : await readers.cold!.fetch(ascending(cold))) {
      entries.set(locationKey(position, true), payload);
    }
    return entries;
  }

  /** A message that cannot be read stays in the log; nobody gets it before a restart. */
  private leaveDamaged(queue: Queue, reading: Reading, error: Error): void {
    reading.failures = 0;
    const [row] = queue.dying.splice(0, 1);
    if (row === undefined || queue.deleted) return;
    this.parts.logger.error("A dead letter could not be read back; it stays where it is until a restart.", {
      queueId: queue.id,
      sequence: row.sequence,
      reason: error.message,
    });
  }
}

function deathReason(reason: SettleReason): DeathReason {
  switch (reason) {
    case SETTLE_EXPIRED:
      return "expired";
    case SETTLE_MAXLEN:
      return "maxlen";
    case SETTLE_DELIVERY_LIMIT:
      return "delivery_limit";
    default:
      assert(reason === SETTLE_REJECTED, "acked and purged messages are no dead letters");
      return "rejected";
  }
}
