// When the delayed rows of a lane are due: a binary heap in typed arrays, 16 bytes a row. Entries are not
// taken out when a row is settled; who reads the least one checks it against its row.

const FIRST_CAPACITY = 16;

export class DueHeap {
  size = 0;
  private dues = new Float64Array(FIRST_CAPACITY);
  private sequences = new Float64Array(FIRST_CAPACITY);

  /** Of the row that is due first; call only when `size` is above 0. */
  get dueMs(): number {
    return this.dues[0]!;
  }

  get sequence(): number {
    return this.sequences[0]!;
  }

  push(dueMs: number, sequence: number): void {
    if (this.size === this.dues.length) this.grow();
    let at = this.size++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.isBefore(dueMs, sequence, parent)) break;
      this.move(parent, at);
      at = parent;
    }
    this.dues[at] = dueMs;
    this.sequences[at] = sequence;
  }

  /** Drops the least one. */
  pop(): void {
    const last = --this.size;
    const dueMs = this.dues[last]!;
    const sequence = this.sequences[last]!;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= last) break;
      if (child + 1 < last && this.isBefore(this.dues[child + 1]!, this.sequences[child + 1]!, child)) child++;
      if (this.isBefore(dueMs, sequence, child)) break;
      this.move(child, at);
      at = child;
    }
    this.dues[at] = dueMs;
    this.sequences[at] = sequence;
  }

  /** Rows that are due at the same time go in their order. */
  private isBefore(dueMs: number, sequence: number, other: number): boolean {
    const otherDue = this.dues[other]!;
    return dueMs < otherDue || (dueMs === otherDue && sequence < this.sequences[other]!);
  }

  private move(from: number, to: number): void {
    this.dues[to] = this.dues[from]!;
    this.sequences[to] = this.sequences[from]!;
  }

  private grow(): void {
    const dues = new Float64Array(this.size * 2);
    dues.set(this.dues);
    this.dues = dues;
    const sequences = new Float64Array(this.size * 2);
    sequences.set(this.sequences);
    this.sequences = sequences;
  }
}
