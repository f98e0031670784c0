// Storage on node:fs. Writes and syncs are plain callbacks on the thread pool; a write is complete only
// when every byte is handed to the kernel, so partial writes are continued here and nowhere else.

import * as fs from "node:fs";
import * as fsp from "node:fs/promises";
import type { Disk, DiskDone, DiskFile, DiskSpace } from "../ports/disk.ts";

/** What one writev takes on Linux (IOV_MAX); more are sent in several calls. */
const IOVECS_MAX = 1024;
const OPEN_FLAGS = { create: "wx+", "read-write": "r+", read: "r" } as const;

class NodeFile implements DiskFile {
  readonly path: string;
  readonly #handle: fsp.FileHandle;

  constructor(path: string, handle: fsp.FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  write(buffers: readonly Uint8Array[], offset: number, done: DiskDone): void {
    if (buffers.length === 0) process.nextTick(done, null);
    else writeFrom(this.#handle.fd, buffers, { index: 0, skipBytes: 0, offset }, done);
  }

  sync(done: DiskDone): void {
    fs.fdatasync(this.#handle.fd, done);
  }

  async read(target: Uint8Array, offset: number): Promise<number> {
    let filled = 0;
    while (filled < target.length) {
      const { bytesRead } = await this.#handle.read(target, filled, target.length - filled, offset + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled;
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#handle.truncate(sizeBytes);
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** How far a write came: the next buffer, the bytes of it that are written, and where it goes. */
interface WriteProgress {
  index: number;
  skipBytes: number;
  offset: number;
}

function writeFrom(fd: number, buffers: readonly Uint8Array[], progress: WriteProgress, done: DiskDone): void {
  const batch = buffers.slice(progress.index, progress.index + IOVECS_MAX);
  const first = batch[0];
  if (first !== undefined && progress.skipBytes > 0) batch[0] = first.subarray(progress.skipBytes);
  const completed = (error: Error | null, written: number): void => {
    if (error !== null) {
      done(error);
      return;
    }
    let left = written;
    progress.offset += written;
    while (progress.index < buffers.length) {
      const rest = (buffers[progress.index]?.length ?? 0) - progress.skipBytes;
      if (left < rest) {
        progress.skipBytes += left;
        break;
      }
      left -= rest;
      progress.index += 1;
      progress.skipBytes = 0;
    }
    if (progress.index >= buffers.length) done(null);
    else if (written === 0) done(Object.assign(new Error("the disk takes no more bytes"), { code: "EIO" }));
    else writeFrom(fd, buffers, progress, done);
  };
  const only = batch[0];
  if (batch.length === 1 && only !== undefined) fs.write(fd, only, 0, only.length, progress.offset, completed);
  else fs.writev(fd, batch, progress.offset, completed);
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** The machine's disk. Files and folders are readable for the owner only. */
export function createNodeDisk(): Disk {
  return {
    async makeDir(path: string): Promise<void> {
      await fsp.mkdir(path, { recursive: true, mode: 0o700 });
    },
    async list(path: string): Promise<string[]> {
      try {
        return (await fsp.readdir(path)).sort();
      } catch (error) {
        if (codeOf(error) === "ENOENT") return [];
        throw error;
      }
    },
    async open(path: string, mode: "create" | "read-write" | "read"): Promise<DiskFile> {
      return new NodeFile(path, await fsp.open(path, OPEN_FLAGS[mode], 0o600));
    },
    async remove(path: string): Promise<void> {
      if ((await fsp.lstat(path)).isDirectory()) await fsp.rmdir(path);
      else await fsp.unlink(path);
    },
    rename(from: string, to: string): Promise<void> {
      return fsp.rename(from, to);
    },
    async syncDir(path: string): Promise<void> {
      const handle = await fsp.open(path, "r");
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    },
    async space(path: string): Promise<DiskSpace> {
      const stats = await fsp.statfs(path);
      return { freeBytes: stats.bavail * stats.bsize, totalBytes: stats.blocks * stats.bsize };
    },
  };
}
