// A segment: one run of entries in one file, and the log's ordered list of them.
//
// Lifecycle: filling (takes entries; the last segment of the list) -> sealed (takes no more; its
// entries or its footer may still be on their way) -> complete (all of it durable). Only a complete
// segment is freed. A segment exists before it has a file: the writer takes one from the pool when
// the first entry is written.

import { assert } from "../../assert.ts";
import type { Extent, LogBounds } from "../log.ts";
import { footerBytes, SEGMENT_HEADER_BYTES } from "./segment-format.ts";

/** A grown file that is as full as this counts as one that has all its space. */
const ALLOCATED_SHARE = 0.9;

export type SegmentState = "filling" | "sealed" | "complete";

export interface SegmentOptions {
  readonly base: number;
  readonly sizeBytes: number;
  readonly oversize: boolean;
}

/** Offsets of a segment's entries, in order; grows while the segment fills. */
export class OffsetIndex {
  #offsets: Uint32Array;
  #count: number;

  constructor(offsets: Uint32Array = new Uint32Array(16)) {
    this.#offsets = offsets;
    this.#count = 0;
  }

  static of(offsets: Uint32Array): OffsetIndex {
    const index = new OffsetIndex(offsets);
    index.#count = offsets.length;
    return index;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#offsets.byteLength;
  }

  push(offset: number): void {
    if (this.#count === this.#offsets.length) {
      const grown = new Uint32Array(Math.max(16, this.#count * 2));
      grown.set(this.#offsets);
      this.#offsets = grown;
    }
    this.#offsets[this.#count] = offset;
    this.#count += 1;
  }

  at(index: number): number {
    assert(index >= 0 && index < this.#count, "the index covers the entry");
    return this.#offsets[index] ?? 0;
  }

  toArray(): Uint32Array {
    return this.#offsets.slice(0, this.#count);
  }
}

export class Segment {
  readonly base: number;
  readonly sizeBytes: number;
  readonly oversize: boolean;
  /** Empty until the segment has a file. */
  path = "";
  state: SegmentState = "filling";
  /** Position behind the last appended entry. */
  end: number;
  /** Where the next entry goes, bytes. */
  usedBytes = SEGMENT_HEADER_BYTES;
  /** Its file began empty (SegmentHeader.grown). */
  grown = false;
  /** The chain before the first entry, and after the last written one. */
  prevCrc = 0;
  prevEpoch = 0;
  lastCrc = 0;
  lastEpoch = 0;
  /** Reads in progress; a freed segment goes away when they are done. */
  pins = 0;
  /** Always present while filling; loaded on demand when complete. */
  offsets: OffsetIndex | undefined;

  constructor(options: SegmentOptions) {
    this.base = options.base;
    this.end = options.base;
    this.sizeBytes = options.sizeBytes;
    this.oversize = options.oversize;
  }

  get count(): number {
    return this.end - this.base;
  }

  /** Whether the file has all its space, so that another segment can use it without asking for more. */
  get isAllocated(): boolean {
    const used = this.usedBytes + footerBytes(this.count);
    return !this.oversize && (!this.grown || used >= ALLOCATED_SHARE * this.sizeBytes);
  }

  /** Whether an entry of `bytes` fits in front of the footer that it makes grow. */
  fits(bytes: number): boolean {
    return this.usedBytes + bytes + footerBytes(this.count + 1) <= this.sizeBytes;
  }

  /** Takes an entry of `bytes` (header and padding included); returns its offset. */
  add(bytes: number): number {
    assert(this.state === "filling", "only the last segment takes entries");
    assert(this.fits(bytes), "the entry fits its segment");
    const offset = this.usedBytes;
    this.offsets?.push(offset);
    this.usedBytes += bytes;
    this.end += 1;
    return offset;
  }
}

/** The segments of one log by position, shared by its writer and its reader. */
export class SegmentList {
  readonly #segments: Segment[];
  /** The highest durable position. */
  committed: number;
  #bounds: LogBounds | undefined;
  #boundsAt = -1;

  constructor(segments: readonly Segment[], committed: number) {
    this.#segments = [...segments];
    this.committed = committed;
  }

  get last(): Segment | undefined {
    return this.#segments.at(-1);
  }

  [Symbol.iterator](): Iterator<Segment> {
    return this.#segments[Symbol.iterator]();
  }

  push(segment: Segment): void {
    assert((this.last?.end ?? 0) <= segment.base, "segments are in order");
    this.#segments.push(segment);
    this.#bounds = undefined;
  }

  remove(segment: Segment): void {
    const index = this.#segments.indexOf(segment);
    assert(index >= 0, "a removed segment is in the list");
    this.#segments.splice(index, 1);
    this.#bounds = undefined;
  }

  /** The segment that holds `position`, or the next one when it was freed. */
  find(position: number): Segment | undefined {
    let low = 0;
    let high = this.#segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#segments[middle]?.end ?? Number.POSITIVE_INFINITY) <= position) low = middle + 1;
      else high = middle;
    }
    return this.#segments[low];
  }

  bounds(): LogBounds {
    if (this.#bounds !== undefined && this.#boundsAt === this.committed) return this.#bounds;
    const next = this.committed + 1;
    const extents: Extent[] = [];
    for (const segment of this.#segments) {
      if (segment.base >= next) break;
      extents.push({ first: segment.base, end: Math.min(segment.end, next), bytes: segment.usedBytes });
    }
    this.#bounds = { first: extents[0]?.first ?? next, next, extents };
    this.#boundsAt = this.committed;
    return this.#bounds;
  }
}
