// Time, turns and randomness. Nothing outside runtime/ reads them any other way, so that a
// simulation owns them all.

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Unix time, ms. May step. */
  wallMs(): number;
  /** Monotonic, ms with fractions. */
  monotonicMs(): number;
  /** Calls `run` once after at least `delayMs`. Does not keep the process alive. */
  after(delayMs: number, run: () => void): Timer;
}

export interface Turn {
  /** Calls `run` once, after the I/O callbacks of this event-loop round (setImmediate). */
  schedule(run: () => void): void;
}

export interface Random {
  /** Uniform integer in [0, 2^32). */
  u32(): number;
  /** `size` random bytes, for ids. */
  bytes(size: number): Uint8Array;
}
