// Storage as the log sees it. runtime/ implements it on node:fs, the simulator on memory with faults.
// Hot operations (write, sync) take callbacks: one promise per commit is affordable, but a callback
// keeps the order of completions visible.

export type DiskDone = (error: Error | null) => void;

export interface DiskFile {
  readonly path: string;
  /** Writes all bytes of `buffers`, one after the other, from `offset`; done once, after the last. */
  write(buffers: readonly Uint8Array[], offset: number, done: DiskDone): void;
  /** fdatasync: earlier completed writes are durable when `done(null)` is called. Never retried. */
  sync(done: DiskDone): void;
  /** Reads up to target.length bytes; resolves with the number read (short only at end of file). */
  read(target: Uint8Array, offset: number): Promise<number>;
  size(): Promise<number>;
  truncate(sizeBytes: number): Promise<void>;
  close(): Promise<void>;
}

export interface DiskSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

export interface Disk {
  /** Creates the folder and its parents; durable after syncDir of the parent. */
  makeDir(path: string): Promise<void>;
  /** Names in the folder, sorted; empty when there is no such folder. */
  list(path: string): Promise<string[]>;
  /** "create" fails if the file exists; the others fail with code ENOENT if it does not. */
  open(path: string, mode: "create" | "read-write" | "read"): Promise<DiskFile>;
  /** Removes a file or an empty folder. */
  remove(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  /** Makes creations, removals and renames in the folder durable. */
  syncDir(path: string): Promise<void>;
  space(path: string): Promise<DiskSpace>;
}
