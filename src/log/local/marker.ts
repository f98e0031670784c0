// The marker makes a folder a log: `log.json` exists exactly while the log does. It is written under
// another name and renamed, and removed first, so that no crash leaves half a log that is listed.
// It holds the key that seeds the log's checksums: bytes of another log, or bytes that a client
// shaped like an entry, do not pass as entries of this one.

import { crc32 } from "node:zlib";
import { StorageError } from "../../model/errors.ts";
import type { Disk } from "../../ports/disk.ts";
import { syncFile, writeFile } from "./file-io.ts";
import { LogFormatError } from "./segment-format.ts";

export const MARKER_NAME = "log.json";
const DRAFT_NAME = "log.new";
const FORMAT = 1;
const BYTES_MAX = 4096;

function checksum(id: string, key: number): number {
  return crc32(`${FORMAT} ${id} ${key}`);
}

/** Makes the folder a log; durable but for the names above the folder. */
export async function writeMarker(disk: Disk, folder: string, id: string, key: number): Promise<void> {
  if ((await disk.list(folder)).includes(DRAFT_NAME)) await disk.remove(`${folder}/${DRAFT_NAME}`);
  const file = await disk.open(`${folder}/${DRAFT_NAME}`, "create");
  try {
    await writeFile(file, Buffer.from(`${JSON.stringify({ format: FORMAT, id, key, crc: checksum(id, key) })}\n`), 0);
    await syncFile(file);
  } finally {
    await file.close();
  }
  await disk.rename(`${folder}/${DRAFT_NAME}`, `${folder}/${MARKER_NAME}`);
  await disk.syncDir(folder);
}

/** The key of the log. Throws StorageError "damaged" or "closed" (no such log), LogFormatError. */
export async function readMarker(disk: Disk, folder: string, id: string): Promise<number> {
  const path = `${folder}/${MARKER_NAME}`;
  if (!(await disk.list(folder)).includes(MARKER_NAME))
    throw new StorageError("closed", `there is no log ${id} (${path})`);
  const file = await disk.open(path, "read");
  try {
    const bytes = Buffer.alloc(BYTES_MAX);
    return parseMarker(bytes.toString("utf8", 0, await file.read(bytes, 0)), path, id);
  } finally {
    await file.close();
  }
}

function parseMarker(text: string, path: string, id: string): number {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new StorageError("damaged", `${path} is damaged: it is not JSON`, { cause: error });
  }
  if (typeof parsed === "object" && parsed !== null && "format" in parsed && typeof parsed.format === "number") {
    if (parsed.format > FORMAT) throw new LogFormatError(path, parsed.format, FORMAT);
    if ("id" in parsed && "key" in parsed && "crc" in parsed && typeof parsed.key === "number" && parsed.id === id) {
      if (parsed.crc === checksum(id, parsed.key)) return parsed.key;
    }
  }
  throw new StorageError("damaged", `${path} is damaged: it does not describe log ${id}`);
}
