// The log: an append-only sequence of durable entries, and the only thing that touches storage.
//
//   first        committed        next
//     |  durable     |   applied     |
//     +--------------+---------------+----->   positions are dense integers from 1
//
// `append` gives an entry its position at once; it never means durable. Durability is the watermark
// `committed`, which rises in order and is announced once per group commit. After one failure
// nothing is ever committed again and `ended` settles. A reader never returns uncommitted entries.
// No two logs are atomic with each other. Nothing outside log/ may assume which engine runs.

import type { StorageError } from "../model/errors.ts";

export interface LogTraits {
  /** The largest payload that `append` takes, bytes. At least the largest message plus 4 KiB. */
  readonly maxEntryBytes: number;
  /** A committed entry survives power loss. */
  readonly fsync: boolean;
  readonly replicas: number;
  readonly maxLogs: number;
  /** `free` gives back any range; false: only a prefix. */
  readonly freesRanges: boolean;
}

/** A run of entries that is freed as one (a segment file locally). `end` is exclusive. */
export interface Extent {
  readonly first: number;
  readonly end: number;
  readonly bytes: number;
}

export interface LogBounds {
  /** The oldest position that may still be read. */
  readonly first: number;
  /** One behind the last committed entry. */
  readonly next: number;
  readonly extents: readonly Extent[];
}

/** An entry read back and verified (checksum, position). `payload` is what was appended. */
export interface LogEntry {
  readonly position: number;
  readonly epoch: number;
  /** Wall-clock ms at which it was appended. */
  readonly timeMs: number;
  readonly payload: Buffer;
}

export interface ReadOptions {
  /** Stop before this position; default: the committed end at the time of the call. */
  readonly to?: number;
}

export interface LogReader {
  bounds(): LogBounds;
  /** Entries from `from` (freed ranges are passed over), in order, batch by batch. Throws StorageError "damaged". */
  read(from: number, options?: ReadOptions): AsyncIterable<readonly LogEntry[]>;
  /** Verified entries at exactly these committed positions (ascending). Throws StorageError "damaged". */
  fetch(positions: readonly number[]): Promise<readonly LogEntry[]>;
}

export interface WriterEvents {
  /** The watermark rose to `position` (once per group commit). */
  onCommitted(position: number): void;
  /** A new extent starts with entry `first`: called inside `append`, before it returns. */
  onExtent(first: number): void;
  /**
   * Space: "low" when the engine can no longer prepare fresh segments and lives on its reserve
   * (publishers must be blocked; acks, relocations and snapshots go on); "ok" when it can again.
   */
  onSpace(state: "ok" | "low"): void;
}

export interface LogWriter {
  readonly epoch: number;
  /** The position that the next `append` returns. */
  readonly next: number;
  /** The highest durable position; 0 when there is none. */
  readonly committed: number;
  /** Payload bytes appended and not yet committed. */
  readonly backlogBytes: number;
  /** Settles when the writer is finished: undefined after `release`, the error after a failure. */
  readonly ended: Promise<StorageError | undefined>;
  /**
   * Appends one atomic entry whose payload is the concatenation of `parts`. Synchronous; the buffers
   * belong to the engine until the entry is committed. Throws StorageError when the writer ended.
   */
  append(parts: readonly Buffer[]): number;
  /** Entries [from, to) will not be read again. Only whole extents are given back. */
  free(from: number, to: number): void;
  /** Commits what was appended, then lets go of the log. */
  release(): Promise<void>;
}

/** What `acquire` found while it looked for the end of the log. */
export interface AcquireResult {
  readonly writer: LogWriter;
  readonly reader: LogReader;
  /** Bytes of an uncommitted, torn tail that were cut. */
  readonly cutBytes: number;
}

export interface LogStore {
  readonly traits: LogTraits;
  /** Creates an empty log; fails if it exists. Durable when it resolves. */
  create(id: string): Promise<void>;
  /** Deletes a log that nobody holds. Durable when it resolves. */
  delete(id: string): Promise<void>;
  /** Ids that start with `prefix`, sorted. */
  list(prefix: string): Promise<string[]>;
  /** A reader over the committed entries of a log that nobody writes now. */
  reader(id: string): Promise<LogReader>;
  /**
   * Takes the log for writing: finds its end, cuts a torn tail (or throws "damaged"), appends an
   * epoch entry (empty payload) and makes it durable. Fences older writers.
   */
  acquire(id: string, owner: string, events: WriterEvents): Promise<AcquireResult>;
}
