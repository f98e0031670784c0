// Adaptive commit delay. At low rates a commit per wake-up serves one or two messages and costs far
// more CPU than the messages do; waiting a moment lets more of them share it. Waiting only pays when
// others arrive meanwhile: a publisher that waits for its confirm (window 1) would only be slowed. So
// the pacer tries it, looks at what the wait gathered, and stops trying for a while when that was
// nothing.

/** Groups of at least this many messages commit at once. */
const SMALL_GROUP = 8;
/** A wait that gathered fewer messages than this did not pay. */
const GAIN_MIN = 2;
/** Commits without a wait after one that did not pay: the price of trying stays below 1 %. */
const REST_COMMITS = 512;

export class CommitPacer {
  private resting = REST_COMMITS;
  private before = 0;

  /** A group of `messages` is due. True: wait first, then call `waited`. */
  shouldWait(messages: number): boolean {
    if (messages === 0 || messages >= SMALL_GROUP) return false;
    if (this.resting > 0) {
      this.resting--;
      return false;
    }
    this.before = messages;
    return true;
  }

  /** The wait is over, and the group has grown to `messages`. */
  waited(messages: number): void {
    if (messages >= this.before && messages - this.before < GAIN_MIN) this.resting = REST_COMMITS;
  }
}
