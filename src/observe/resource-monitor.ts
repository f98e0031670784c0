// Watches memory and disk space, and raises the alarm that blocks publishers before either runs out.
// An alarm is lifted only some way below its limit, so that it does not flap.

import { LIMITS } from "../limits.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import type { DiskSpace } from "../ports/disk.ts";
import type { Logger } from "../ports/logger.ts";
import type { Machine } from "../ports/machine.ts";

const PERIOD_MS = 1000;
/** Memory must fall below this share of its limit to lift the alarm. */
const MEMORY_LIFT = 0.95;
/** Free disk must rise above this multiple of its limit to lift the alarm. */
const DISK_LIFT = 1.1;

export interface ResourceLimits {
  readonly memoryLimitBytes: number;
  readonly diskLimitBytes: number;
}

export interface ResourceMonitorOptions extends ResourceLimits {
  readonly clock: Clock;
  readonly machine: Machine;
  readonly logger: Logger;
  /** Space of the data folder's file system; undefined when nothing is stored on disk. */
  readonly diskSpace: (() => Promise<DiskSpace>) | undefined;
  readonly setAlarm: (resource: "memory" | "disk", raised: boolean) => void;
}

export interface ResourceMonitor {
  /** Free space at the last look, bytes. */
  readonly diskFreeBytes: number | undefined;
  readonly memoryLimitBytes: number;
  readonly diskLimitBytes: number;
  /** Counts from the next look on. */
  setLimits(limits: ResourceLimits): void;
  stop(): void;
}

/** What the process may hold when that is `share` of a machine with so much memory, bytes. */
export function memoryLimitBytes(machineBytes: number, share: number = LIMITS.memoryShareMax): number {
  const floor = Math.min(LIMITS.memoryFloorBytes, machineBytes * LIMITS.memoryFloorShareMax);
  return Math.max(machineBytes * share, floor);
}

/** Looks once before it resolves, then every second. */
export async function startResourceMonitor(options: ResourceMonitorOptions): Promise<ResourceMonitor> {
  const monitor = new Monitor(options);
  await monitor.look();
  return monitor;
}

class Monitor implements ResourceMonitor {
  diskFreeBytes: number | undefined;
  memoryLimitBytes: number;
  diskLimitBytes: number;
  readonly #options: ResourceMonitorOptions;
  readonly #raised = { memory: false, disk: false };
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: ResourceMonitorOptions) {
    this.#options = options;
    this.memoryLimitBytes = options.memoryLimitBytes;
    this.diskLimitBytes = options.diskLimitBytes;
  }

  setLimits({ memoryLimitBytes: memory, diskLimitBytes: disk }: ResourceLimits): void {
    this.memoryLimitBytes = memory;
    this.diskLimitBytes = disk;
  }

  async look(): Promise<void> {
    this.#lookAtMemory();
    if (this.#options.diskSpace !== undefined) await this.#lookAtDisk(this.#options.diskSpace);
    if (this.#stopped) return;
    this.#timer = this.#options.clock.after(PERIOD_MS, () => void this.look());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #lookAtMemory(): void {
    const limit = this.memoryLimitBytes;
    const used = this.#options.machine.residentBytes();
    const over = this.#raised.memory ? used > limit * MEMORY_LIFT : used > limit;
    this.#set("memory", over, { usedBytes: used, limitBytes: limit });
  }

  async #lookAtDisk(diskSpace: () => Promise<DiskSpace>): Promise<void> {
    const limit = this.diskLimitBytes;
    try {
      const { freeBytes } = await diskSpace();
      if (this.#stopped) return;
      this.diskFreeBytes = freeBytes;
      const under = this.#raised.disk ? freeBytes < limit * DISK_LIFT : freeBytes < limit;
      this.#set("disk", under, { freeBytes, limitBytes: limit });
    } catch (error) {
      // The file system does not say: the log's own "low" state still stops publishers in time.
      this.#options.logger.warn("cannot read the free disk space", { error: String(error) });
    }
  }

  #set(resource: "memory" | "disk", raised: boolean, fields: Readonly<Record<string, number>>): void {
    if (raised === this.#raised[resource]) return;
    this.#raised[resource] = raised;
    const what = raised ? "publishers are blocked" : "publishers go on";
    this.#options.logger.warn(`${resource} alarm ${raised ? "raised" : "lifted"}: ${what}`, fields);
    this.#options.setAlarm(resource, raised);
  }
}
