// Publisher confirms of one channel (confirm.select). Publishes are numbered from 1; each waits for a
// log position, or for nothing. Positions never fall, so publishes with the same position form one
// group and the committed watermark releases groups from the front, in order.
//
//   confirmed <= confirmable <= published; `groups` holds what is between confirmable and published.

export class Confirms {
  private published = 0;
  private confirmable = 0;
  private confirmed = 0;
  private readonly positions: number[] = [];
  private readonly lastNumbers: number[] = [];
  private head = 0;

  /** Counts one publish that waits for `position`; 0: for nothing. */
  note(position: number): void {
    const number = ++this.published;
    const last = this.positions.length - 1;
    if (last < this.head) {
      if (position === 0) this.confirmable = number;
      else this.push(position, number);
    } else if (position === 0 || position === this.positions[last]) {
      this.lastNumbers[last] = number;
    } else {
      this.push(position, number);
    }
  }

  /** Releases what waits for positions up to `committed`. */
  advance(committed: number): void {
    while (this.head < this.positions.length && this.positions[this.head]! <= committed) {
      this.confirmable = this.lastNumbers[this.head]!;
      this.head++;
    }
    if (this.head === this.positions.length) {
      this.positions.length = 0;
      this.lastNumbers.length = 0;
      this.head = 0;
    } else if (this.head > 1024) {
      this.positions.splice(0, this.head);
      this.lastNumbers.splice(0, this.head);
      this.head = 0;
    }
  }

  /** True while publishes wait for a commit. */
  get waiting(): boolean {
    return this.head < this.positions.length;
  }

  /** True when something can be confirmed now. */
  get ready(): boolean {
    return this.confirmable > this.confirmed;
  }

  /** The tag to confirm now; `multiple` when it stands for more than one. Call only when `ready`. */
  take(): { readonly tag: number; readonly multiple: boolean } {
    const multiple = this.confirmable - this.confirmed > 1;
    this.confirmed = this.confirmable;
    return { tag: this.confirmed, multiple };
  }

  private push(position: number, number: number): void {
    this.positions.push(position);
    this.lastNumbers.push(number);
  }
}
