// Finds the bytes of a message for delivery: transient store, open slab, tail cache, or entries read
// back from the logs. A queue that meets a body on disk reads a window ahead and is woken when it is
// there; one read per queue at a time. All windows together are bounded, those still being read too:
// a queue that finds no room waits until another read is over.

import type { LogReader } from "../log/log.ts";
import type { Lane } from "./lane.ts";
import { COLD, type Page, READY, RETURNED, SPILLED, TRANSIENT } from "./page.ts";
import type { Queue, ReadAhead } from "./queue.ts";
import { locationKey, type ShardState } from "./shard-state.ts";
import type { Slabs } from "./slabs.ts";

export interface BodiesParameters {
  readonly entryTargetBytes: number;
  readonly readAheadBytes: number;
  readonly readAheadTotalBytes: number;
}

/** Entries of one window at most: each may hold 64 KiB of which this queue needs one message. */
const WINDOW_ENTRIES_MAX = 64;
/** Reads of one window that may fail before the queue counts as damaged. */
const FAILURES_MAX = 4;

interface Window {
  readonly main: number[];
  readonly cold: number[];
  /** What the entries will take in memory, about. */
  readonly bytes: number;
}

export class Bodies {
  /** Where `locate` found the record. */
  bytes: Buffer = Buffer.alloc(0);
  start = 0;

  private readonly state: ShardState;
  private readonly slabs: Slabs;
  private readonly readers: { readonly main: LogReader; cold: LogReader | undefined };
  private readonly parameters: BodiesParameters;
  private readonly wake: (queue: Queue) => void;
  private readonly onDamage: (queue: Queue, error: Error) => void;
  private readonly windows = new Set<Queue>();
  private readonly waiting = new Set<Queue>();
  /** Bytes of all windows, and of those that are being read (estimated). */
  private totalBytes = 0;
  private readingBytes = 0;

  constructor(options: {
    readonly state: ShardState;
    readonly slabs: Slabs;
    readonly readers: { readonly main: LogReader; cold: LogReader | undefined };
    readonly parameters: BodiesParameters;
    readonly wake: (queue: Queue) => void;
    readonly onDamage: (queue: Queue, error: Error) => void;
  }) {
    this.state = options.state;
    this.slabs = options.slabs;
    this.readers = options.readers;
    this.parameters = options.parameters;
    this.wake = options.wake;
    this.onDamage = options.onDamage;
  }

  /** Finds the record of a row; the result is in `bytes` and `start`. False: it is not in memory. */
  locate(queue: Queue, page: Page, row: number, state: number): boolean {
    const position = page.position(row);
    const offsetBytes = page.offset(row) * 8;
    if ((state & (TRANSIENT | SPILLED)) === TRANSIENT) {
      this.bytes = this.state.transient.get(position);
      this.start = offsetBytes;
      return true;
    }
    const cold = (state & COLD) !== 0;
    if (!cold && this.slabs.find(position)) {
      this.bytes = this.slabs.foundBytes;
      this.start = this.slabs.foundStart + offsetBytes;
      return true;
    }
    const entry = queue.readAhead?.entries.get(locationKey(position, cold));
    if (entry === undefined) return false;
    queue.readAhead!.fresh = false;
    this.bytes = entry;
    this.start = offsetBytes;
    return true;
  }

  /** Reads the bodies of the next messages of `lane` from its head on, then wakes the queue. */
  fetch(queue: Queue, lane: Lane): void {
    const readAhead = (queue.readAhead ??= {
      entries: new Map(),
      bytes: 0,
      pending: false,
      fresh: false,
      failures: 0,
    });
    if (readAhead.pending) return;
    const window = this.window(lane);
    this.clear(queue);
    if (!this.makeRoom(window.bytes)) {
      this.waiting.add(queue);
      return;
    }
    readAhead.pending = true;
    this.readingBytes += window.bytes;
    this.windows.delete(queue); // the newest window is the last to be given up
    this.windows.add(queue);
    this.read(window).then(
      (entries) => {
        this.readingBytes -= window.bytes;
        this.keep(queue, readAhead, entries);
        this.wakeWaiting();
      },
      (error: Error) => {
        this.readingBytes -= window.bytes;
        this.readFailed(queue, readAhead, error);
        this.wakeWaiting();
      },
    );
  }

