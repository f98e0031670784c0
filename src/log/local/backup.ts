// An online copy of the logs: everything that was durable when it began. Logs that are being written are held
// (hold.ts), all in one go; finished ones (snapshots of the index) are opened at once, so that they can be read
// even when they are deleted meanwhile. The copy is made in small steps and synced; its manifest comes last,
// so that a copy that was cut off is never taken for a whole one.
//
//   BACKUP/backup.json     {"format":1, "version", "time", "files":[{"path","bytes","crc"}]}
//   BACKUP/logs/...        as in a data folder, without what was free

import { crc32 } from "node:zlib";
import { StorageError } from "../../model/errors.ts";
import type { Disk, DiskFile } from "../../ports/disk.ts";
import type { BackupReport } from "./backup-report.ts";
import { syncFile, writeFile } from "./file-io.ts";
import type { LogHold } from "./hold.ts";
import { MARKER_NAME } from "./marker.ts";

export const MANIFEST_NAME = "backup.json";
const DRAFT_NAME = "backup.new";
const FORMAT = 1;
const PIECE_BYTES = 1024 * 1024;
/** Freshly made snapshots may replace those that were about to be copied; that does not happen many times in a row. */
const TRIES_MAX = 10;

export interface BackupSource {
  readonly disk: Disk;
  /** The folder of all logs. */
  readonly root: string;
  /**
   * Holds the logs that are being written and names the finished ones that belong to them. Synchronous.
   */
  readonly holdAll: () => { readonly holds: readonly LogHold[]; readonly finished: readonly string[] };
  readonly version: string;
  readonly wallMs: number;
}

interface ManifestFile {
  /** Below the backup's folder. */
  readonly path: string;
  readonly bytes: number;
  readonly crc: number;
}

export interface Manifest {
  readonly format: number;
  readonly version: string;
  readonly time: string;
  readonly files: readonly ManifestFile[];
}

/** A file to copy: the whole of it when `bytes` is undefined. */
interface Piece {
  readonly file: DiskFile;
  readonly bytes: number | undefined;
  readonly path: string;
}

/**
 * Copies the logs to `target`, which must be missing or empty. Durable when it resolves. Throws StorageError
 * "closed" when there is something in it, or the system's error.
 */
export async function backUp(source: BackupSource, target: string): Promise<BackupReport> {
  const { disk, root, version, wallMs } = source;
  await refuseUsed(disk, target);
  await disk.makeDir(`${target}/logs`);
  const { holds, pieces } = await holdAndOpen(source);
  try {
    const files: ManifestFile[] = [];
    for (const piece of pieces) files.push(await copyPiece(disk, piece, root, target));
    const manifest: Manifest = { format: FORMAT, version, time: new Date(wallMs).toISOString(), files };
    await writeManifest(disk, target, manifest);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    return { logs: files.filter(({ path }) => path.endsWith(`/${MARKER_NAME}`)).length, files: files.length, bytes };
  } finally {
    for (const hold of holds) hold.release();
    for (const { file } of pieces) await file.close();
  }
}

async function refuseUsed(disk: Disk, target: string): Promise<void> {
  if ((await disk.list(target)).length === 0) return;
  throw new StorageError("closed", `${target} is not empty: a backup goes into a folder of its own`);
}

async function holdAndOpen(source: BackupSource): Promise<{ holds: readonly LogHold[]; pieces: Piece[] }> {
  const { disk, root, holdAll } = source;
  for (let attempt = 1; ; attempt++) {
    const { holds, finished } = holdAll();
    const pieces: Piece[] = [];
    try {
      for (const { folder, files } of holds) {
        pieces.push(await open(disk, `${folder}/${MARKER_NAME}`, undefined));
        for (const { path, bytes } of files) pieces.push(await open(disk, path, bytes));
      }
      for (const id of finished) {
        const names = (await disk.list(`${root}/${id}`)).filter((name) => name.includes("."));
        if (!names.includes(MARKER_NAME)) throw Object.assign(new Error(`${id} is gone`), { code: "ENOENT" });
        for (const name of names) pieces.push(await open(disk, `${root}/${id}/${name}`, undefined));
      }
      return { holds, pieces };
    } catch (error) {
      for (const hold of holds) hold.release();
      for (const { file } of pieces) await file.close();
      // A newer snapshot has replaced the one that was to be copied: begin again with that.
      if (!isMissing(error) || attempt === TRIES_MAX) throw error;
    }
  }
}

