// Reading a local log: verified entries below the committed watermark, found through the offset index
// of their segment, in few and large reads.

import { StorageError } from "../../model/errors.ts";
import type { DiskFile } from "../../ports/disk.ts";
import type { LogBounds, LogEntry, LogReader, ReadOptions } from "../log.ts";
import { decodeEntryHeader, ENTRY_FORMAT, ENTRY_HEADER_BYTES, entryBytes, entryIsIntact } from "./entry.ts";
import { asStorageError } from "./failure.ts";
import type { OpenFiles } from "./open-files.ts";
import { LogFormatError } from "./segment-format.ts";
import type { SegmentIndexes } from "./segment-indexes.ts";
import type { OffsetIndex, Segment, SegmentList } from "./segment.ts";

export interface ReaderOptions {
  readonly segments: SegmentList;
  readonly files: OpenFiles;
  readonly indexes: SegmentIndexes;
  readonly key: number;
  /** One read takes at most this much, or one entry. */
  readonly readBytes: number;
  /** Called when the last read of a segment ended. */
  readonly onUnpinned: () => void;
}

/** A run of neighbouring entries of one segment: [from, to). */
interface Run {
  readonly segment: Segment;
  readonly from: number;
  readonly to: number;
}

export class LocalLogReader implements LogReader {
  readonly #options: ReaderOptions;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  bounds(): LogBounds {
    return this.#options.segments.bounds();
  }

  read(from: number, options?: ReadOptions): AsyncIterable<readonly LogEntry[]> {
    // The end is taken now, not at the first batch: the contract says "at the time of the call".
    const next = this.#options.segments.committed + 1;
    return this.#read(from, Math.min(options?.to ?? next, next));
  }

  async *#read(from: number, to: number): AsyncGenerator<readonly LogEntry[]> {
    let position = Math.max(from, 1);
    while (position < to) {
      const segment = this.#options.segments.find(position);
      if (segment === undefined || segment.base >= to) return;
      position = Math.max(position, segment.base);
      const batch = await this.#readRun({ segment, from: position, to: Math.min(to, segment.end) });
      position += batch.length;
      yield batch;
    }
  }

  async fetch(positions: readonly number[]): Promise<readonly LogEntry[]> {
    const { segments } = this.#options;
    const entries: LogEntry[] = [];
    let index = 0;
    while (index < positions.length) {
      const from = positions[index] ?? 0;
      const segment = segments.find(from);
      if (segment === undefined || from < segment.base || from > segments.committed) {
        throw new StorageError("damaged", `entry ${from} is not in the log: it was freed or never committed`);
      }
      let count = 1;
      while (positions[index + count] === from + count && from + count < segment.end) count += 1;
      const batch = await this.#readRun({ segment, from, to: Math.min(from + count, segments.committed + 1) });
      entries.push(...batch);
      index += batch.length;
    }
    return entries;
  }

  /** Reads as much of `run` as one read takes; at least its first entry. */
  async #readRun(run: Run): Promise<LogEntry[]> {
    const { files, indexes, onUnpinned } = this.#options;
    const { segment } = run;
    segment.pins += 1;
    try {
      const file = await files.enter(segment);
      try {
        return await this.#decodeRun(run, file, await indexes.load(segment, file));
      } finally {
        await files.leave(segment);
      }
    } catch (error) {
      throw asStorageError(error, `read ${segment.path}`);
    } finally {
      segment.pins -= 1;
      if (segment.pins === 0) onUnpinned();
    }
  }

  async #decodeRun({ segment, from, to }: Run, file: DiskFile, offsets: OffsetIndex): Promise<LogEntry[]> {
    const { key, readBytes } = this.#options;
    const offsetOf = (position: number): number =>
      position === segment.end ? segment.usedBytes : offsets.at(position - segment.base);
    const start = offsetOf(from);
    let end = from + 1;
    while (end < to && offsetOf(end + 1) - start <= readBytes) end += 1;
    const bytes = Buffer.allocUnsafeSlow(offsetOf(end) - start);
    const read = await file.read(bytes, start);
    const entries: LogEntry[] = [];
    for (let position = from; position < end; position += 1) {
      const at = offsetOf(position) - start;
      const header = decodeEntryHeader(bytes, at);
      const length = header === undefined ? 0 : entryBytes(header.lengthBytes);
      if (header?.position !== position || at + length > read || !entryIsIntact(bytes, at, header, key)) {
        throw new StorageError(
          "damaged",
          `${segment.path} is damaged at offset ${at + start}: entry ${position} is invalid`,
        );
      }
      if (header.format > ENTRY_FORMAT) throw new LogFormatError(segment.path, header.format, ENTRY_FORMAT);
      const payload = bytes.subarray(at + ENTRY_HEADER_BYTES, at + ENTRY_HEADER_BYTES + header.lengthBytes);
      entries.push({ position, epoch: header.epoch, timeMs: header.timeMs, payload });
    }
    return entries;
  }
}
