// Slows down who guesses passwords: after a few failures in a row, each further login from that address
// waits, twice as long every time. A login that succeeds clears the address.

import { LIMITS } from "../../limits.ts";
import type { Clock } from "../../ports/clock.ts";

/** Failures that cost nothing: people mistype, and tests try. */
const FREE_FAILURES = 4;
const FIRST_DELAY_MS = 100;

interface Failures {
  count: number;
  lastMs: number;
}

export class LoginBackoff {
  readonly #clock: Clock;
  /** The address that failed longest ago comes first. */
  readonly #failures = new Map<string, Failures>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How long a login from this address waits before it is looked at, ms. */
  delayMs(address: string): number {
    const failures = this.#failures.get(address);
    if (failures === undefined || failures.count < FREE_FAILURES) return 0;
    if (this.#clock.monotonicMs() - failures.lastMs > LIMITS.loginBackoffForgetMs) return 0;
    return Math.min(LIMITS.loginBackoffMaxMs, FIRST_DELAY_MS * 2 ** (failures.count - FREE_FAILURES));
  }

  failed(address: string): void {
    const nowMs = this.#clock.monotonicMs();
    const before = this.#failures.get(address);
    const isRecent = before !== undefined && nowMs - before.lastMs <= LIMITS.loginBackoffForgetMs;
    // 2^30 delays are longer than any limit: the count need not grow further.
    const count = isRecent ? Math.min(before.count + 1, FREE_FAILURES + 30) : 1;
    this.#failures.delete(address);
    if (this.#failures.size >= LIMITS.loginBackoffAddressesMax) this.#forgetOldest();
    this.#failures.set(address, { count, lastMs: nowMs });
  }

  succeeded(address: string): void {
    this.#failures.delete(address);
  }

  #forgetOldest(): void {
    const [oldest] = this.#failures.keys();
    if (oldest !== undefined) this.#failures.delete(oldest);
  }
}
