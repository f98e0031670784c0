// The machine port on node:os and node:perf_hooks.

import { readFileSync } from "node:fs";
import { totalmem } from "node:os";
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { LoopDelay, LoopWatch, Machine } from "../ports/machine.ts";

/** The loop is sampled with a timer of this period; what it fires later is the delay. */
const SAMPLE_MS = 10;
const QUANTILES = [0.5, 0.99, 0.999, 1];

export function createNodeMachine(): Machine {
  return {
    residentBytes: () => process.memoryUsage.rss(),
    memoryBytes(): number {
      const constrained = process.constrainedMemory();
      const machine = totalmem();
      return constrained > 0 && constrained < machine ? constrained : machine;
    },
    openFilesMax,
    cpuSeconds(): number {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
    watchLoop,
  };
}

/** Linux only. Node has raised the soft limit to the hard one by then. */
function openFilesMax(): number | undefined {
  try {
    const value = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return value === undefined ? undefined : Number(value);
  } catch {
    // Another system than Linux: nothing can be said.
    return undefined;
  }
}

function watchLoop(): LoopWatch {
  const histogram = monitorEventLoopDelay({ resolution: SAMPLE_MS });
  histogram.enable();
  return {
    read: () => readDelay((percent) => histogram.percentile(percent)),
    reset: () => histogram.reset(),
    stop: () => void histogram.disable(),
  };
}

/** The histogram holds whole sampling intervals, ns; the delay is what exceeds the period. */
function readDelay(percentile: (percent: number) => number): LoopDelay {
  const late = (quantile: number) => Math.max(0, percentile(quantile * 100) / 1e9 - SAMPLE_MS / 1e3);
  return { quantiles: new Map(QUANTILES.map((quantile) => [quantile, late(quantile)])) };
}
