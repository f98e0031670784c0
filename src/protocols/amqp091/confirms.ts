// Publisher confirms of one channel (confirm.select). Publishes are numbered from 1; each waits for a
// log position, or for nothing, or was rejected by a full queue. Positions never fall, so publishes with
// the same position form one group and the committed watermark releases groups from the front, in order.
//
//   answered <= due <= published; `groups` holds what is between due and published
//
// Rejected publishes are answered in their place (basic.nack), so that `multiple` is always true to its
// word. A group or a run of due answers is the number of its last publish, negative when rejected.

export class Confirms {
  // The answer that `next` found.
  tag = 0;
  /** It stands for more than one publish. */
  multiple = false;
  rejected = false;

  private published = 0;
  private answered = 0;
  private readonly positions: number[] = [];
  private readonly groups: number[] = [];
  private head = 0;
  private readonly due: number[] = [];
  private dueHead = 0;

  /** Counts one publish that waits for `position`; 0: for nothing; negative: it was rejected. */
  note(position: number): void {
    const number = ++this.published;
    const signed = position < 0 ? -number : number;
    const last = this.groups.length - 1;
    if (last < this.head) {
      if (position > 0) this.push(position, signed);
      else this.release(signed);
      return;
    }
    const waited = position > 0 ? position : this.positions[last]!;
    if (waited === this.positions[last] && sameAnswer(signed, this.groups[last]!)) this.groups[last] = signed;
    else this.push(waited, signed);
  }

  /** Releases what waits for positions up to `committed`. */
  advance(committed: number): void {
    while (this.head < this.positions.length && this.positions[this.head]! <= committed) {
      this.release(this.groups[this.head]!);
      this.head++;
    }
    if (this.head === this.positions.length) {
      this.positions.length = 0;
      this.groups.length = 0;
      this.head = 0;
    } else if (this.head > 1024) {
      this.positions.splice(0, this.head);
      this.groups.splice(0, this.head);
      this.head = 0;
    }
  }

  /** True while publishes wait for a commit. */
  get waiting(): boolean {
    return this.head < this.positions.length;
  }

  /** True when something can be answered now. */
  get ready(): boolean {
    return this.dueHead < this.due.length;
  }

  /** Publishes without an answer. */
  get unanswered(): number {
    return this.published - this.answered;
  }

  /** Puts the next answer into `tag`, `multiple` and `rejected`; false when there is none now. */
  next(): boolean {
    if (this.dueHead === this.due.length) {
      this.due.length = 0;
      this.dueHead = 0;
      return false;
    }
    const signed = this.due[this.dueHead++]!;
    this.tag = Math.abs(signed);
    this.multiple = this.tag - this.answered > 1;
    this.rejected = signed < 0;
    this.answered = this.tag;
    return true;
  }

  private release(signed: number): void {
    const last = this.due.length - 1;
    if (last >= this.dueHead && sameAnswer(signed, this.due[last]!)) this.due[last] = signed;
    else this.due.push(signed);
  }

  private push(position: number, signed: number): void {
    this.positions.push(position);
    this.groups.push(signed);
  }
}

function sameAnswer(a: number, b: number): boolean {
  return a < 0 === b < 0;
}
