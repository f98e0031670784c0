// Appending and committing. One write + fdatasync is in flight at a time; what is appended meanwhile
// is the next group. A group never crosses segments:
//
//   append -> pending -> [write group -> sync -> committed rises] -> ... segment full:
//             [write footer -> sync -> take the next file] -> [write header + group -> sync] -> ...
//
// So everything before a segment is durable before its header exists. Positions, offsets and extents
// are decided at append; checksums and the stated watermark when the group is written. The first
// failed write or sync ends the writer and is not retried, because the kernel may have dropped it; only
// a write that found no room is repeated, once a prepared file was given up for it.

import { assert } from "../../assert.ts";
import { StorageError } from "../../model/errors.ts";
import type { Clock } from "../../ports/clock.ts";
import type { DiskFile } from "../../ports/disk.ts";
import type { Logger } from "../../ports/logger.ts";
import type { LogWriter, WriterEvents } from "../log.ts";
import { Chain, type ChainEntry } from "./chain.ts";
import { entryBytes } from "./entry.ts";
import { asStorageError, isFull } from "./failure.ts";
import { syncFile, writeFile } from "./file-io.ts";
import type { OpenFiles } from "./open-files.ts";
import { encodeFooter, footerBytes, SEGMENT_HEADER_BYTES } from "./segment-format.ts";
import type { SegmentIndexes } from "./segment-indexes.ts";
import type { SegmentPool } from "./segment-pool.ts";
import { OffsetIndex, Segment, type SegmentList } from "./segment.ts";

/** From this share of a segment on, the next ones are prepared: an idle broker writes nothing big. */
const PREPARE_SHARE = 1 / 64;
/** A file that grows gets zeros ahead of its entries in steps of this: most syncs then change data only. */
export const GROW_BYTES = 1024 * 1024;
const ZEROS = Buffer.alloc(GROW_BYTES);

export interface WriterOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly id: string;
  readonly key: number;
  readonly epoch: number;
  readonly segments: SegmentList;
  readonly files: OpenFiles;
  readonly indexes: SegmentIndexes;
  readonly pool: SegmentPool;
  readonly segmentBytes: number;
  readonly maxEntryBytes: number;
  readonly commitBytesMax: number;
  /** Zeros written ahead in a file that grows, at most GROW_BYTES; 0 for logs that stay small. */
  readonly growBytes: number;
  readonly events: WriterEvents;
  /** Gives up a prepared file somewhere, so that a full disk has room for what must go on; false: there is none. */
  readonly makeRoom: () => Promise<boolean>;
  /** The open file of the last segment, when there is one, and its size. */
  readonly tail: { readonly file: DiskFile; readonly sizeBytes: number } | undefined;
  /** The chain before the first append. */
  readonly lastCrc: number;
  readonly lastEpoch: number;
}

interface PendingEntry extends ChainEntry {
  readonly offset: number;
}

