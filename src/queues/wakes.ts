// When queues want to be looked after: one timer for all of them. A queue is in the heap as often as its
// time was brought forward; only the entry that agrees with `wakeAtMs` counts.

import type { Clock, Timer } from "../ports/clock.ts";
import type { Queue } from "./queue.ts";
import type { ShardTime } from "./shard-time.ts";

interface Wake {
  readonly atMs: number;
  readonly queue: Queue;
}

export class Wakes {
  private readonly clock: Clock;
  private readonly time: ShardTime;
  private readonly due: () => void;
  private readonly heap: Wake[] = [];
  private timer: Timer | undefined = undefined;
  private timerAtMs = Number.POSITIVE_INFINITY;
  private isStopped = false;

  /** `due` is called when `take` has something to give. */
  constructor(clock: Clock, time: ShardTime, due: () => void) {
    this.clock = clock;
    this.time = time;
    this.due = due;
  }

  /** The queue wants to be looked after at `atMs` at the latest. */
  add(queue: Queue, atMs: number): void {
    if (atMs >= queue.wakeAtMs) return;
    queue.wakeAtMs = atMs;
    this.push({ atMs, queue });
    if (atMs < this.timerAtMs) this.arm();
  }

  /** The next queue whose time has come; it is out of the heap then. */
  take(nowMs: number): Queue | undefined {
    for (let first = this.heap[0]; first !== undefined && first.atMs <= nowMs; first = this.heap[0]) {
      this.pop();
      if (first.queue.wakeAtMs !== first.atMs) continue;
      first.queue.wakeAtMs = Number.POSITIVE_INFINITY;
      if (!first.queue.deleted) return first.queue;
    }
    return undefined;
  }

  /** Sets the timer for what is left, unless it is set already. A timer may fire a moment too early. */
  arm(): void {
    const first = this.heap[0];
    if (first === undefined || this.isStopped || this.timerAtMs <= first.atMs) return;
    this.timer?.cancel();
    this.timerAtMs = first.atMs;
    this.timer = this.clock.after(Math.min(Math.max(1, first.atMs - this.time.nowMs()), WAIT_MAX_MS), () => {
      this.timer = undefined;
      this.timerAtMs = Number.POSITIVE_INFINITY;
      this.due();
    });
  }

  stop(): void {
    this.isStopped = true;
    this.timer?.cancel();
  }

  private push(wake: Wake): void {
    const { heap } = this;
    let at = heap.push(wake) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]!.atMs <= wake.atMs) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = wake;
  }

  private pop(): void {
    const { heap } = this;
    const last = heap.pop()!;
    const size = heap.length;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && heap[child + 1]!.atMs < heap[child]!.atMs) child++;
      if (heap[child]!.atMs >= last.atMs) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
  }
}

/** Node's timers take at most 2^31 - 1 ms; longer waits are cut and looked at again. */
const WAIT_MAX_MS = 0x7fff_ffff;
