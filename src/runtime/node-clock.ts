// Time and turns of the real world.

import { performance } from "node:perf_hooks";
import type { Clock, Timer, Turn } from "../ports/clock.ts";

export function createNodeClock(): Clock {
  return {
    wallMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    after(delayMs: number, run: () => void): Timer {
      const handle = setTimeout(run, delayMs);
      handle.unref();
      return { cancel: () => clearTimeout(handle) };
    },
  };
}

export function createNodeTurn(): Turn {
  return {
    schedule(run: () => void): void {
      setImmediate(run);
    },
  };
}

/** Milliseconds since this process was started by the system (node's own start-up included). */
export function sinceProcessStartMs(): number {
  return performance.now();
}
