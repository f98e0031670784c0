// A lane: messages of one queue in publish order, as pages of rows (page.ts). A queue has one lane
// per priority in use; today every queue has lane 0.
//
// A delayed row (DELAYED) is in nobody's hands until it is due; then it is returned, or, when it was never
// delivered, moved to the end of the queue.
//
//        marked    cursor                 next
//   ------+---------+----------------------+------>  sequence
//    delivered once | never delivered      |
//    (in flight, or |                      |
//     returned)     |
//
// Rows below `cursor` were delivered at least once; those that came back are RETURNED and go first,
// oldest first. `marked` is the part of the deliveries that the log knows. The apply functions are
// the only code that changes rows; replay calls the same ones, and a page that was loaded from a
// snapshot passes over the effects that it contains already (`stamp`).

import { assert } from "../assert.ts";
import { DueHeap } from "./due-heap.ts";
import type { Attempts } from "./effects.ts";
import {
  ABSENT,
  COLD,
  DELAYED,
  DYING_READY,
  DYING_RETURNED,
  IN_FLIGHT,
  Page,
  READY,
  RETURNED,
  STATE_MASK,
  TRANSIENT,
} from "./page.ts";

/** Where bodies are counted: extents of the logs and the transient store. */
export interface References {
  retain(state: number, position: number, size: number): void;
  release(state: number, position: number, size: number): void;
  /** Position of the entry whose effects are being applied. */
  readonly applying: number;
  readonly pageRows: number;
  readonly pageRowsFirst: number;
}

/** Due time of rows that wait for another of their group: past at every restart. */
const PARKED = 1;

export class Lane {
  readonly index: number;
  /** Sequence of the next message to be enqueued. */
  next = 0;
  cursor = 0;
  marked = 0;
  ready = 0;
  inFlight = 0;
  /** Rows that wait for their due time. */
  delayed = 0;
  bytes = 0;
  /** Part of `bytes` that is ready. */
  readyBytes = 0;
  readonly pages = new Map<number, Page>();
  /** Due times of delayed rows; some may be settled since. Only lanes that had one have it. */
  dues: DueHeap | undefined = undefined;

  /** Effects applied and not yet written: returned rows delivered again, and settled runs (SETTLE). */
  readonly redelivered: number[] = [];
  readonly settledFirst: number[] = [];
  readonly settledCount: number[] = [];
  readonly settledReason: number[] = [];
  /** Ready rows that a purge has dropped for everybody and that a job has still to take out. */
  purging = 0;
  purgingBytes = 0;
  /** True while the lane stands in the shard's list of lanes with such effects. */
  pending = false;

  /** The message that `head` found. */
  headSequence = 0;
  headPage: Page | undefined = undefined;
  headRow = 0;

  private readonly references: References;
  private readonly returnedPages: number[] = [];
  private cachedPage: Page | undefined = undefined;

  constructor(index: number, references: References) {
    this.index = index;
    this.references = references;
  }

  page(number: number): Page | undefined {
    if (this.cachedPage?.number === number) return this.cachedPage;
    const page = this.pages.get(number);
    if (page !== undefined) this.cachedPage = page;
    return page;
  }

  /** Finds the next message to deliver, without taking it; false when there is none. */
  head(): boolean {
    return this.headReturned() || this.headUnseen();
  }

  private headReturned(): boolean {
    const rows = this.references.pageRows;
    while (this.returnedPages.length > 0) {
      const number = this.returnedPages[0]!;
      const page = this.page(number);
      if (page !== undefined && page.returned > 0) {
        const row = page.find(page.returnedFrom, 1 << RETURNED);
        assert(row >= 0, "a page with returned rows has one");
        page.returnedFrom = row;
        this.headPage = page;
        this.headRow = row;
        this.headSequence = number * rows + row;
        return true;
      }
      if (page !== undefined) page.inHeap = false;
      popLeast(this.returnedPages);
    }
    return false;
  }

  private headUnseen(): boolean {
    const rows = this.references.pageRows;
    while (this.cursor < this.next) {
      const number = Math.floor(this.cursor / rows);
      const page = this.page(number);
      const row = page === undefined ? -1 : page.find(this.cursor - number * rows, 1 << READY);
      if (row >= 0) {
        this.cursor = number * rows + row;
        this.headPage = page;
        this.headRow = row;
        this.headSequence = this.cursor;
        return true;
      }
      this.cursor = Math.min(this.next, (number + 1) * rows);
    }
    return false;
  }

