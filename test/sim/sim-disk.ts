// A disk in memory that fails the way disks do. Deterministic: every completion is an event that the
// test drives, and every choice comes from one seeded generator.
//
// The fault model:
// - Power loss (`crash`): of each file, every 4 KiB block with unsynced writes keeps some prefix of
//   them, independently of all other blocks; the last kept one may be torn at a 512-byte sector. What
//   a completed sync covered stays. Names made, renamed or removed since the folder's last sync are
//   kept or lost one by one.
// - A write that is still in flight counts as unsynced: any part of it may be kept.
// - Process death (`kill`): completed writes stay in memory; a part of what is in flight may be kept.
// - A failed sync: some of its writes are lost, but stay in memory, look clean, and no later sync
//   makes them durable.
// - No space: `capacityBytes` limits the sum of file sizes; a write over it fails with ENOSPC as a whole.
// - Slow calls: completions come out of order between calls, some of them very late.
// - Damage: `flipBit` changes what is stored, synced or not.

import type { Disk, DiskDone, DiskFile, DiskSpace } from "../../src/ports/disk.ts";
import type { Prng } from "./prng.ts";

const BLOCK_BYTES = 4096;
const SECTOR_BYTES = 512;

export interface DiskFaults {
  /** Share of syncs that fail with EIO. */
  readonly syncErrors?: number;
  /** Share of writes that fail with EIO. */
  readonly writeErrors?: number;
  /** Share of calls that take up to 50 ms instead of up to 1 ms. */
  readonly slowCalls?: number;
}

export interface SimDiskOptions {
  readonly random: Prng;
  /** Delivers a completion after a virtual delay: usually SimClock.after. */
  readonly schedule: (delayMs: number, run: () => void) => void;
  readonly faults?: DiskFaults;
  readonly capacityBytes?: number;
}

interface UnsyncedWrite {
  readonly offset: number;
  readonly bytes: Buffer;
}

class SimInode {
  /** What reads see. */
  content: Buffer = Buffer.alloc(0);
  /** What is on the platter. */
  durable: Buffer = Buffer.alloc(0);
  /** Completed writes since then, in order. */
  unsynced: UnsyncedWrite[] = [];
  readonly inFlight = new Set<UnsyncedWrite>();
}

/** A folder is a name without an inode. */
type Names = Map<string, SimInode | undefined>;
type NameChange = (names: Names) => void;

function overlay(content: Buffer, offset: number, bytes: Buffer): Buffer {
  const end = offset + bytes.length;
  let target = content;
  if (end > content.length) {
    target = Buffer.alloc(end);
    content.copy(target);
  }
  bytes.copy(target, offset);
  return target;
}

