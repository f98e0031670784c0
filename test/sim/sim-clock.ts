// Virtual time. Everything that happens in a simulation is an event here: timers, turns and disk
// completions. Events run one at a time, by due time and then in the order in which they were made;
// time jumps to the next one.

import { setImmediate } from "node:timers/promises";
import type { Clock, Timer, Turn } from "../../src/ports/clock.ts";

interface Event {
  readonly dueMs: number;
  readonly sequence: number;
  run: (() => void) | undefined;
}

function isBefore(a: Event, b: Event): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.sequence < b.sequence);
}

export class SimClock implements Clock, Turn {
  readonly #startMs: number;
  readonly #heap: Event[] = [];
  #nowMs = 0;
  #sequence = 0;

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
  }

  wallMs(): number {
    return Math.floor(this.#startMs + this.#nowMs);
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const event: Event = { dueMs: this.#nowMs + Math.max(0, delayMs), sequence: this.#sequence, run };
    this.#sequence += 1;
    this.#push(event);
    return {
      cancel: () => {
        event.run = undefined;
      },
    };
  }

  schedule(run: () => void): void {
    this.after(0, run);
  }

  /** Runs the next event; false when there is none. Promises that it settled have not run on yet. */
  step(): boolean {
    for (;;) {
      const event = this.#pop();
      if (event === undefined) return false;
      this.#nowMs = event.dueMs;
      if (event.run === undefined) continue;
      event.run();
      return true;
    }
  }

  /**
   * Runs events until `isDone`, letting promises run on after each. Throws when nothing is left to
   * happen, or after `stepsMax` events.
   */
  async runUntil(isDone: () => boolean, stepsMax = 1_000_000): Promise<void> {
    await setImmediate();
    for (let steps = 0; !isDone(); steps += 1) {
      if (steps >= stepsMax) throw new Error(`the simulation is not done after ${stepsMax} events`);
      if (!this.step()) throw new Error("the simulation is stuck: no event is left");
      await setImmediate();
    }
  }

  /** Runs events until `promise` settles; returns or throws what it settled with. */
  async resolve<T>(promise: Promise<T>): Promise<T> {
    let isSettled = false;
    const settle = (): void => {
      isSettled = true;
    };
    promise.then(settle, settle);
    await this.runUntil(() => isSettled);
    return promise;
  }

  /** Runs every event of the next `durationMs`, then lets the time pass. */
  async advance(durationMs: number): Promise<void> {
    const endMs = this.#nowMs + durationMs;
    await setImmediate();
    while ((this.#heap[0]?.dueMs ?? Number.POSITIVE_INFINITY) <= endMs) {
      this.step();
      await setImmediate();
    }
    this.#nowMs = Math.max(this.#nowMs, endMs);
  }

  #push(event: Event): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parentAt = (at - 1) >>> 1;
      const parent = heap[parentAt];
      if (parent === undefined || !isBefore(event, parent)) break;
      heap[at] = parent;
      at = parentAt;
    }
    heap[at] = event;
  }

  #pop(): Event | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const moved = heap.pop();
    if (top === undefined || moved === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      const isRight = left !== undefined && right !== undefined && isBefore(right, left);
      const child = isRight ? right : left;
      if (child === undefined || !isBefore(child, moved)) break;
      heap[at] = child;
      at = 2 * at + (isRight ? 2 : 1);
    }
    heap[at] = moved;
    return top;
  }
}
