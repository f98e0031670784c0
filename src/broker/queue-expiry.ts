// Queues that are deleted when nobody has used them for a while (x-expires, policy key expires): no
// consumer, no declaration, no basic.get. Counted by the monotonic clock; after a restart the time starts
// anew, since nobody could use the queue meanwhile.

import type { Clock, Timer } from "../ports/clock.ts";
import type { Queue } from "./topology.ts";

/** All queues are looked at together, at most this often. */
const LOOK_MS = 20;
const WAIT_MAX_MS = 0x7fff_ffff;

interface Lease {
  readonly expiresMs: number;
  usedAtMs: number;
}

export class QueueExpiry {
  readonly #clock: Clock;
  readonly #expired: (queue: Queue) => void;
  readonly #leases = new Map<Queue, Lease>();
  #timer: Timer | undefined;
  #timerAtMs = Number.POSITIVE_INFINITY;

  /** `expired` is called for each queue whose time is over; it is forgotten here by then. */
  constructor(clock: Clock, expired: (queue: Queue) => void) {
    this.#clock = clock;
    this.#expired = expired;
  }

  /** The queue expires when it was unused for `expiresMs`; undefined: never. */
  configure(queue: Queue, expiresMs: number | undefined): void {
    if (expiresMs === undefined) {
      this.#leases.delete(queue);
      return;
    }
    const usedAtMs = this.#leases.get(queue)?.usedAtMs ?? this.#clock.monotonicMs();
    this.#leases.set(queue, { expiresMs, usedAtMs });
    this.#arm(usedAtMs + expiresMs);
  }

  /** Somebody used the queue just now. */
  used(queue: Queue): void {
    const lease = this.#leases.get(queue);
    if (lease !== undefined) lease.usedAtMs = this.#clock.monotonicMs();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#leases.clear();
  }

  #look(): void {
    const nowMs = this.#clock.monotonicMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const [queue, lease] of this.#leases) {
      if (queue.consumers > 0) lease.usedAtMs = nowMs;
      const endMs = lease.usedAtMs + lease.expiresMs;
      if (!queue.deleted && endMs > nowMs) {
        nextMs = Math.min(nextMs, endMs);
        continue;
      }
      this.#leases.delete(queue);
      if (!queue.deleted) this.#expired(queue);
    }
    if (nextMs < Number.POSITIVE_INFINITY) this.#arm(nextMs);
  }

  #arm(atMs: number): void {
    if (atMs >= this.#timerAtMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = atMs;
    const waitMs = Math.min(Math.max(LOOK_MS, atMs - this.#clock.monotonicMs()), WAIT_MAX_MS);
    this.#timer = this.#clock.after(waitMs, () => {
      this.#timer = undefined;
      this.#timerAtMs = Number.POSITIVE_INFINITY;
      this.#look();
    });
  }
}
