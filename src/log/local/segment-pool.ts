// Files that are ready to become segments, so that neither a commit nor a full disk waits for space.
//
// A file is in one of three places: used by a segment, in the pool, or gone. A freed file enters the
// pool only after its header was overwritten with zeros and synced: from then on a crash can mix old
// and new content in it, and neither may look like a segment. New files are filled with zeros, because
// a sync that only changes data is twice as fast as one that also extends the file. All of it happens
// in the background, one step at a time; only `take` is on the way of a commit, and never waits for it.

import type { Clock, Timer } from "../../ports/clock.ts";
import type { Disk, DiskFile } from "../../ports/disk.ts";
import type { Logger } from "../../ports/logger.ts";
import { isFull } from "./failure.ts";
import { syncFile, writeFile } from "./file-io.ts";
import { SEGMENT_HEADER_BYTES } from "./segment-format.ts";

const FILL_BYTES = 1024 * 1024;
/** Zeros are synced in steps: one sync of a whole segment would hold up commits on the same disk. */
const FILL_SYNC_BYTES = 8 * FILL_BYTES;
const RETRY_MS = 1000;
/** Freed files beyond the reserve are kept only where the disk has room for so many more of them. */
const ROOMY_SEGMENTS = 16;

export interface PoolOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly folder: string;
  readonly segmentBytes: number;
  /** False: files grow as they are written, and freed ones are removed. */
  readonly prepares: boolean;
  readonly reserve: number;
  readonly reserveMax: number;
  /** The number of the next new file. */
  readonly nextNumber: number;
  /** Called when preparing fails for want of space ("low") and when the reserve is whole again ("ok"). */
  readonly onSpace: (state: "ok" | "low") => void;
}