  private keep(queue: Queue, readAhead: ReadAhead, entries: Map<number, Buffer>): void {
    readAhead.pending = false;
    readAhead.failures = 0;
    if (queue.deleted) {
      this.windows.delete(queue);
      return;
    }
    for (const [key, payload] of entries) {
      readAhead.entries.set(key, payload);
      readAhead.bytes += payload.length;
      this.totalBytes += payload.length;
    }
    readAhead.fresh = true;
    this.wake(queue);
  }

  private readFailed(queue: Queue, readAhead: ReadAhead, error: Error): void {
    readAhead.pending = false;
    this.windows.delete(queue);
    if (queue.deleted) return;
    // The cleaner may have moved a body and freed its extent before the read got there: the rows
    // know where it is now. What fails again and again is damage.
    readAhead.failures++;
    if (readAhead.failures < FAILURES_MAX) this.wake(queue);
    else this.onDamage(queue, error);
  }

  /** The queue is gone, empty or purged: its window is given back. */
  release(queue: Queue): void {
    this.clear(queue);
    if (queue.readAhead?.pending !== true) this.windows.delete(queue);
  }

  private clear(queue: Queue): void {
    const readAhead = queue.readAhead;
    if (readAhead === undefined) return;
    this.totalBytes -= readAhead.bytes;
    readAhead.bytes = 0;
    readAhead.entries.clear();
  }

  /** A read is over, so there may be room for one of those that wait; after the last read all may try. */
  private wakeWaiting(): void {
    for (const queue of this.waiting) {
      this.waiting.delete(queue);
      if (queue.deleted || !queue.wanted) continue;
      this.wake(queue);
      if (this.readingBytes > 0) return;
    }
  }

  /**
   * Takes the windows of other queues, oldest first, until `bytes` more fit. A window that its queue is
   * about to use is left alone, or two queues could take each other's for ever. False: there is no room
   * now, and a read is under way whose end wakes those that wait.
   */
  private makeRoom(bytes: number): boolean {
    for (const other of this.windows) {
      if (this.fits(bytes)) return true;
      const { readAhead } = other;
      if (readAhead === undefined || readAhead.pending || (readAhead.fresh && other.wanted)) continue;
      this.release(other);
    }
    return this.readingBytes === 0 || this.fits(bytes);
  }

  private fits(bytes: number): boolean {
    return this.totalBytes + this.readingBytes + bytes <= this.parameters.readAheadTotalBytes;
  }

  private window(lane: Lane): Window {
    const main = new Set<number>();
    const cold = new Set<number>();
    let bytes = 0;
    const rows = this.state.pageRows;
    let sequence = lane.headSequence;
    const mask = (1 << READY) | (1 << RETURNED);
    while (
      sequence < lane.next &&
      bytes < this.parameters.readAheadBytes &&
      main.size + cold.size < WINDOW_ENTRIES_MAX
    ) {
      const number = Math.floor(sequence / rows);
      const page = lane.page(number);
      const row = page === undefined ? -1 : page.find(sequence - number * rows, mask);
      if (row < 0) {
        sequence = (number + 1) * rows;
        continue;
      }
      sequence = number * rows + row + 1;
      const state = page!.state(row);
      const position = page!.position(row);
      if ((state & (TRANSIENT | SPILLED)) === TRANSIENT) continue;
      if ((state & COLD) === 0 && this.slabs.find(position)) break;
      ((state & COLD) !== 0 ? cold : main).add(position);
      bytes += page!.size(row);
    }
    const entriesBytes = (main.size + cold.size) * this.parameters.entryTargetBytes;
    return { main: ascending(main), cold: ascending(cold), bytes: Math.max(bytes, entriesBytes) };
  }

  private async read(window: Window): Promise<Map<number, Buffer>> {
    const found = new Map<number, Buffer>();
    if (window.main.length > 0) {
      for (const entry of await this.readers.main.fetch(window.main)) {
        found.set(locationKey(entry.position, false), entry.payload);
      }
    }
    if (window.cold.length > 0) {
      for (const entry of await this.readers.cold!.fetch(window.cold)) {
        found.set(locationKey(entry.position, true), entry.payload);
      }
    }
    return found;
  }
}

function ascending(positions: Set<number>): number[] {
  return [...positions].sort((a, b) => a - b);
}
