// The open file handles of one log: at most one per segment, shared by writer and reads, closed when
// nobody uses it and too many others are idle.

import { assert } from "../../assert.ts";
import type { Disk, DiskFile } from "../../ports/disk.ts";
import type { Segment } from "./segment.ts";

interface Handle {
  readonly opened: Promise<DiskFile>;
  users: number;
}

export class OpenFiles {
  readonly #disk: Disk;
  #idleMax: number;
  /** In the order of last use: the first idle one is closed first. */
  readonly #handles = new Map<Segment, Handle>();

  constructor(disk: Disk, idleMax: number) {
    this.#disk = disk;
    this.#idleMax = idleMax;
  }

  /** Hands over an open file of `segment`, used by the caller until `leave`. */
  adopt(segment: Segment, file: DiskFile): void {
    assert(!this.#handles.has(segment), "a segment has one handle");
    this.#handles.set(segment, { opened: Promise.resolve(file), users: 1 });
  }

  /** Opens the file of `segment`, or shares the open one, until `leave`. */
  async enter(segment: Segment): Promise<DiskFile> {
    assert(segment.path !== "", "only a segment with a file is opened");
    let handle = this.#handles.get(segment);
    if (handle === undefined) handle = { opened: this.#disk.open(segment.path, "read-write"), users: 0 };
    else this.#handles.delete(segment);
    this.#handles.set(segment, handle);
    handle.users += 1;
    try {
      return await handle.opened;
    } catch (error) {
      // A file that could not be opened must not stay: the next try opens it again.
      if (this.#handles.get(segment) === handle) this.#handles.delete(segment);
      throw error;
    }
  }

  async leave(segment: Segment): Promise<void> {
    const handle = this.#handles.get(segment);
    if (handle === undefined) return;
    handle.users -= 1;
    assert(handle.users >= 0, "a handle is left once per enter");
    let idle = 0;
    for (const each of this.#handles.values()) if (each.users === 0) idle += 1;
    for (const [other, each] of this.#handles) {
      if (idle <= this.#idleMax) return;
      if (each.users > 0) continue;
      idle -= 1;
      this.#handles.delete(other);
      await (await each.opened).close();
    }
  }

  /** Closes the handle of a segment that nobody reads. */
  async close(segment: Segment): Promise<void> {
    const handle = this.#handles.get(segment);
    if (handle === undefined) return;
    this.#handles.delete(segment);
    await (await handle.opened).close();
  }

  /** Closes what is idle now; from here on a handle is closed by its last user. */
  async closeAll(): Promise<void> {
    this.#idleMax = 0;
    for (const [segment, handle] of [...this.#handles]) if (handle.users === 0) await this.close(segment);
  }
}
