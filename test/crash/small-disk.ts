// A file system of a few hundred MiB that a test may fill to the last byte: a tmpfs of its own.

import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  rmdirSync,
  statfsSync,
  statSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const MIB = 1024 * 1024;
/** Steps in which the foreign file grows: the last ones find the room that is left. */
const FILL_STEPS = [MIB, 4096];

export class SmallDisk {
  /** Where the broker keeps its data. */
  readonly dataDir: string;
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
    this.dataDir = join(root, "data");
  }

  /** Mounts one; says why when that cannot be done here. `unprivileged`: it could not be tried. */
  static mount(sizeMib: number): SmallDisk | { readonly reason: string; readonly unprivileged: boolean } {
    if (process.platform !== "linux" || process.getuid?.() !== 0) {
      return { reason: "needs root and mount (run as root on Linux)", unprivileged: true };
    }
    const root = mkdtempSync(join(tmpdir(), "quayside-small-disk-"));
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${sizeMib}m`, "tmpfs", root], { encoding: "utf8" });
    if (mounted.status !== 0) {
      rmdirSync(root);
      const said = mounted.error?.message ?? mounted.stderr.trim();
      return { reason: `needs root and mount (allow this container to mount: ${said})`, unprivileged: false };
    }
    const disk = new SmallDisk(root);
    mkdirSync(disk.dataDir);
    return disk;
  }

  unmount(): void {
    const { status, stderr } = spawnSync("umount", [this.#root], { encoding: "utf8" });
    if (status !== 0) throw new Error(`umount ${this.#root}: ${stderr}`);
    rmdirSync(this.#root);
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.#root);
    return bavail * bsize;
  }

  /** Bytes that the data folder takes on the disk. */
  get dataBytes(): number {
    let bytes = 0;
    for (const entry of readdirSync(this.dataDir, { withFileTypes: true, recursive: true })) {
      // A segment may be removed between the listing and the look at it.
      const stat = statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false });
      if (stat?.isFile() === true) bytes += stat.blocks * 512;
    }
    return bytes;
  }

  /** Somebody else takes all the room that is left, but for so many MiB. */
  fill(leftMib = 0): void {
    const file = openSync(join(this.#root, "foreign"), "a");
    try {
      for (const step of FILL_STEPS) {
        const bytes = Buffer.alloc(step, 1);
        while (this.freeBytes > leftMib * MIB && wrote(file, bytes));
      }
    } finally {
      closeSync(file);
    }
  }

  removeForeign(): void {
    rmSync(join(this.#root, "foreign"));
  }
}

/** Appends to the file; false when there was no room for all of it. */
function wrote(file: number, bytes: Buffer): boolean {
  try {
    return writeSync(file, bytes) === bytes.length;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOSPC") return false;
    throw error;
  }
}
