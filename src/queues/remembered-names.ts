// Names of messages that a queue with deduplication has seen: a bounded window, oldest first out.
// Order 5 of the engine: a duplicate may be confirmed only when its original is committed, so each
// name knows the log position of its original.

export interface RememberedName {
  readonly name: string;
  /** When the message came, ms. */
  readonly timeMs: number;
}

interface Original {
  readonly timeMs: number;
  /** Position whose commit makes it durable; 0: it is, or nobody waits for it. */
  readonly position: number;
}

export class RememberedNames {
  /** In the order in which they came. */
  private readonly names = new Map<string, Original>();

  get size(): number {
    return this.names.size;
  }

  /**
   * The position of the message that had this name inside the window, or -1. `windowMs` undefined: there
   * is no limit but the number of names.
   */
  find(name: string, nowMs: number, windowMs: number | undefined): number {
    const original = this.names.get(name);
    if (original === undefined || (windowMs !== undefined && nowMs - original.timeMs >= windowMs)) return -1;
    return original.position;
  }

  /** Remembers a name; what it said before counts only if it was later. */
  add(name: string, timeMs: number, position: number): void {
    const known = this.names.get(name);
    if (known !== undefined) {
      if (known.timeMs >= timeMs) return;
      this.names.delete(name);
    }
    this.names.set(name, { timeMs, position });
  }

  /** Forgets the oldest names until at most `max` are left, and those that are out of the window. */
  trim(max: number, nowMs: number, windowMs: number | undefined): void {
    for (const [name, { timeMs }] of this.names) {
      const isOver = this.names.size > max || (windowMs !== undefined && nowMs - timeMs >= windowMs);
      if (!isOver) return;
      this.names.delete(name);
    }
  }

  /** All names, oldest first, in lists of at most `count`. */
  *lists(count: number): Generator<readonly RememberedName[], void, void> {
    let list: RememberedName[] = [];
    for (const [name, { timeMs }] of this.names) {
      list.push({ name, timeMs });
      if (list.length < count) continue;
      yield list;
      list = [];
    }
    if (list.length > 0) yield list;
  }
}
