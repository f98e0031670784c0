// The open entry and the tail cache. Effects are written straight into a slab (the one copy of a
// body); sealed ranges of it go to the log as entries, and stay readable for deliveries until the
// slab is the oldest beyond the cache's size. Only committed slabs are dropped, so an entry that is
// not committed yet is always here.

import { assert } from "../assert.ts";

interface Slab {
  readonly bytes: Buffer;
  readonly firstPosition: number;
  /** Start of each sealed entry in `bytes`, by position - firstPosition. */
  readonly starts: number[];
}

export class Slabs {
  /** The slab being filled; the open entry is bytes[start, at). */
  bytes: Buffer;
  start = 0;
  at = 0;

  private readonly slabBytes: number;
  private readonly cacheBytes: number;
  private readonly full: Slab[] = [];
  private fullBytes = 0;
  private current: Slab;
  private readonly pool: Buffer[] = [];

  constructor(options: { readonly slabBytes: number; readonly cacheBytes: number; readonly firstPosition: number }) {
    this.slabBytes = options.slabBytes;
    this.cacheBytes = options.cacheBytes;
    this.bytes = Buffer.allocUnsafeSlow(this.slabBytes);
    this.current = { bytes: this.bytes, firstPosition: options.firstPosition, starts: [] };
  }

  /** Bytes of the open entry. */
  get openBytes(): number {
    return this.at - this.start;
  }

  /** True when `bytes` more fit behind the open entry. */
  fits(bytes: number): boolean {
    return this.at + bytes <= this.bytes.length;
  }

  /** The open entry's payload; the next entry starts behind it. */
  seal(): Buffer {
    const payload = this.bytes.subarray(this.start, this.at);
    this.current.starts.push(this.start);
    this.start = this.at;
    return payload;
  }

  /** Starts a new slab for entries from `position`; the open entry must be empty. */
  turnOver(position: number, neededBytes: number, committed: number): void {
    assert(this.start === this.at, "a slab is changed between entries");
    if (this.current.starts.length > 0) {
      this.full.push(this.current);
      this.fullBytes += this.bytes.length;
    } else if (this.bytes.length === this.slabBytes) {
      this.pool.push(this.bytes);
    }
    this.evict(committed);
    const reusable = neededBytes <= this.slabBytes;
    this.bytes =
      (reusable ? this.pool.pop() : undefined) ?? Buffer.allocUnsafeSlow(Math.max(this.slabBytes, neededBytes));
    this.start = 0;
    this.at = 0;
    this.current = { bytes: this.bytes, firstPosition: position, starts: [] };
  }

  private evict(committed: number): void {
    while (this.fullBytes > this.cacheBytes) {
      const oldest = this.full[0];
      if (oldest === undefined || oldest.firstPosition + oldest.starts.length - 1 > committed) return;
      this.full.shift();
      this.fullBytes -= oldest.bytes.length;
      if (oldest.bytes.length === this.slabBytes && this.pool.length < 4) this.pool.push(oldest.bytes);
    }
  }

  /** Where `find` found the entry. */
  foundBytes: Buffer = EMPTY;
  foundStart = 0;

  /** Looks for the payload of `position` (the open entry included); the result is in `found*`. */
  find(position: number): boolean {
    if (position >= this.current.firstPosition) {
      const start = this.current.starts[position - this.current.firstPosition] ?? this.start;
      this.foundBytes = this.bytes;
      this.foundStart = start;
      return true;
    }
    const full = this.full;
    if (full.length === 0 || position < full[0]!.firstPosition) return false;
    let low = 0;
    let high = full.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (full[middle]!.firstPosition <= position) low = middle;
      else high = middle - 1;
    }
    const slab = full[low]!;
    const start = slab.starts[position - slab.firstPosition];
    if (start === undefined) return false;
    this.foundBytes = slab.bytes;
    this.foundStart = start;
    return true;
  }
}

const EMPTY = Buffer.alloc(0);