export class LocalLogWriter implements LogWriter {
  readonly epoch: number;
  readonly ended: Promise<StorageError | undefined>;
  /** Settles when, after the end, no disk call is in flight and every file is closed. */
  readonly closed: Promise<void>;
  readonly #options: WriterOptions;
  readonly #segments: SegmentList;
  readonly #chain: Chain;
  #next: number;
  #backlogBytes = 0;
  #pending: PendingEntry[] = [];
  /** Segments whose files are not yet given back. */
  readonly #freed = new Set<Segment>();
  /** The segment that is being written, which is behind `segments.last` while entries wait. */
  #current: Segment | undefined;
  #file: DiskFile | undefined;
  #fileBytes = 0;
  #headerDue = false;
  /** A disk call of the commit loop is in flight. */
  #busy = false;
  #scheduled = false;
  #releasing = false;
  #isEnded = false;
  #error: StorageError | undefined;
  #settleEnded: (error: StorageError | undefined) => void = () => undefined;
  #settleClosed: () => void = () => undefined;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.#segments = options.segments;
    this.epoch = options.epoch;
    this.#next = options.segments.committed + 1;
    this.#current = options.segments.last;
    this.#file = options.tail?.file;
    this.#fileBytes = options.tail?.sizeBytes ?? 0;
    this.#chain = new Chain(options);
    assert((this.#current === undefined) === (this.#file === undefined), "the last segment has an open file");
    this.ended = new Promise((resolve) => {
      this.#settleEnded = resolve;
    });
    this.closed = new Promise((resolve) => {
      this.#settleClosed = resolve;
    });
  }

  get next(): number {
    return this.#next;
  }

  get committed(): number {
    return this.#segments.committed;
  }

  get backlogBytes(): number {
    return this.#backlogBytes;
  }

  append(parts: readonly Buffer[]): number {
    if (this.#isEnded || this.#releasing) {
      throw this.#error ?? new StorageError("closed", `log ${this.#options.id} is closed`);
    }
    let payloadBytes = 0;
    for (const part of parts) payloadBytes += part.length;
    assert(payloadBytes <= this.#options.maxEntryBytes, "an entry is not larger than maxEntryBytes");
    const bytes = entryBytes(payloadBytes);
    const last = this.#segments.last;
    const segment = last?.state === "filling" && last.fits(bytes) ? last : this.#roll(last, bytes);
    const position = this.#next;
    const isFirst = segment.count === 0;
    const offset = segment.add(bytes);
    this.#next += 1;
    this.#backlogBytes += payloadBytes;
    const timeMs = this.#options.clock.wallMs();
    this.#pending.push({ position, segment, offset, bytes, payloadBytes, parts, timeMs });
    if (isFirst) this.#options.events.onExtent(position);
    this.#schedule();
    return position;
  }

  free(from: number, to: number): void {
    if (this.#isEnded) return;
    for (let segment = this.#segments.find(from); segment !== undefined; ) {
      const { end } = segment;
      if (end > to || end > this.committed + 1 || segment.state === "filling") break;
      if (segment.base >= from) {
        this.#segments.remove(segment);
        this.#freed.add(segment);
      }
      segment = this.#segments.find(end);
    }
    this.reclaim();
  }

  async release(): Promise<void> {
    if (!this.#isEnded) {
      this.#releasing = true;
      this.#schedule();
    }
    const error = await this.ended;
    await this.closed;
    if (error !== undefined) throw error;
  }

  /** Ends the writer because another one took the log. */
  async fence(owner: string): Promise<void> {
    this.#end(new StorageError("fenced", `log ${this.#options.id} was taken over by ${owner}`));
    await this.closed;
  }

  /**
   * Gives the files of freed segments back to the pool: those that nothing reads any more and that an
   * entry in a later segment is durable behind. Without one, the end of the log would be forgotten,
   * and positions would start again at 1.
   */
  reclaim(): void {
    const { files, indexes, pool, logger } = this.#options;
    for (const segment of this.#freed) {
      if (segment.pins > 0 || segment.state !== "complete" || this.committed < segment.end || this.#isEnded) continue;
      this.#freed.delete(segment);
      indexes.forget(segment);
      files.close(segment).then(
        () => pool.giveBack(segment.path, segment.isAllocated),
        (error: unknown) => logger.warn("A freed log segment could not be closed.", { reason: String(error) }),
      );
    }
  }

  /** Seals the last segment and starts the next one, without touching the disk. */
  #roll(last: Segment | undefined, bytes: number): Segment {
    if (last?.state === "filling") last.state = "sealed";
    const needed = SEGMENT_HEADER_BYTES + bytes + footerBytes(1);
    const oversize = needed > this.#options.segmentBytes;
    const sizeBytes = oversize ? needed : this.#options.segmentBytes;
    const segment = new Segment({ base: this.#next, sizeBytes, oversize });
    segment.offsets = new OffsetIndex();
    this.#segments.push(segment);
    return segment;
  }

  /** Starts the commit loop after the caller's turn, so that its appends share a group. */
  #schedule(): void {
    if (this.#busy || this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#busy) return;
    if (this.#isEnded) {
      this.#close();
      return;
    }
    const first = this.#pending[0];
    if (first === undefined) {
      if (this.#releasing) this.#end(undefined);
      return;
    }
    this.#busy = true;
    if (first.segment === this.#current) this.#writeGroup(first);
    else
      this.#moveTo(first.segment).then(
        () => this.#stepDone(null),
        (error: unknown) => this.#stepDone(error),
      );
  }

  /** Finishes the current segment and gives `segment` a file. */
  async #moveTo(segment: Segment): Promise<void> {
    const { files, indexes, pool, key } = this.#options;
    const before = this.#current;
    if (before !== undefined && this.#file !== undefined) {
      const { usedBytes, base, lastCrc, lastEpoch } = before;
      assert(before.state === "sealed" && before.offsets !== undefined, "a finished segment has its offsets");
      const footer = encodeFooter(before.offsets.toArray(), { usedBytes, base, lastCrc, lastEpoch }, key);
      const finished = this.#file;
      await this.#withRoom(() => writeFile(finished, footer, before.sizeBytes - footer.length));
      await syncFile(this.#file);
      before.state = "complete";
      indexes.admit(before);
      this.#current = undefined;
      this.#file = undefined;
      await files.leave(before);
    }
    const file = await this.#withRoom(() => pool.take(segment.oversize));
    segment.path = file.path;
    files.adopt(segment, file);
    this.#current = segment;
    this.#file = file;
    this.#fileBytes = await file.size();
    segment.grown = this.#fileBytes === 0;
    this.#headerDue = true;
  }

  #writeGroup(first: PendingEntry): void {
    const { segment } = first;
    const file = this.#file;
    assert(file !== undefined, "the current segment has an open file");
    const buffers: Buffer[] = [];
    let offset = first.offset;
    if (this.#headerDue) {
      assert(offset === SEGMENT_HEADER_BYTES, "the header comes with the first entry");
      buffers.push(this.#chain.segmentHeader(segment));
      offset = 0;
      this.#headerDue = false;
    }
    let count = 0;
    let bytes = 0;
    let payloadBytes = 0;
    for (const entry of this.#pending) {
      if (entry.segment !== segment) break;
      if (count > 0 && bytes + entry.bytes > this.#options.commitBytesMax) break;
      this.#chain.add(entry, this.committed, buffers);
      count += 1;
      bytes += entry.bytes;
      payloadBytes += entry.payloadBytes;
    }
    const position = first.position + count - 1;
    this.#pending.splice(0, count);
    this.#growAhead(segment, first.offset + bytes, buffers);
    this.#writeOut(file, { buffers, offset }, () => this.#commit(position, payloadBytes));
  }

  /** Writes and syncs one group. A write that found no room is tried again in room made for it; a sync never is. */
  #writeOut(
    file: DiskFile,
    group: { readonly buffers: readonly Buffer[]; readonly offset: number },
    commit: () => void,
  ): void {
    file.write(group.buffers, group.offset, (failed) => {
      if (isFull(failed)) {
        this.#options.makeRoom().then(
          (made) => (made ? this.#writeOut(file, group, commit) : this.#stepDone(failed)),
          (error: unknown) => this.#stepDone(error),
        );
        return;
      }
      if (failed !== null) {
        this.#stepDone(failed);
        return;
      }
      file.sync((error) => {
        if (error === null && !this.#isEnded) commit();
        this.#stepDone(error);
      });
    });
  }

  /** Runs a step that may find the disk full, again for as long as room can be made. */
  async #withRoom<T>(run: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await run();
      } catch (error) {
        if (!isFull(error) || !(await this.#options.makeRoom())) throw error;
      }
    }
  }

  /** Adds zeros behind a group that ends at `end`, when it makes the file longer anyway. */
  #growAhead(segment: Segment, end: number, buffers: Buffer[]): void {
    if (end <= this.#fileBytes) return;
    this.#fileBytes = Math.min(end + this.#options.growBytes, segment.sizeBytes);
    if (this.#fileBytes > end) buffers.push(ZEROS.subarray(0, this.#fileBytes - end));
  }

  #commit(position: number, payloadBytes: number): void {
    assert(position > this.committed, "the watermark rises");
    this.#segments.committed = position;
    this.#backlogBytes -= payloadBytes;
    this.reclaim();
    this.#lookAhead();
    this.#options.events.onCommitted(position);
  }

  /** Has the next segments prepared, and leaves a file that grows for one that cannot run out of space. */
  #lookAhead(): void {
    const { pool } = this.#options;
    const current = this.#current;
    if (current === undefined || current.usedBytes <= current.sizeBytes * PREPARE_SHARE) return;
    pool.refill();
    const isGrowing = current.grown && current.state === "filling" && this.#fileBytes < current.sizeBytes;
    if (isGrowing && pool.isWhole) current.state = "sealed";
  }

  /** A step of the commit loop ended; `error` is what the disk said. */
  #stepDone(error: unknown): void {
    this.#busy = false;
    if (error !== null && error !== undefined) this.#end(asStorageError(error, `write log ${this.#options.id}`));
    this.#pump();
  }

  #end(error: StorageError | undefined): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#error = error;
    this.#pending = [];
    this.#settleEnded(error);
    this.#schedule();
  }

  /** Lets go of every file. */
  #close(): void {
    if (this.#busy) return;
    this.#busy = true;
    const { files, pool, logger, id } = this.#options;
    const letGo = async (): Promise<void> => {
      await pool.close();
      if (this.#current !== undefined) await files.leave(this.#current);
      await files.closeAll();
    };
    letGo()
      .catch((error: unknown) => logger.warn("A log could not be closed cleanly.", { log: id, reason: String(error) }))
      .finally(this.#settleClosed);
  }
}
