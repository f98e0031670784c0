// Keeps a confirm from overtaking the declaration of its queue. The meta log and the shard's log
// commit on their own: a message on a queue whose declaration is not durable yet could be confirmed,
// and a crash would then forget the queue and the message with it. So while a declaration waits for
// its commit, the watermark that doors see stops before the first entry that may hold such a message.

interface HeldCommit {
  readonly metaPosition: number;
  readonly shardPosition: number;
}

export class CommitGate {
  readonly #held: HeldCommit[] = [];

  /** A queue is declared at `metaPosition`; its messages are at or behind `shardPosition` of the shard. */
  hold(metaPosition: number, shardPosition: number): void {
    this.#held.push({ metaPosition, shardPosition });
  }

  /** The meta log is committed up to `metaPosition`. */
  release(metaPosition: number): void {
    let first = this.#held[0];
    while (first !== undefined && first.metaPosition <= metaPosition) {
      this.#held.shift();
      first = this.#held[0];
    }
  }

  /** The part of the shard's watermark that may be confirmed. */
  limit(shardCommitted: number): number {
    const first = this.#held[0];
    return first === undefined ? shardCommitted : Math.min(shardCommitted, first.shardPosition - 1);
  }
}
