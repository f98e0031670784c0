// What the process uses of its machine, for alarms and metrics.

export interface LoopDelay {
  /** How late the event loop ran, seconds: quantile -> value since the last `reset`. */
  readonly quantiles: ReadonlyMap<number, number>;
}

export interface Machine {
  /** Resident memory of this process, bytes. */
  residentBytes(): number;
  /** Memory of the machine, or of the container when that is less, bytes. */
  memoryBytes(): number;
  /** Files and sockets that this process may have open; undefined where the system does not say. */
  openFilesMax(): number | undefined;
  /** CPU time of this process, seconds. */
  cpuSeconds(): number;
  /** Starts to measure how late the event loop runs. */
  watchLoop(): LoopWatch;
}

export interface LoopWatch {
  read(): LoopDelay;
  reset(): void;
  stop(): void;
}
