// Live references and bytes of each extent of one log: what may be freed, and what is worth cleaning.
// Recomputed at start, never stored. Order 1 of the engine lives here: an extent is freed only when
// the settles and relocations that emptied it are committed, not merely applied.

import { assert } from "../assert.ts";

export interface ExtentState {
  readonly first: number;
  references: number;
  bytes: number;
  /** Position whose commit makes the emptiness durable; 0 while the extent is not empty. */
  emptiedAt: number;
}

export class Extents {
  /** Ascending; the last one is being written and is never freed. */
  readonly list: ExtentState[] = [];
  liveBytes = 0;
  private last: ExtentState | undefined = undefined;
  private lastEnd = 0;
  private newlyEmpty: ExtentState[] = [];
  private freeable = 0;

  /** A new extent starts at `first`. */
  open(first: number): void {
    const active = this.list.at(-1);
    assert(active === undefined || active.first < first, "extents are opened in order");
    if (active !== undefined && active.references === 0) this.newlyEmpty.push(active);
    this.list.push({ first, references: 0, bytes: 0, emptiedAt: 0 });
    this.last = undefined;
  }

  /** The extent that holds `position`. */
  at(position: number): ExtentState {
    if (this.last !== undefined && position >= this.last.first && position < this.lastEnd) return this.last;
    let low = 0;
    let high = this.list.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.list[middle]!.first <= position) low = middle;
      else high = middle - 1;
    }
    const found = this.list[low];
    assert(found !== undefined && found.first <= position, "a row points into an extent");
    this.last = found;
    this.lastEnd = this.list[low + 1]?.first ?? Number.MAX_SAFE_INTEGER;
    return found;
  }

  retain(position: number, bytes: number, references = 1): void {
    const extent = this.at(position);
    extent.references += references;
    extent.bytes += bytes;
    this.liveBytes += bytes;
  }

  release(position: number, bytes: number): void {
    const extent = this.at(position);
    assert(extent.references > 0, "an extent is released as often as it was retained");
    extent.references--;
    extent.bytes -= bytes;
    this.liveBytes -= bytes;
    if (extent.references === 0 && extent !== this.list.at(-1)) this.newlyEmpty.push(extent);
  }

  /** The effects that emptied extents so far commit with `position`. */
  seal(position: number): void {
    if (this.newlyEmpty.length === 0) return;
    for (const extent of this.newlyEmpty) {
      if (extent.references > 0 || extent.emptiedAt > 0) continue;
      extent.emptiedAt = position;
      this.freeable++;
    }
    this.newlyEmpty = [];
  }

  /** After a recount: empty extents may go as soon as `position` is committed. */
  sealAll(position: number): void {
    for (const extent of this.list.slice(0, -1)) {
      if (extent.references === 0) this.newlyEmpty.push(extent);
    }
    this.seal(position);
  }

  /**
   * Calls `free(first, end)` for each extent that is empty by a committed decision and ends at or
   * before `before` (the start of the newest complete snapshot).
   */
  collect(committed: number, before: number, free: (first: number, end: number) => void): void {
    if (this.freeable === 0) return;
    const list = this.list;
    let kept = 0;
    let waiting = 0;
    for (let i = 0; i < list.length; i++) {
      const extent = list[i]!;
      const end = list[i + 1]?.first;
      const empty = end !== undefined && extent.emptiedAt > 0;
      if (empty && extent.emptiedAt <= committed && end <= before) {
        assert(extent.references === 0, "only an empty extent is freed");
        free(extent.first, end);
        continue;
      }
      if (empty) waiting++;
      list[kept++] = extent;
    }
    list.length = kept;
    this.freeable = waiting;
    this.last = undefined;
  }
}
