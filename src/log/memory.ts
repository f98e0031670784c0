// The memory engine: the log contract without a disk, for tests and for brokers that keep nothing.
// Commits come one turn later, so that "applied but not yet committed" is as visible as on a disk.

import { assert } from "../assert.ts";
import { LIMITS } from "../limits.ts";
import { StorageError } from "../model/errors.ts";
import type { Clock, Turn } from "../ports/clock.ts";
import type { AcquireResult, Extent, LogBounds, LogEntry, LogReader, LogStore } from "./log.ts";
import type { LogTraits, LogWriter, ReadOptions, WriterEvents } from "./log.ts";

const BATCH_BYTES = 256 * 1024;

export interface MemoryLogStoreOptions {
  readonly clock: Clock;
  readonly turn: Turn;
  /** Payload bytes after which a new extent starts. */
  readonly extentBytes?: number;
}

interface MemoryExtent {
  readonly first: number;
  readonly entries: LogEntry[];
  bytes: number;
}

/** The content of one log; outlives its writers. */
class MemoryLog {
  extents: MemoryExtent[] = [];
  committed = 0;
  epoch = 0;
  writer: MemoryLogWriter | undefined;

  /** The extent that holds `position`, or the next one when it was freed. */
  find(position: number): MemoryExtent | undefined {
    return this.extents.find((extent) => extent.first + extent.entries.length > position);
  }
}

class MemoryLogReader implements LogReader {
  readonly #log: MemoryLog;

  constructor(log: MemoryLog) {
    this.#log = log;
  }

  bounds(): LogBounds {
    const next = this.#log.committed + 1;
    const extents: Extent[] = [];
    for (const { first, entries, bytes } of this.#log.extents) {
      if (first < next) extents.push({ first, end: Math.min(first + entries.length, next), bytes });
    }
    return { first: extents[0]?.first ?? next, next, extents };
  }

  read(from: number, options?: ReadOptions): AsyncIterable<readonly LogEntry[]> {
    const next = this.#log.committed + 1;
    return this.#read(from, Math.min(options?.to ?? next, next));
  }

  async *#read(from: number, to: number): AsyncGenerator<readonly LogEntry[]> {
    let position = Math.max(from, 1);
    while (position < to) {
      const extent = this.#log.find(position);
      if (extent === undefined || extent.first >= to) return;
      position = Math.max(position, extent.first);
      const batch: LogEntry[] = [];
      let bytes = 0;
      for (const entry of extent.entries.slice(position - extent.first, to - extent.first)) {
        if (bytes > 0 && bytes + entry.payload.length > BATCH_BYTES) break;
        batch.push(entry);
        bytes += entry.payload.length;
      }
      position += batch.length;
      yield batch;
    }
  }

  async fetch(positions: readonly number[]): Promise<readonly LogEntry[]> {
    return positions.map((position) => {
      const extent = position <= this.#log.committed ? this.#log.find(position) : undefined;
      const entry = extent?.entries[position - extent.first];
      if (entry === undefined) {
        throw new StorageError("damaged", `entry ${position} is not in the log: it was freed or never committed`);
      }
      return entry;
    });
  }
}

class MemoryLogWriter implements LogWriter {
  readonly epoch: number;
  readonly ended: Promise<StorageError | undefined>;
  readonly #log: MemoryLog;
  readonly #options: Required<MemoryLogStoreOptions>;
  #events: WriterEvents | undefined;
  #next: number;
  #backlogBytes = 0;
  /** Appended and not committed; copied at the commit, when the caller takes its buffers back. */
  #pending: { entry: Omit<LogEntry, "payload">; parts: readonly Buffer[]; bytes: number; extent: MemoryExtent }[] = [];
  #isScheduled = false;
  #isEnded = false;
  #error: StorageError | undefined;
  #settle: (error: StorageError | undefined) => void = () => undefined;

  constructor(log: MemoryLog, options: Required<MemoryLogStoreOptions>) {
    this.#log = log;
    this.#options = options;
    this.#next = log.committed + 1;
    log.epoch += 1;
    this.epoch = log.epoch;
    this.ended = new Promise((resolve) => {
      this.#settle = resolve;
    });
    this.append([]);
    this.#commit();
  }

