// A page: the index of up to 4096 consecutive messages of a lane, 13 bytes each in typed arrays.
//
//   row = word 0: position, low 32 bits        word 1: position, high 8 bits | offset << 8
//         word 2: size, bytes                  state: u8
//
// Columns that few messages need are added on first use: deliveries and failures (u16), expiry and due
// time (f64, absolute milliseconds; 0: none).
//
// A page starts small and doubles; it becomes sparse when at most one eighth of its rows is live (a
// few stuck messages must not hold 53 KiB), and its lane drops it when it is empty. Invariant:
// `live` counts the rows whose state is not ABSENT.

import { assert } from "../assert.ts";

export const ABSENT = 0;
/** Never delivered. */
export const READY = 1;
export const IN_FLIGHT = 2;
/** Delivered before, ready again. */
export const RETURNED = 3;
export const STATE_MASK = 3;
/** The location is in the transient store, and no effect was logged. */
export const TRANSIENT = 4;
/** The location is in the cold log. */
export const COLD = 8;
/** A transient message's row whose body went to the log because the memory for bodies was used up. */
export const SPILLED = 16;
/** With IN_FLIGHT: held back until its due time, in nobody's hands. */
export const DELAYED = 32;
/** With IN_FLIGHT: on its way out as a dead letter, which the log does not know yet; was READY or RETURNED. */
export const DYING_READY = 64;
export const DYING_RETURNED = 128;

const WORDS = 3;
const SPARSE_SHARE = 8;
const NO_ROWS = new Uint16Array(0);

export interface PageParts {
  readonly rows: Uint16Array | undefined;
  readonly words: Uint32Array;
  readonly states: Uint8Array;
  readonly deliveries: Uint16Array | undefined;
  readonly failures: Uint16Array | undefined;
  readonly expiries: Float64Array | undefined;
  readonly dues: Float64Array | undefined;
}

export class Page {
  readonly number: number;
  /** Rows 0..capacity-1 exist; more are added by growing (dense) until `rowsMax`. */
  capacity: number;
  live = 0;
  /** Rows in state RETURNED, and a row at or below the lowest of them. */
  returned = 0;
  returnedFrom = 0;
  /** True while the page stands in its lane's heap of pages with returned rows. */
  inHeap = false;
  /** Log position up to which a loaded snapshot page has its effects applied already. */
  stamp = 0;
  /** Number of the snapshot that holds the durable rows just as they are now; 0: none does. */
  savedIn = 0;
  /** Range of main-log positions that rows may point at (never shrinks while the page lives). */
  positionMin = Number.MAX_SAFE_INTEGER;
  positionMax = 0;
  /** No row that is ready expires before this; Infinity: none does. */
  expiryMin = Number.POSITIVE_INFINITY;

  private words: Uint32Array;
  private states: Uint8Array;
  private counts: Uint16Array | undefined = undefined;
  private failureCounts: Uint16Array | undefined = undefined;
  private expiries: Float64Array | undefined = undefined;
  private dues: Float64Array | undefined = undefined;
  /** Sorted row numbers when sparse. */
  private rows: Uint16Array | undefined = undefined;

  constructor(number: number, capacity: number) {
    this.number = number;
    this.capacity = capacity;
    this.words = new Uint32Array(capacity * WORDS);
    this.states = new Uint8Array(capacity);
  }

  /** Index of a row in the arrays, or -1. */
  private slot(row: number): number {
    if (this.rows === undefined) return row < this.capacity ? row : -1;
    const slot = this.slotFrom(row);
    return this.rows[slot] === row ? slot : -1;
  }

