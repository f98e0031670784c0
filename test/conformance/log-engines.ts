// The engines that the log's conformance suite runs on.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openLocalLogStore } from "../../src/log/local/store.ts";
import type { LogStore } from "../../src/log/log.ts";
import { createMemoryLogStore } from "../../src/log/memory.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { Logger } from "../../src/ports/logger.ts";
import { createNodeDisk } from "../../src/runtime/node-disk.ts";
import { Prng } from "../sim/prng.ts";
import { SimClock } from "../sim/sim-clock.ts";
import { type DiskFaults, SimDisk } from "../sim/sim-disk.ts";

export const EXTENT_BYTES = 4096;
/** A log with prepared and recycled segments, and one without. */
export const SHARD_LOG = "shard/0";
export const SMALL_LOG = "meta";

export interface LogFixture {
  readonly store: LogStore;
  /** Waits for `promise`, moving virtual time on where there is one. */
  run<T>(promise: Promise<T>): Promise<T>;
  /** The store as the next process finds it. */
  reopen(): Promise<LogStore>;
  dispose(): Promise<void>;
}

export interface LogEngine {
  readonly name: string;
  open(): Promise<LogFixture>;
}

const ignore = (): void => undefined;
export const SILENT: Logger = { debug: ignore, info: ignore, warn: ignore, error: ignore };

const REAL_CLOCK: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs).unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** A simulated machine with one log store on it. */
export class SimMachine implements LogFixture {
  readonly clock = new SimClock();
  readonly random: Prng;
  readonly segmentBytes: number;
  disk: SimDisk;
  #store: LogStore | undefined;

  private constructor(random: Prng, segmentBytes: number, faults: DiskFaults) {
    this.random = random;
    this.segmentBytes = segmentBytes;
    const schedule = (delayMs: number, run: () => void): void => void this.clock.after(delayMs, run);
    this.disk = new SimDisk({ random: random.fork(), schedule, faults });
  }

  static async boot(seed: number, options: { segmentBytes?: number; faults?: DiskFaults } = {}): Promise<SimMachine> {
    const machine = new SimMachine(new Prng(seed), options.segmentBytes ?? EXTENT_BYTES, options.faults ?? {});
    await machine.reopen();
    return machine;
  }

  get store(): LogStore {
    if (this.#store === undefined) throw new Error("the machine has booted");
    return this.#store;
  }

  run<T>(promise: Promise<T>): Promise<T> {
    return this.clock.resolve(promise);
  }

  async reopen(): Promise<LogStore> {
    const { disk, clock, segmentBytes } = this;
    // Small reads and caches, so that their edges are met.
    const options = { segmentBytes, commitBytesMax: 16_384, readBytes: 1000, indexBytesMax: 512, idleFilesMax: 2 };
    this.#store = await this.run(openLocalLogStore({ disk, clock, logger: SILENT, root: "data", options }));
    return this.#store;
  }

  /** Power loss, then a new process. */
  async crash(): Promise<LogStore> {
    this.disk = this.disk.crash();
    return this.reopen();
  }

  /** The process dies without warning, then a new one. */
  async kill(): Promise<LogStore> {
    this.disk = this.disk.kill();
    return this.reopen();
  }

  async dispose(): Promise<void> {}
}

async function openOnDisk(): Promise<LogFixture> {
  const root = await mkdtemp(join(tmpdir(), "quayside-log-"));
  const disk = createNodeDisk();
  const options = { segmentBytes: EXTENT_BYTES };
  const open = (): Promise<LogStore> => openLocalLogStore({ disk, clock: REAL_CLOCK, logger: SILENT, root, options });
  return {
    store: await open(),
    run: (promise) => promise,
    reopen: open,
    dispose: () => rm(root, { recursive: true, force: true }),
  };
}

async function openInMemory(): Promise<LogFixture> {
  const turn = { schedule: (run: () => void): void => void setImmediate(run) };
  const store = createMemoryLogStore({ clock: REAL_CLOCK, turn, extentBytes: EXTENT_BYTES });
  return { store, run: (promise) => promise, reopen: async () => store, dispose: async () => undefined };
}

export const ENGINES: readonly LogEngine[] = [
  { name: "local on a real disk", open: openOnDisk },
  { name: "local on a simulated disk", open: () => SimMachine.boot(1, { faults: { slowCalls: 0.1 } }) },
  { name: "memory", open: openInMemory },
];
