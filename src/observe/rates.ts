// How fast counters rise: samples every five seconds, kept once. A rate is what one period brought, per
// second. Sampling costs time in proportion to the queues it looks at, so it looks at a limited number.

import { LIMITS } from "../limits.ts";
import type { Clock, Timer } from "../ports/clock.ts";

export interface Rated {
  readonly published: number;
  readonly delivered: number;
  readonly redelivered: number;
  readonly acked: number;
  readonly ready: number;
  readonly unacked: number;
}

const FIELDS = ["published", "delivered", "redelivered", "acked", "ready", "unacked"] as const;
const NONE: Rated = { published: 0, delivered: 0, redelivered: 0, acked: 0, ready: 0, unacked: 0 };

export interface RateSource {
  totals(): Rated;
  /** Queues by a number that is never used again for another. */
  queues(): Iterable<readonly [id: number, values: Rated]>;
}

interface Sample {
  readonly values: Rated;
  readonly perSecond: Rated;
}

export class Rates {
  readonly #clock: Clock;
  readonly #source: RateSource;
  #totals: Sample;
  #queues: ReadonlyMap<number, Sample> = new Map();
  #sampledMs: number;
  #timer: Timer | undefined;

  constructor(clock: Clock, source: RateSource) {
    this.#clock = clock;
    this.#source = source;
    this.#totals = { values: source.totals(), perSecond: NONE };
    this.#sampledMs = clock.monotonicMs();
    this.#next();
  }

  get totals(): Rated {
    return this.#totals.perSecond;
  }

  /** Zeros for a queue that was not sampled twice yet. */
  queue(id: number): Rated {
    return this.#queues.get(id)?.perSecond ?? NONE;
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #next(): void {
    this.#timer = this.#clock.after(LIMITS.ratesPeriodMs, () => {
      this.#sample();
      this.#next();
    });
  }

  #sample(): void {
    const nowMs = this.#clock.monotonicMs();
    const seconds = (nowMs - this.#sampledMs) / 1000;
    if (seconds <= 0) return;
    this.#sampledMs = nowMs;
    this.#totals = sampleOf(this.#source.totals(), this.#totals, seconds);
    const queues = new Map<number, Sample>();
    for (const [id, values] of this.#source.queues()) {
      if (queues.size >= LIMITS.ratedQueuesMax) break;
      queues.set(id, sampleOf(values, this.#queues.get(id), seconds));
    }
    this.#queues = queues;
  }
}

function sampleOf(values: Rated, before: Sample | undefined, seconds: number): Sample {
  const perSecond: { -readonly [Field in keyof Rated]: number } = { ...NONE };
  if (before !== undefined) {
    for (const field of FIELDS) perSecond[field] = (values[field] - before.values[field]) / seconds;
  }
  return { values, perSecond };
}