  /** Puts the message that `head` found in flight; returns its earlier deliveries. */
  takeHead(): number {
    const page = this.headPage!;
    const row = this.headRow;
    const state = page.state(row);
    const wasReturned = (state & STATE_MASK) === RETURNED;
    if (wasReturned) page.returned--;
    else this.cursor = this.headSequence + 1;
    page.setState(row, (state & ~STATE_MASK) | IN_FLIGHT);
    if (wasReturned && (state & TRANSIENT) === 0) this.redelivered.push(this.headSequence);
    this.ready--;
    this.readyBytes -= page.size(row);
    this.inFlight++;
    return page.deliveries(row);
  }

  /** Adds a message. `state` carries the flags of page.ts. Returns false when a snapshot had it already. */
  applyEnqueue(sequence: number, state: number, position: number, offset: number, size: number): boolean {
    const rows = this.references.pageRows;
    const number = Math.floor(sequence / rows);
    let page = this.page(number);
    this.next = Math.max(this.next, sequence + 1);
    if (page === undefined) {
      page = new Page(number, Math.min(this.references.pageRowsFirst, rows));
      this.pages.set(number, page);
      this.cachedPage = page;
    } else if (this.references.applying <= page.stamp) {
      return false;
    }
    page.add(sequence - number * rows, READY | state, position, offset, size, rows);
    this.ready++;
    this.readyBytes += size;
    this.bytes += size;
    this.references.retain(state, position, size);
    return true;
  }

  /** Rows [from, to) that are there and were never delivered are in flight. */
  applyDelivered(from: number, to: number): void {
    this.marked = Math.max(this.marked, to);
    this.next = Math.max(this.next, to);
    this.eachRow(from, to, 1 << READY, (page, row) => {
      page.setState(row, (page.state(row) & ~STATE_MASK) | IN_FLIGHT);
      this.ready--;
      this.readyBytes -= page.size(row);
      this.inFlight++;
    });
  }

  /** A returned row is in flight again. Returns false when there is no such row. */
  applyDeliveredOne(sequence: number): boolean {
    const page = this.current(sequence);
    if (page === undefined) return true;
    const row = this.rowOf(sequence);
    const state = page.state(row);
    // That a delayed row is ready again is not logged: its due time says it.
    if ((state & DELAYED) !== 0) this.markDue(page, row, state);
    else if ((state & STATE_MASK) !== RETURNED) return false;
    page.returned--;
    page.setState(row, (page.state(row) & ~STATE_MASK) | IN_FLIGHT);
    this.ready--;
    this.readyBytes -= page.size(row);
    this.inFlight++;
    return true;
  }

  /** A message is gone. Returns its flags, or -1 when there is no such row. */
  applySettle(sequence: number): number {
    const page = this.current(sequence);
    if (page === undefined) return this.missingIsFine(sequence) ? 0 : -1;
    const row = this.rowOf(sequence);
    const state = page.state(row);
    if ((state & STATE_MASK) === ABSENT) return -1;
    this.dropRow(page, row, state);
    return state;
  }

  /** A message in flight is ready again at its old place. Returns its flags, or -1. */
  applyReturn(sequence: number, deliveries: number): number {
    const page = this.current(sequence);
    if (page === undefined) return this.missingIsFine(sequence) ? 0 : -1;
    const row = this.rowOf(sequence);
    const state = page.state(row);
    if ((state & (STATE_MASK | DELAYED)) !== IN_FLIGHT) return -1;
    page.setDeliveries(row, deliveries);
    this.markReturned(page, row, state);
    return state;
  }

  /** Like `applyReturn`, with the number of failed attempts, and ready only when it is due. */
  applyRetry(sequence: number, { deliveries, failures, dueMs }: Attempts): number {
    const page = this.current(sequence);
    if (page === undefined) return this.missingIsFine(sequence) ? 0 : -1;
    const row = this.rowOf(sequence);
    const state = page.state(row);
    if ((state & (STATE_MASK | DELAYED)) !== IN_FLIGHT) return -1;
    page.setDeliveries(row, deliveries);
    page.setFailures(row, failures);
    if (dueMs === 0) {
      this.markReturned(page, row, state);
      return state;
    }
    this.inFlight--;
    this.delay(page, row, state, dueMs);
    return state;
  }

  /** A row that was never delivered waits until `dueMs`. Returns false when there is no such row. */
  applyHold(sequence: number, dueMs: number): boolean {
    const page = this.current(sequence);
    if (page === undefined) return this.missingIsFine(sequence);
    const row = this.rowOf(sequence);
    const state = page.state(row);
    if ((state & STATE_MASK) !== READY) return false;
    this.ready--;
    this.readyBytes -= page.size(row);
    this.delay(page, row, (state & ~STATE_MASK) | IN_FLIGHT, dueMs);
    return true;
  }

  /** The head waits for another message of its group. */
  park(page: Page, row: number): void {
    const state = page.state(row);
    if ((state & STATE_MASK) === RETURNED) page.returned--;
    this.ready--;
    this.readyBytes -= page.size(row);
    this.delayed++;
    page.setState(row, (state & ~STATE_MASK) | IN_FLIGHT | DELAYED);
    page.setDue(row, PARKED);
  }