  /** From here on the caller hears of commits and extents. */
  attach(events: WriterEvents): void {
    this.#events = events;
  }

  get next(): number {
    return this.#next;
  }

  get committed(): number {
    return this.#log.committed;
  }

  get backlogBytes(): number {
    return this.#backlogBytes;
  }

  append(parts: readonly Buffer[]): number {
    if (this.#isEnded) throw this.#error ?? new StorageError("closed", "the log is closed");
    let bytes = 0;
    for (const part of parts) bytes += part.length;
    const position = this.#next;
    this.#next += 1;
    this.#backlogBytes += bytes;
    let extent = this.#log.extents.at(-1);
    const starts = extent === undefined || (extent.bytes > 0 && extent.bytes + bytes > this.#options.extentBytes);
    if (extent === undefined || starts) {
      extent = { first: position, entries: [], bytes: 0 };
      this.#log.extents.push(extent);
    }
    extent.bytes += bytes;
    const entry = { position, epoch: this.epoch, timeMs: this.#options.clock.wallMs() };
    this.#pending.push({ entry, parts, bytes, extent });
    if (starts) this.#events?.onExtent(position);
    this.#schedule();
    return position;
  }

  free(from: number, to: number): void {
    if (this.#isEnded) return;
    const last = this.#log.extents.length - 1;
    this.#log.extents = this.#log.extents.filter(({ first }, index, all) => {
      const end = all[index + 1]?.first ?? this.#next;
      return index === last || first < from || end > to || end > this.committed + 1;
    });
  }

  async release(): Promise<void> {
    if (!this.#isEnded) {
      this.#commit();
      this.end(undefined);
    }
    const error = await this.ended;
    if (error !== undefined) throw error;
  }

  end(error: StorageError | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    // What was not committed never happened: the next writer goes on behind the watermark.
    this.#pending = [];
    this.#log.extents = this.#log.extents.filter((extent) => extent.entries.length > 0);
    if (this.#log.writer === this) this.#log.writer = undefined;
    this.#settle(error);
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    this.#options.turn.schedule(() => {
      this.#isScheduled = false;
      if (!this.#isEnded) this.#commit();
    });
  }

  #commit(): void {
    const pending = this.#pending;
    const last = pending.at(-1);
    if (last === undefined) return;
    this.#pending = [];
    for (const { entry, parts, bytes, extent } of pending) {
      extent.entries.push({ ...entry, payload: Buffer.concat(parts, bytes) });
      this.#backlogBytes -= bytes;
    }
    this.#log.committed = last.entry.position;
    assert(this.#log.committed === this.#next - 1, "a commit takes everything");
    this.#events?.onCommitted(last.entry.position);
  }
}

/** A store that forgets everything with the process. */
export function createMemoryLogStore(options: MemoryLogStoreOptions): LogStore {
  const settings = { extentBytes: 4 * 1024 * 1024, ...options };
  const logs = new Map<string, MemoryLog>();
  const find = (id: string): MemoryLog => {
    const log = logs.get(id);
    if (log === undefined) throw new StorageError("closed", `there is no log ${id}`);
    return log;
  };
  const traits: LogTraits = {
    maxEntryBytes: 2 * LIMITS.messageBytesMax,
    fsync: false,
    replicas: 1,
    maxLogs: 4096,
    freesRanges: true,
  };
  return {
    traits,
    async create(id: string): Promise<void> {
      if (logs.has(id)) throw new StorageError("closed", `log ${id} exists`);
      logs.set(id, new MemoryLog());
    },
    async delete(id: string): Promise<void> {
      assert(find(id).writer === undefined, "a log that somebody holds is not deleted");
      logs.delete(id);
    },
    async list(prefix: string): Promise<string[]> {
      return [...logs.keys()].filter((id) => id.startsWith(prefix)).sort();
    },
    async reader(id: string): Promise<LogReader> {
      return new MemoryLogReader(find(id));
    },
    async acquire(id: string, owner: string, events: WriterEvents): Promise<AcquireResult> {
      const log = find(id);
      log.writer?.end(new StorageError("fenced", `log ${id} was taken over by ${owner}`));
      const writer = new MemoryLogWriter(log, settings);
      log.writer = writer;
      writer.attach(events);
      return { writer, reader: new MemoryLogReader(log), cutBytes: 0 };
    },
  };
}
