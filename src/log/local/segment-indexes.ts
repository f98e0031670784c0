// The offset indexes of complete segments, loaded when a read needs one and dropped, least recently
// used first, when they take too much memory.

import { StorageError } from "../../model/errors.ts";
import type { DiskFile } from "../../ports/disk.ts";
import { walk } from "./scan.ts";
import { decodeOffsets, decodeTrailer, OFFSET_BYTES, SEGMENT_FORMAT, TRAILER_BYTES } from "./segment-format.ts";
import type { SegmentHeader } from "./segment-format.ts";
import { OffsetIndex, type Segment } from "./segment.ts";

export class SegmentIndexes {
  readonly #key: number;
  readonly #bytesMax: number;
  #bytes = 0;
  /** In the order of last use. */
  readonly #loaded = new Map<Segment, OffsetIndex>();
  readonly #loading = new Map<Segment, Promise<OffsetIndex>>();

  constructor(key: number, bytesMax: number) {
    this.#key = key;
    this.#bytesMax = bytesMax;
  }

  /** Offsets of the entries of `segment`, whose file is `file`. Throws StorageError "damaged". */
  async load(segment: Segment, file: DiskFile): Promise<OffsetIndex> {
    const known = segment.offsets;
    if (known !== undefined) {
      if (this.#loaded.delete(segment)) this.#loaded.set(segment, known);
      return known;
    }
    let loading = this.#loading.get(segment);
    if (loading === undefined) {
      loading = this.#read(segment, file);
      this.#loading.set(segment, loading);
    }
    try {
      const offsets = await loading;
      if (segment.offsets === undefined) {
        segment.offsets = offsets;
        this.admit(segment);
      }
      return offsets;
    } finally {
      this.#loading.delete(segment);
    }
  }

  /** The index of `segment` may be dropped from now on: the segment is complete. */
  admit(segment: Segment): void {
    if (segment.offsets === undefined || this.#loaded.has(segment)) return;
    this.#loaded.set(segment, segment.offsets);
    this.#bytes += segment.offsets.bytes;
    for (const oldest of this.#loaded.keys()) {
      if (this.#bytes <= this.#bytesMax || oldest === segment) return;
      this.forget(oldest);
    }
  }

  /** Drops the index of `segment`. */
  forget(segment: Segment): void {
    const offsets = this.#loaded.get(segment);
    if (offsets === undefined) return;
    this.#bytes -= offsets.bytes;
    this.#loaded.delete(segment);
    segment.offsets = undefined;
  }

  async #read(segment: Segment, file: DiskFile): Promise<OffsetIndex> {
    const header: SegmentHeader = {
      format: SEGMENT_FORMAT,
      base: segment.base,
      sizeBytes: segment.sizeBytes,
      oversize: segment.oversize,
      grown: segment.grown,
      prevCrc: segment.prevCrc,
      prevEpoch: segment.prevEpoch,
    };
    const block = Buffer.alloc(TRAILER_BYTES);
    const filled = await file.read(block, segment.sizeBytes - TRAILER_BYTES);
    const trailer = decodeTrailer(block.subarray(0, filled), header, this.#key);
    if (trailer !== undefined && trailer.count === segment.count) {
      const table = Buffer.allocUnsafe(trailer.count * OFFSET_BYTES);
      const read = await file.read(table, segment.sizeBytes - TRAILER_BYTES - table.length);
      const offsets = decodeOffsets(table.subarray(0, read), trailer, this.#key);
      if (offsets !== undefined) return OffsetIndex.of(offsets);
    }
    const found = await walk(file, header, this.#key);
    if (found.end === segment.end) return found.offsets;
    throw new StorageError(
      "damaged",
      `${segment.path} is damaged at offset ${found.usedBytes}: entry ${found.end} is invalid, and so is the footer`,
    );
  }
}