  /** The message before it in its group is gone. */
  unpark(sequence: number): void {
    const page = this.page(Math.floor(sequence / this.references.pageRows));
    const row = this.rowOf(sequence);
    if (page !== undefined && (page.state(row) & DELAYED) !== 0) this.markDue(page, row, page.state(row));
  }

  /** Replay: a ready row is parked. One that is parked already was ready again meanwhile, after a restart. */
  applyPark(sequence: number): boolean {
    const page = this.current(sequence);
    if (page === undefined) return this.missingIsFine(sequence);
    const row = this.rowOf(sequence);
    const state = page.state(row);
    if ((state & DELAYED) !== 0) return true;
    if ((state & STATE_MASK) !== READY && (state & STATE_MASK) !== RETURNED) return false;
    this.park(page, row);
    return true;
  }

  private delay(page: Page, row: number, state: number, dueMs: number): void {
    page.setState(row, state | DELAYED);
    page.setDue(row, dueMs);
    this.delayed++;
    this.dues ??= new DueHeap();
    this.dues.push(dueMs, page.number * this.references.pageRows + row);
  }

  /** The due time of the row that is due next, or Infinity. */
  nextDue(): number {
    const { dues } = this;
    while (dues !== undefined && dues.size > 0) {
      const page = this.page(Math.floor(dues.sequence / this.references.pageRows));
      const row = this.rowOf(dues.sequence);
      // Its row may be gone, or delayed again.
      if (page !== undefined && (page.state(row) & DELAYED) !== 0 && page.due(row) === dues.dueMs) return dues.dueMs;
      dues.pop();
    }
    return Number.POSITIVE_INFINITY;
  }

  /** The row that `nextDue` found is ready again. Call when it was delivered before. */
  releaseDue(): void {
    const { sequence } = this.dues!;
    const page = this.page(Math.floor(sequence / this.references.pageRows))!;
    const row = this.rowOf(sequence);
    this.dues!.pop();
    this.markDue(page, row, page.state(row));
  }

  private markDue(page: Page, row: number, state: number): void {
    this.delayed--;
    this.inFlight++;
    this.markReturned(page, row, state & ~DELAYED);
  }

  /** When the message expires, ms. */
  applyExpiry(sequence: number, expiryMs: number): void {
    const page = this.current(sequence);
    const row = this.rowOf(sequence);
    if (page !== undefined && (page.state(row) & STATE_MASK) !== ABSENT) page.setExpiry(row, expiryMs);
  }

  /** Takes a ready row out of the way while its end is prepared; the log hears of it when it is settled. */
  takeDying(page: Page, row: number): void {
    const state = page.state(row);
    const wasReturned = (state & STATE_MASK) === RETURNED;
    if (wasReturned) page.returned--;
    page.setState(row, (state & ~STATE_MASK) | IN_FLIGHT | (wasReturned ? DYING_RETURNED : DYING_READY));
    this.ready--;
    this.readyBytes -= page.size(row);
    this.inFlight++;
  }

  /** A body moved to the cold log. Returns false when the row is gone. */
  applyRelocate(sequence: number, position: number, offset: number): boolean {
    const page = this.current(sequence);
    if (page === undefined) return false;
    const row = this.rowOf(sequence);
    const state = page.state(row);
    if ((state & STATE_MASK) === ABSENT) return false;
    const size = page.size(row);
    this.references.retain(state | COLD, position, size);
    this.references.release(state, page.position(row), size);
    page.point(row, position, offset);
    page.setState(row, state | COLD);
    return true;
  }

  /** Rows [from, to) that were never delivered are gone. */
  applyPurge(from: number, to: number): void {
    this.next = Math.max(this.next, to);
    this.eachRow(from, to, 1 << READY, (page, row) => this.dropRow(page, row, page.state(row)));
  }

  /** Every row in flight is ready again, with one delivery more. */
  applyRestart(): void {
    for (const page of this.pages.values()) {
      if (this.references.applying <= page.stamp) continue;
      for (let row = page.find(0, 1 << IN_FLIGHT); row >= 0; row = page.find(row + 1, 1 << IN_FLIGHT)) {
        if ((page.state(row) & DELAYED) !== 0) continue;
        page.setDeliveries(row, page.deliveries(row) + 1);
        this.markReturned(page, row, page.state(row));
      }
    }
  }