export class SegmentPool {
  readonly #options: PoolOptions;
  readonly #ready: DiskFile[] = [];
  /** Files to take back: their content is no longer needed. */
  readonly #returned: { readonly path: string; readonly isAllocated: boolean }[] = [];
  #nextNumber: number;
  #wanted = false;
  #low = false;
  #closed = false;
  #retry: Timer | undefined;
  #work: Promise<void> | undefined;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#nextNumber = options.nextNumber;
  }

  /** An empty file: a prepared one, or else a new one that grows. Its name is durable. */
  async take(oversize: boolean): Promise<DiskFile> {
    const ready = oversize ? undefined : this.#ready.shift();
    return ready ?? (await this.#create());
  }

  /** Whether as many files are ready as should be. */
  get isWhole(): boolean {
    return this.#ready.length >= this.#options.reserve;
  }

  /** Takes back a file that no segment uses and nobody has open; `isAllocated`: it has all its space. */
  giveBack(path: string, isAllocated: boolean): void {
    this.#returned.push({ path, isAllocated });
    this.#start();
  }

  /** Prepares files in the background until the reserve is whole. Cheap when it is. */
  refill(): void {
    if (!this.#options.prepares || this.#low || this.isWhole) return;
    this.#wanted = true;
    this.#start();
  }

  /**
   * Gives one prepared file back to the disk: what must go on (acks, relocations, snapshots) needs the
   * room more. False when there is none.
   */
  async giveUpOne(): Promise<boolean> {
    while (this.#ready.length === 0 && this.#work !== undefined) await this.#work;
    const file = this.#closed ? undefined : this.#ready.pop();
    if (file === undefined) return false;
    this.#setLow();
    await this.#discard(file);
    return true;
  }

  /** Stops the background work and closes the ready files. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#retry?.cancel();
    await this.#work;
    for (const file of this.#ready.splice(0)) await file.close();
  }

  #start(): void {
    if (this.#closed || this.#work !== undefined) return;
    this.#work = this.#run().finally(() => {
      this.#work = undefined;
      // Something may have come in between the last look and now.
      if (this.#returned.length > 0) this.#start();
    });
  }

  async #run(): Promise<void> {
    for (;;) {
      const returned = this.#closed ? undefined : this.#returned.shift();
      if (returned !== undefined) await this.#takeBack(returned.path, returned.isAllocated);
      else if (this.#closed || !this.#wanted || !(await this.#prepare())) return;
      this.#checkReserve();
    }
  }

  /** Makes room for another segment out of a file whose entries nobody needs. */
  async #takeBack(path: string, isAllocated: boolean): Promise<void> {
    const { disk, logger, prepares, segmentBytes } = this.#options;
    try {
      if (prepares && isAllocated && (await this.#keepsMore())) {
        const file = await disk.open(path, "read-write");
        if ((await file.size()) === segmentBytes) {
          await writeFile(file, Buffer.alloc(SEGMENT_HEADER_BYTES), 0);
          await syncFile(file);
          await disk.syncDir(this.#options.folder);
          this.#ready.push(file);
          return;
        }
        await file.close();
      }
      await disk.remove(path);
    } catch (error) {
      // The file stays as it is: after a restart its entries appear again and are freed again.
      logger.warn("A freed log segment could not be recycled.", { path, reason: String(error) });
    }
  }

  /** Whether one more ready file is worth its space: always for the reserve, beyond it on a roomy disk. */
  async #keepsMore(): Promise<boolean> {
    const { disk, folder, reserve, reserveMax, segmentBytes } = this.#options;
    if (this.#ready.length < reserve) return true;
    if (this.#ready.length >= reserveMax) return false;
    return (await disk.space(folder)).freeBytes >= ROOMY_SEGMENTS * segmentBytes;
  }

  /** One more file of zeros; false when that did not work. */
  async #prepare(): Promise<boolean> {
    const { disk, folder, segmentBytes, logger } = this.#options;
    let file: DiskFile | undefined;
    try {
      // Asking first spares filling the disk to the brim for nothing, which would hurt everybody else.
      if ((await disk.space(folder)).freeBytes < segmentBytes)
        throw Object.assign(new Error("no space"), { code: "ENOSPC" });
      file = await this.#create();
      await this.#fill(file);
      if (this.#closed) throw new Error("the log was closed");
      this.#ready.push(file);
      return true;
    } catch (error) {
      if (file !== undefined) await this.#discard(file);
      if (this.#closed) return false;
      if (!isFull(error)) logger.error("A log segment could not be prepared.", { folder, reason: String(error) });
      this.#setLow();
      return false;
    }
  }

  async #fill(file: DiskFile): Promise<void> {
    const { segmentBytes } = this.#options;
    const zeros = Buffer.alloc(Math.min(FILL_BYTES, segmentBytes));
    for (let offset = 0; offset < segmentBytes && !this.#closed; offset += zeros.length) {
      await writeFile(file, zeros.subarray(0, Math.min(zeros.length, segmentBytes - offset)), offset);
      if ((offset + zeros.length) % FILL_SYNC_BYTES === 0) await syncFile(file);
    }
    await syncFile(file);
  }

  async #create(): Promise<DiskFile> {
    const { disk, folder } = this.#options;
    const name = `${String(this.#nextNumber).padStart(6, "0")}.seg`;
    this.#nextNumber += 1;
    const file = await disk.open(`${folder}/${name}`, "create");
    // Before anything in it is promised, the name itself must survive.
    await disk.syncDir(folder);
    return file;
  }

  async #discard(file: DiskFile): Promise<void> {
    try {
      await file.close();
      await this.#options.disk.remove(file.path);
    } catch (error) {
      this.#options.logger.warn("An unfinished log segment could not be removed.", {
        path: file.path,
        reason: String(error),
      });
    }
  }

  #setLow(): void {
    this.#wanted = false;
    this.#retry?.cancel();
    this.#retry = this.#options.clock.after(RETRY_MS, () => {
      this.#wanted = true;
      this.#start();
    });
    if (this.#low) return;
    this.#low = true;
    this.#options.onSpace("low");
  }

  #checkReserve(): void {
    if (!this.isWhole) return;
    this.#wanted = false;
    this.#retry?.cancel();
    if (!this.#low || this.#closed) return;
    this.#low = false;
    this.#options.onSpace("ok");
  }
}