async function open(disk: Disk, path: string, bytes: number | undefined): Promise<Piece> {
  return { file: await disk.open(path, "read"), bytes, path };
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

async function copyPiece(disk: Disk, { file, bytes, path }: Piece, root: string, target: string) {
  const name = `logs/${path.slice(root.length + 1)}`;
  const made = await copyFile(disk, { from: file, to: `${target}/${name}`, bytes: bytes ?? (await file.size()) });
  return { path: name, ...made };
}

/** Copies the first `bytes` of a file and syncs the copy; returns its size and checksum. */
export async function copyFile(
  disk: Disk,
  { from, to, bytes }: { readonly from: DiskFile; readonly to: string; readonly bytes: number },
): Promise<{ bytes: number; crc: number }> {
  const folder = to.slice(0, to.lastIndexOf("/"));
  await disk.makeDir(folder);
  const copy = await disk.open(to, "create");
  try {
    const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, Math.max(bytes, 1)));
    let [at, crc] = [0, 0];
    while (at < bytes) {
      const read = await from.read(piece.subarray(0, Math.min(piece.length, bytes - at)), at);
      if (read === 0) break;
      await writeFile(copy, piece.subarray(0, read), at);
      crc = crc32(piece.subarray(0, read), crc);
      at += read;
    }
    await syncFile(copy);
    await syncUp(disk, folder);
    return { bytes: at, crc };
  } finally {
    await copy.close();
  }
}

/** The folder's names are durable, and its own name in its parent. */
async function syncUp(disk: Disk, folder: string): Promise<void> {
  await disk.syncDir(folder);
  const slash = folder.lastIndexOf("/");
  if (slash > 0) await disk.syncDir(folder.slice(0, slash));
}

async function writeManifest(disk: Disk, target: string, manifest: Manifest): Promise<void> {
  const draft = await disk.open(`${target}/${DRAFT_NAME}`, "create");
  try {
    await writeFile(draft, Buffer.from(`${JSON.stringify(manifest, undefined, 1)}\n`), 0);
    await syncFile(draft);
  } finally {
    await draft.close();
  }
  await disk.rename(`${target}/${DRAFT_NAME}`, `${target}/${MANIFEST_NAME}`);
  await syncUp(disk, target);
}

/** Throws StorageError "damaged" when the folder holds no whole backup. */
export async function readManifest(disk: Disk, backup: string): Promise<Manifest> {
  const path = `${backup}/${MANIFEST_NAME}`;
  if (!(await disk.list(backup)).includes(MANIFEST_NAME)) {
    throw new StorageError("damaged", `${backup} holds no whole backup: there is no ${MANIFEST_NAME}`);
  }
  const file = await disk.open(path, "read");
  try {
    const bytes = Buffer.alloc(await file.size());
    await file.read(bytes, 0);
    const manifest = JSON.parse(bytes.toString("utf8")) as Manifest;
    if (manifest.format === FORMAT && Array.isArray(manifest.files)) return manifest;
    throw new StorageError("damaged", `${path} has format ${manifest.format}, and this version reads ${FORMAT}`);
  } catch (error) {
    if (error instanceof StorageError) throw error;
    throw new StorageError("damaged", `${path} cannot be read`, { cause: error });
  } finally {
    await file.close();
  }
}

/**
 * Copies a backup to an empty data folder, comparing every file with the manifest. The logs get their place
 * when all of them are there. Durable when it resolves. Throws StorageError "damaged" when a file is missing or
 * different.
 */
export async function restoreBackup(disk: Disk, backup: string, data: string): Promise<BackupReport> {
  const { files } = await readManifest(disk, backup);
  const [draft, place] = [`${data}/logs-restoring`, `${data}/logs`];
  for (const folder of [draft, place]) {
    if ((await disk.list(folder)).length === 0) continue;
    throw new StorageError("closed", `${folder} is not empty: restore into a folder of its own`);
  }
  let bytes = 0;
  for (const { path, bytes: expected, crc } of files) {
    if (!/^logs\/[a-z0-9_/-]+\.(json|seg)$/.test(path)) {
      throw new StorageError("damaged", `${backup}/${MANIFEST_NAME} names ${path}, which is no file of a backup`);
    }
    const file = await disk.open(`${backup}/${path}`, "read");
    try {
      const made = await copyFile(disk, { from: file, to: `${draft}/${path.slice("logs/".length)}`, bytes: expected });
      if (made.bytes !== expected || made.crc !== crc) {
        throw new StorageError("damaged", `${backup}/${path} is not what was backed up: size or checksum differ`);
      }
      bytes += made.bytes;
    } finally {
      await file.close();
    }
  }
  await disk.rename(draft, place);
  await disk.syncDir(data);
  return { logs: files.filter(({ path }) => path.endsWith(`/${MARKER_NAME}`)).length, files: files.length, bytes };
}