function systemError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: simulated, ${path}`), { code });
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash) || "/";
}

export class SimDisk implements Disk {
  readonly #options: SimDiskOptions;
  readonly #random: Prng;
  #faults: DiskFaults;
  #capacityBytes: number;
  #names: Names = new Map();
  #durableNames: Names = new Map();
  /** Changes of names since the last sync of their folder, in order. */
  #nameChanges: { readonly folder: string; readonly apply: NameChange }[] = [];
  #isDead = false;
  /** Completed calls by kind, for tests that must know that something was synced. */
  readonly calls = { writes: 0, syncs: 0, reads: 0, writtenBytes: 0 };

  constructor(options: SimDiskOptions) {
    this.#options = options;
    this.#random = options.random;
    this.#faults = options.faults ?? {};
    this.#capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY;
  }

  setFaults(faults: DiskFaults): void {
    this.#faults = faults;
  }

  setCapacity(bytes: number): void {
    this.#capacityBytes = bytes;
  }

  get usedBytes(): number {
    let used = 0;
    for (const inode of this.#names.values()) used += inode?.content.length ?? 0;
    return used;
  }

  /** Paths of all files, sorted. */
  files(): string[] {
    return [...this.#names]
      .filter(([, inode]) => inode !== undefined)
      .map(([path]) => path)
      .sort();
  }

  /** A copy of what reads of the file see. */
  contentOf(path: string): Buffer {
    return Buffer.from(this.#inode(path).content);
  }

  /** Replaces a file's content, durably. */
  setContent(path: string, content: Buffer): void {
    const inode = this.#inode(path);
    inode.content = Buffer.from(content);
    inode.durable = Buffer.from(content);
    inode.unsynced = [];
  }

  /** Damages one stored bit. */
  flipBit(path: string, offset: number, bit = 0): void {
    const inode = this.#inode(path);
    for (const image of [inode.content, inode.durable]) {
      if (offset < image.length) image.writeUInt8(image.readUInt8(offset) ^ (1 << bit), offset);
    }
  }

  /** Power loss: this disk never completes anything again; returns what is found after the restart. */
  crash(): SimDisk {
    const next = this.#successor();
    const names: Names = new Map(this.#durableNames);
    for (const change of this.#nameChanges) if (this.#random.chance(0.5)) change.apply(names);
    const survivors = new Set<SimInode>();
    for (const [path, inode] of names) {
      if (!isReachable(names, path)) continue;
      if (inode !== undefined) survivors.add(inode);
      next.#names.set(path, inode);
      next.#durableNames.set(path, inode);
    }
    for (const inode of survivors) {
      inode.content = this.#survivingContent(inode);
      inode.durable = Buffer.from(inode.content);
      inode.unsynced = [];
      inode.inFlight.clear();
    }
    return next;
  }

  /** The process dies, the machine goes on: every completed write stays, though not yet durable. */
  kill(): SimDisk {
    const next = this.#successor();
    next.#names = this.#names;
    next.#durableNames = this.#durableNames;
    next.#nameChanges = this.#nameChanges;
    for (const inode of new Set(this.#names.values())) {
      for (const { offset, bytes } of inode?.inFlight ?? []) {
        const kept = bytes.subarray(0, this.#random.below(bytes.length + 1));
        if (inode === undefined || kept.length === 0) continue;
        inode.content = overlay(inode.content, offset, kept);
        inode.unsynced.push({ offset, bytes: kept });
      }
      inode?.inFlight.clear();
    }
    return next;
  }

  makeDir(path: string): Promise<void> {
    return this.#call(() => {
      const parts = path.split("/");
      for (let count = 1; count <= parts.length; count += 1) {
        const folder = parts.slice(0, count).join("/");
        if (folder !== "" && !this.#names.has(folder)) this.#change(folder, (names) => names.set(folder, undefined));
      }
    });
  }

  list(path: string): Promise<string[]> {
    return this.#call(() => {
      const prefix = `${path}/`;
      const found: string[] = [];
      for (const name of this.#names.keys()) {
        if (name.startsWith(prefix) && !name.includes("/", prefix.length)) found.push(name.slice(prefix.length));
      }
      return found.sort();
    });
  }

  open(path: string, mode: "create" | "read-write" | "read"): Promise<DiskFile> {
    return this.#call(() => {
      const known = this.#names.get(path);
      if (mode !== "create") {
        if (known === undefined) throw systemError("ENOENT", path);
        return this.#file(path, known);
      }
      if (this.#names.has(path)) throw systemError("EEXIST", path);
      if (!isReachable(this.#names, path)) throw systemError("ENOENT", path);
      const inode = new SimInode();
      this.#change(path, (names) => names.set(path, inode));
      return this.#file(path, inode);
    });
  }

  remove(path: string): Promise<void> {
    return this.#call(() => {
      if (!this.#names.has(path)) throw systemError("ENOENT", path);
      for (const name of this.#names.keys()) if (name.startsWith(`${path}/`)) throw systemError("ENOTEMPTY", path);
      this.#change(path, (names) => names.delete(path));
    });
  }

  rename(from: string, to: string): Promise<void> {
    return this.#call(() => {
      const inode = this.#names.get(from);
      if (inode === undefined) throw systemError("ENOENT", from);
      this.#change(to, (names) => names.delete(from) && names.set(to, inode));
    });
  }

  syncDir(path: string): Promise<void> {
    return this.#call(() => {
      if (path !== "." && path !== "/" && !this.#names.has(path)) throw systemError("ENOENT", path);
      for (const change of this.#nameChanges) if (change.folder === path) change.apply(this.#durableNames);
      this.#nameChanges = this.#nameChanges.filter((change) => change.folder !== path);
    });
  }

  space(_path: string): Promise<DiskSpace> {
    return this.#call(() => {
      const totalBytes = Math.min(this.#capacityBytes, Number.MAX_SAFE_INTEGER);
      return { totalBytes, freeBytes: Math.max(0, totalBytes - this.usedBytes) };
    });
  }

  #inode(path: string): SimInode {
    const inode = this.#names.get(path);
    if (inode === undefined) throw systemError("ENOENT", path);
    return inode;
  }

  #change(path: string, apply: NameChange): void {
    apply(this.#names);
    this.#nameChanges.push({ folder: parentOf(path), apply });
  }

  #delayMs(): number {
    const share = this.#random.u32() / 0x1_0000_0000;
    return this.#random.chance(this.#faults.slowCalls ?? 0) ? share * 50 : share;
  }

  /** Runs `complete` later, unless the machine dies before. */
  #later(complete: () => void): void {
    this.#options.schedule(this.#delayMs(), () => {
      if (!this.#isDead) complete();
    });
  }

  #call<T>(run: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#later(() => {
        try {
          resolve(run());
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  #file(path: string, inode: SimInode): DiskFile {
    return {
      path,
      write: (buffers, offset, done) => this.#write({ path, inode, offset, bytes: Buffer.concat(buffers) }, done),
      sync: (done) => this.#sync(path, inode, done),
      read: (target, offset) =>
        this.#call(() => {
          this.calls.reads += 1;
          return inode.content.copy(target, 0, Math.min(offset, inode.content.length));
        }),
      size: () => this.#call(() => inode.content.length),
      truncate: (sizeBytes) =>
        this.#call(() => {
          // Durable at once: the log never relies on a truncation being lost.
          inode.content = Buffer.from(inode.content.subarray(0, sizeBytes));
          inode.durable = Buffer.from(inode.durable.subarray(0, sizeBytes));
        }),
      close: () => this.#call(() => undefined),
    };
  }

  #write(write: UnsyncedWrite & { path: string; inode: SimInode }, done: DiskDone): void {
    const { path, inode, offset, bytes } = write;
    if (this.#isDead) return;
    inode.inFlight.add(write);
    this.#later(() => {
      inode.inFlight.delete(write);
      this.calls.writes += 1;
      const grownBytes = Math.max(0, offset + bytes.length - inode.content.length);
      if (this.#random.chance(this.#faults.writeErrors ?? 0)) {
        done(systemError("EIO", path));
      } else if (grownBytes > 0 && this.usedBytes + grownBytes > this.#capacityBytes) {
        done(systemError("ENOSPC", path));
      } else {
        this.calls.writtenBytes += bytes.length;
        inode.content = overlay(inode.content, offset, bytes);
        inode.unsynced.push({ offset, bytes });
        done(null);
      }
    });
  }

  #sync(path: string, inode: SimInode, done: DiskDone): void {
    // Writes that complete while the sync runs are not covered by it.
    const covered = inode.unsynced.length;
    this.#later(() => {
      this.calls.syncs += 1;
      const writes = inode.unsynced.splice(0, covered);
      if (this.#random.chance(this.#faults.syncErrors ?? 0)) {
        for (const { offset, bytes } of writes) {
          if (this.#random.chance(0.5)) inode.durable = overlay(inode.durable, offset, bytes);
        }
        done(systemError("EIO", path));
        return;
      }
      for (const { offset, bytes } of writes) inode.durable = overlay(inode.durable, offset, bytes);
      done(null);
    });
  }

  /** An empty disk that goes on with this one's settings; this one is dead. */
  #successor(): SimDisk {
    this.#isDead = true;
    const capacityBytes = this.#capacityBytes;
    return new SimDisk({ ...this.#options, random: this.#random.fork(), faults: this.#faults, capacityBytes });
  }

  /** The durable bytes and whatever part of the rest happened to reach the platter. */
  #survivingContent(inode: SimInode): Buffer {
    let content: Buffer = Buffer.from(inode.durable);
    const blocks = new Map<number, UnsyncedWrite[]>();
    for (const write of [...inode.unsynced, ...inode.inFlight]) {
      for (const piece of piecesOf(write)) {
        const block = Math.floor(piece.offset / BLOCK_BYTES);
        const pieces = blocks.get(block) ?? [];
        pieces.push(piece);
        blocks.set(block, pieces);
      }
    }
    for (const pieces of blocks.values()) {
      const kept = this.#random.below(pieces.length + 1);
      for (const [index, piece] of pieces.slice(0, kept).entries()) {
        const isTorn = index === kept - 1 && this.#random.chance(0.2);
        content = overlay(content, piece.offset, isTorn ? this.#torn(piece) : piece.bytes);
      }
    }
    return content;
  }

  /** A piece that stops at a sector boundary of the file. */
  #torn({ offset, bytes }: UnsyncedWrite): Buffer {
    const end = (Math.floor(offset / SECTOR_BYTES) + this.#random.below(BLOCK_BYTES / SECTOR_BYTES)) * SECTOR_BYTES;
    return bytes.subarray(0, Math.max(0, Math.min(bytes.length, end - offset)));
  }
}

/** A file whose folder was lost is lost too. */
function isReachable(names: Names, path: string): boolean {
  const folder = parentOf(path);
  return folder === "." || folder === "/" || (names.has(folder) && isReachable(names, folder));
}

/** The parts of a write by 4 KiB block of the file. */
function piecesOf({ offset, bytes }: UnsyncedWrite): UnsyncedWrite[] {
  const pieces: UnsyncedWrite[] = [];
  let at = 0;
  while (at < bytes.length) {
    const size = Math.min(bytes.length - at, BLOCK_BYTES - ((offset + at) % BLOCK_BYTES));
    pieces.push({ offset: offset + at, bytes: bytes.subarray(at, at + size) });
    at += size;
  }
  return pieces;
}
