// The time of a shard: wall-clock milliseconds that never jump. Taken from the wall clock once, at the
// start, and counted by the monotonic clock from there: a clock that is set an hour forward or back while
// the shard runs neither expires a message nor releases one. What is logged are these times, so after a
// restart they are compared with the wall clock of then.

import type { Clock } from "../ports/clock.ts";

export class ShardTime {
  private readonly clock: Clock;
  private readonly offsetMs: number;

  constructor(clock: Clock) {
    this.clock = clock;
    this.offsetMs = clock.wallMs() - clock.monotonicMs();
  }

  /** Whole milliseconds. */
  nowMs(): number {
    return Math.floor(this.clock.monotonicMs() + this.offsetMs);
  }
}