  /** Index of the first row at or behind `row` in a sparse page. */
  private slotFrom(row: number): number {
    const rows = this.rows ?? NO_ROWS;
    let low = 0;
    let high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle]! < row) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** State with its flags; 0 when the row is absent. */
  state(row: number): number {
    const slot = this.slot(row);
    return slot < 0 ? 0 : this.states[slot]!;
  }

  setState(row: number, state: number): void {
    this.savedIn = 0;
    this.states[this.slot(row)] = state;
  }

  position(row: number): number {
    const at = this.slot(row) * WORDS;
    return this.words[at]! + (this.words[at + 1]! & 0xff) * 0x1_0000_0000;
  }

  /** In units of 8 bytes. */
  offset(row: number): number {
    return this.words[this.slot(row) * WORDS + 1]! >>> 8;
  }

  size(row: number): number {
    return this.words[this.slot(row) * WORDS + 2]!;
  }

  /** Earlier deliveries of a row. */
  deliveries(row: number): number {
    return this.counts === undefined ? 0 : this.counts[this.slot(row)]!;
  }

  setDeliveries(row: number, deliveries: number): void {
    this.savedIn = 0;
    this.counts ??= new Uint16Array(this.states.length);
    this.counts[this.slot(row)] = Math.min(deliveries, 0xffff);
  }

  /** Attempts of a row that failed. */
  failures(row: number): number {
    return this.failureCounts === undefined ? 0 : this.failureCounts[this.slot(row)]!;
  }

  setFailures(row: number, failures: number): void {
    if (failures === 0 && this.failureCounts === undefined) return;
    this.savedIn = 0;
    this.failureCounts ??= new Uint16Array(this.states.length);
    this.failureCounts[this.slot(row)] = Math.min(failures, 0xffff);
  }

  /** When a row expires, ms; 0: never. */
  expiry(row: number): number {
    return this.expiries === undefined ? 0 : this.expiries[this.slot(row)]!;
  }

  setExpiry(row: number, expiryMs: number): void {
    this.savedIn = 0;
    this.expiries ??= new Float64Array(this.states.length);
    this.expiries[this.slot(row)] = expiryMs;
    this.noteExpiry(expiryMs);
  }

  /** A row that expires then is ready. */
  noteExpiry(expiryMs: number): void {
    if (expiryMs > 0 && expiryMs < this.expiryMin) this.expiryMin = expiryMs;
  }

  /** When a delayed row is due, ms. */
  due(row: number): number {
    return this.dues === undefined ? 0 : this.dues[this.slot(row)]!;
  }

  setDue(row: number, dueMs: number): void {
    this.savedIn = 0;
    this.dues ??= new Float64Array(this.states.length);
    this.dues[this.slot(row)] = dueMs;
  }

  /** Adds a live row. `rowsMax` is the page size of the lane. */
  add(row: number, state: number, position: number, offset: number, size: number, rowsMax: number): void {
    if (this.rows !== undefined) this.densify();
    while (row >= this.capacity) this.grow(rowsMax);
    assert((this.states[row]! & STATE_MASK) === ABSENT, "a row is added once");
    this.savedIn = 0;
    this.states[row] = state;
    // A transient message of before a restart may have had this row.
    if (this.counts !== undefined) this.counts[row] = 0;
    if (this.failureCounts !== undefined) this.failureCounts[row] = 0;
    if (this.expiries !== undefined) this.expiries[row] = 0;
    this.live++;
    this.point(row, position, offset);
    this.words[row * WORDS + 2] = size;
    if ((state & COLD) === 0 && (state & (TRANSIENT | SPILLED)) !== TRANSIENT) this.cover(position);
  }

  /** Lets a row point somewhere else. */
  point(row: number, position: number, offset: number): void {
    this.savedIn = 0;
    const at = this.slot(row) * WORDS;
    const high = Math.floor(position / 0x1_0000_0000);
    this.words[at] = position - high * 0x1_0000_0000;
    this.words[at + 1] = high | (offset << 8);
  }

  cover(position: number): void {
    if (position < this.positionMin) this.positionMin = position;
    if (position > this.positionMax) this.positionMax = position;
  }

  /** Makes a live row absent. */
  drop(row: number): void {
    this.savedIn = 0;
    this.states[this.slot(row)] = ABSENT;
    this.live--;
  }

  /** True when `compact` would shrink the page. */
  get worthCompacting(): boolean {
    return this.live * SPARSE_SHARE <= this.states.length && this.states.length >= 64;
  }

  /** Keeps the live rows only. The caller knows that no rows will be added soon. */
  compact(): void {
    const rows = new Uint16Array(this.live);
    const words = new Uint32Array(this.live * WORDS);
    const states = new Uint8Array(this.live);
    const kept = new Uint32Array(this.live);
    let to = 0;
    for (let slot = 0; slot < this.states.length; slot++) {
      if ((this.states[slot]! & STATE_MASK) === ABSENT) continue;
      rows[to] = this.rows === undefined ? slot : this.rows[slot]!;
      words.set(this.words.subarray(slot * WORDS, slot * WORDS + WORDS), to * WORDS);
      states[to] = this.states[slot]!;
      kept[to] = slot;
      to++;
    }
    assert(to === this.live, "live counts the rows that are there");
    const gather = <T extends Uint16Array | Float64Array>(from: T | undefined, into: (size: number) => T) => {
      const column = from === undefined ? undefined : into(kept.length);
      for (let i = 0; column !== undefined && i < kept.length; i++) column[i] = from![kept[i]!]!;
      return column;
    };
    this.rows = rows;
    this.words = words;
    this.states = states;
    this.counts = gather(this.counts, shorts);
    this.failureCounts = gather(this.failureCounts, shorts);
    this.expiries = gather(this.expiries, doubles);
    this.dues = gather(this.dues, doubles);
  }

  /** The first row at or behind `row` in one of the states of `mask` (bit 1 << state), or -1. */
  find(row: number, mask: number): number {
    if (this.rows === undefined) {
      for (; row < this.capacity; row++) {
        if ((mask >> (this.states[row]! & STATE_MASK)) & 1) return row;
      }
      return -1;
    }
    for (let slot = this.slotFrom(row); slot < this.rows.length; slot++) {
      if ((mask >> (this.states[slot]! & STATE_MASK)) & 1) return this.rows[slot]!;
    }
    return -1;
  }

  /**
   * The durable rows as the log knows them, for a snapshot; the arrays are copies without transient rows.
   * `seen`: the rows before this one are delivered for the log.
   */
  copyDurable(seen: number): PageParts & { readonly live: number; readonly isDying: boolean } {
    const states = this.states.slice();
    let live = 0;
    let isDying = false;
    for (let slot = 0; slot < states.length; slot++) {
      const state = states[slot]!;
      if ((state & TRANSIENT) !== 0) states[slot] = ABSENT;
      else if ((state & (DYING_READY | DYING_RETURNED)) !== 0) {
        const row = this.rows === undefined ? slot : this.rows[slot]!;
        states[slot] = beforeDying(state, row < seen);
        isDying = true;
      }
      if ((states[slot]! & STATE_MASK) !== ABSENT) live++;
    }
    const { rows, words, counts: deliveries, failureCounts: failures, expiries, dues } = this;
    return { rows, words, states, deliveries, failures, expiries, dues, live, isDying };
  }

  /** A page from a snapshot. The arrays belong to the page from now on. */
  static restore(number: number, capacity: number, parts: PageParts): Page {
    const page = new Page(number, 0);
    page.capacity = capacity;
    page.rows = parts.rows;
    page.words = parts.words;
    page.states = parts.states;
    page.counts = parts.deliveries;
    page.failureCounts = parts.failures;
    page.expiries = parts.expiries;
    page.dues = parts.dues;
    page.returnedFrom = capacity;
    for (let slot = 0; slot < page.states.length; slot++) {
      const state = page.states[slot]!;
      if ((state & STATE_MASK) === ABSENT) continue;
      page.live++;
      const row = page.rows === undefined ? slot : page.rows[slot]!;
      if ((state & STATE_MASK) === RETURNED) {
        page.returned++;
        page.returnedFrom = Math.min(page.returnedFrom, row);
      }
      if ((state & COLD) === 0) {
        page.cover(page.words[slot * WORDS]! + (page.words[slot * WORDS + 1]! & 0xff) * 0x1_0000_0000);
      }
    }
    return page;
  }

  private grow(rowsMax: number): void {
    const capacity = Math.min(Math.max(this.capacity * 2, 1), rowsMax);
    assert(capacity > this.capacity, "a row is inside its page");
    const words = new Uint32Array(capacity * WORDS);
    words.set(this.words);
    const states = new Uint8Array(capacity);
    states.set(this.states);
    const grown = <T extends Uint16Array | Float64Array>(from: T | undefined, into: (size: number) => T) => {
      const column = from === undefined ? undefined : into(capacity);
      if (from !== undefined) column?.set(from);
      return column;
    };
    this.words = words;
    this.states = states;
    this.counts = grown(this.counts, shorts);
    this.failureCounts = grown(this.failureCounts, shorts);
    this.expiries = grown(this.expiries, doubles);
    this.dues = grown(this.dues, doubles);
    this.capacity = capacity;
  }

  private densify(): void {
    const rows = this.rows ?? NO_ROWS;
    const words = new Uint32Array(this.capacity * WORDS);
    const states = new Uint8Array(this.capacity);
    for (let slot = 0; slot < rows.length; slot++) {
      const row = rows[slot]!;
      words.set(this.words.subarray(slot * WORDS, slot * WORDS + WORDS), row * WORDS);
      states[row] = this.states[slot]!;
    }
    const scatter = <T extends Uint16Array | Float64Array>(from: T | undefined, into: (size: number) => T) => {
      const column = from === undefined ? undefined : into(this.capacity);
      for (let slot = 0; column !== undefined && slot < rows.length; slot++) column[rows[slot]!] = from![slot]!;
      return column;
    };
    this.rows = undefined;
    this.words = words;
    this.states = states;
    this.counts = scatter(this.counts, shorts);
    this.failureCounts = scatter(this.failureCounts, shorts);
    this.expiries = scatter(this.expiries, doubles);
    this.dues = scatter(this.dues, doubles);
  }
}

/** What the log says of a row that is on its way out. */
function beforeDying(state: number, isSeen: boolean): number {
  const flags = state & ~(STATE_MASK | DYING_READY | DYING_RETURNED);
  if ((state & DYING_RETURNED) !== 0) return flags | RETURNED;
  return flags | (isSeen ? IN_FLIGHT : READY);
}

function shorts(size: number): Uint16Array {
  return new Uint16Array(size);
}

function doubles(size: number): Float64Array {
  return new Float64Array(size);
}