  /** After replay: counts again what the pages hold, and puts the cursor behind the known deliveries. */
  recount(): void {
    this.ready = 0;
    this.inFlight = 0;
    this.delayed = 0;
    this.dues = undefined;
    this.bytes = 0;
    this.readyBytes = 0;
    this.cursor = this.marked;
    this.next = Math.max(this.next, this.marked);
    this.returnedPages.length = 0;
    for (const [number, page] of this.pages) {
      page.inHeap = false;
      if (page.live === 0) {
        this.pages.delete(number);
        continue;
      }
      const live = 0b1110;
      for (let row = page.find(0, live); row >= 0; row = page.find(row + 1, live)) {
        const state = page.state(row);
        if ((state & DELAYED) !== 0 && page.due(row) === PARKED) {
          page.setState(row, (state & ~(STATE_MASK | DELAYED)) | RETURNED);
          page.returned++;
          page.returnedFrom = Math.min(page.returnedFrom, row);
          this.ready++;
          this.readyBytes += page.size(row);
          page.noteExpiry(page.expiry(row));
        } else if ((state & DELAYED) !== 0) {
          this.delay(page, row, state, page.due(row));
        } else if ((state & STATE_MASK) === IN_FLIGHT) {
          this.inFlight++;
        } else {
          this.ready++;
          page.noteExpiry(page.expiry(row));
          this.readyBytes += page.size(row);
        }
        this.bytes += page.size(row);
        this.references.retain(state, page.position(row), page.size(row));
      }
      this.queueReturned(page);
    }
    this.cachedPage = undefined;
  }

  /** Calls `visit` for rows [from, to) in one of the states of `mask`, ascending. */
  eachRow(from: number, to: number, mask: number, visit: (page: Page, row: number) => void): void {
    const rows = this.references.pageRows;
    for (let number = Math.floor(from / rows); number * rows < to; number++) {
      const page = this.page(number);
      if (page === undefined || this.references.applying <= page.stamp) continue;
      const first = Math.max(0, from - number * rows);
      const end = Math.min(rows, to - number * rows);
      for (let row = page.find(first, mask); row >= 0 && row < end; row = page.find(row + 1, mask)) visit(page, row);
    }
  }

  /** The lane's queue is deleted: releases what a page refers to. */
  dropPage(number: number): void {
    const page = this.pages.get(number);
    if (page === undefined) return;
    const live = 0b1110;
    for (let row = page.find(0, live); row >= 0; row = page.find(row + 1, live)) {
      this.references.release(page.state(row), page.position(row), page.size(row));
    }
    this.pages.delete(number);
    if (this.cachedPage === page) this.cachedPage = undefined;
  }

  get pageRows(): number {
    return this.references.pageRows;
  }

  rowOf(sequence: number): number {
    return sequence % this.references.pageRows;
  }

  /** The page of `sequence` when the effect being applied is new to it. */
  private current(sequence: number): Page | undefined {
    const page = this.page(Math.floor(sequence / this.references.pageRows));
    return page === undefined || this.references.applying <= page.stamp ? undefined : page;
  }

  /** True when the effect is old news for the page of `sequence`. */
  private missingIsFine(sequence: number): boolean {
    const page = this.page(Math.floor(sequence / this.references.pageRows));
    return page !== undefined && this.references.applying <= page.stamp;
  }

  private markReturned(page: Page, row: number, state: number): void {
    page.setState(row, (state & ~STATE_MASK) | RETURNED);
    page.returnedFrom = page.returned === 0 ? row : Math.min(page.returnedFrom, row);
    page.returned++;
    page.noteExpiry(page.expiry(row));
    this.inFlight--;
    this.ready++;
    this.readyBytes += page.size(row);
    this.queueReturned(page);
  }

  private queueReturned(page: Page): void {
    if (page.inHeap || page.returned === 0) return;
    page.inHeap = true;
    pushLeast(this.returnedPages, page.number);
  }

  private dropRow(page: Page, row: number, state: number): void {
    const size = page.size(row);
    this.references.release(state, page.position(row), size);
    if ((state & DELAYED) !== 0) {
      this.delayed--;
    } else if ((state & STATE_MASK) === IN_FLIGHT) {
      this.inFlight--;
    } else {
      this.ready--;
      this.readyBytes -= size;
    }
    if ((state & STATE_MASK) === RETURNED) page.returned--;
    this.bytes -= size;
    page.drop(row);
    const isTail = (page.number + 1) * this.references.pageRows > this.next;
    if (isTail) return;
    if (page.live === 0) {
      this.pages.delete(page.number);
      if (this.cachedPage === page) this.cachedPage = undefined;
    } else if (page.worthCompacting) {
      page.compact();
    }
  }
}

function pushLeast(heap: number[], value: number): void {
  let at = heap.push(value) - 1;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (heap[parent]! <= value) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = value;
}

function popLeast(heap: number[]): void {
  const last = heap.pop()!;
  const size = heap.length;
  if (size === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= size) break;
    if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
    if (heap[child]! >= last) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}
