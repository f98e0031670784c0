// Every latency sample of a run, kept whole: runs are short, and an exact p99.9 beats a bucket.

import type { LatencySummary } from "./load-job.ts";

export class LatencyRecorder {
  #samplesMs = new Float64Array(1024);
  #count = 0;

  add(sampleMs: number): void {
    if (this.#count === this.#samplesMs.length) {
      const grown = new Float64Array(this.#count * 2);
      grown.set(this.#samplesMs);
      this.#samplesMs = grown;
    }
    this.#samplesMs[this.#count++] = sampleMs;
  }

  samplesMs(): Float64Array {
    return this.#samplesMs.subarray(0, this.#count);
  }
}

/** Percentiles over all recorders together; undefined when there is no sample. */
export function summarise(recorders: readonly LatencyRecorder[]): LatencySummary | undefined {
  let count = 0;
  for (const recorder of recorders) count += recorder.samplesMs().length;
  if (count === 0) return undefined;
  const all = new Float64Array(count);
  let at = 0;
  for (const recorder of recorders) {
    all.set(recorder.samplesMs(), at);
    at += recorder.samplesMs().length;
  }
  all.sort();
  const us = (share: number): number => {
    const index = Math.min(count - 1, Math.ceil(share * count) - 1);
    return Math.round((all[Math.max(0, index)] as number) * 1000);
  };
  return { samples: count, p50Us: us(0.5), p99Us: us(0.99), p999Us: us(0.999), maxUs: us(1) };
}
