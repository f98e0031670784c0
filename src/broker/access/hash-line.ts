// The line of passwords that wait to be hashed, one at a time. Whoever asks from many addresses, or from one
// address very often, must not keep the others out: the addresses take turns.

import { LIMITS } from "../../limits.ts";
import { BrokerError } from "../../model/errors.ts";

export class HashLine {
  /** What waits, by who asks; the first one is next, and goes to the end after its turn. */
  readonly #waiting = new Map<string, (() => Promise<void>)[]>();
  #size = 0;
  #busy = false;

  /** Does `work` when it is its turn. Rejects with "resource-limit" when the line is full. */
  run<T>(asker: string, work: () => Promise<T>): Promise<T> {
    if (this.#size >= LIMITS.hashesWaitingMax) {
      return Promise.reject(new BrokerError("resource-limit", "too many passwords wait to be checked"));
    }
    const result = new Promise<T>((resolve, reject) => {
      const own = this.#waiting.get(asker) ?? [];
      own.push(() => work().then(resolve, reject));
      this.#waiting.set(asker, own);
    });
    this.#size++;
    if (!this.#busy) void this.#workOff();
    return result;
  }

  async #workOff(): Promise<void> {
    this.#busy = true;
    for (const [asker, own] of this.#waiting) {
      const next = own.shift();
      // A map yields what is put at its end while it is walked.
      this.#waiting.delete(asker);
      if (own.length > 0) this.#waiting.set(asker, own);
      this.#size--;
      await next?.();
    }
    this.#busy = false;
  }
}
