// What the disk's errors mean for a log.

import { InvariantError } from "../../assert.ts";
import { StorageError } from "../../model/errors.ts";
import { LogFormatError } from "./segment-format.ts";

/** ENOSPC: no space; EDQUOT: no quota. */
export function isFull(error: unknown): boolean {
  if (error instanceof StorageError) return error.kind === "full";
  return error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
}

/** The StorageError for a failed disk call. `doing` completes "could not ...". Bugs are thrown on. */
export function asStorageError(error: unknown, doing: string): StorageError {
  if (error instanceof StorageError) return error;
  if (error instanceof InvariantError || error instanceof LogFormatError) throw error;
  const reason = error instanceof Error ? error.message : String(error);
  return new StorageError(isFull(error) ? "full" : "io", `could not ${doing}: ${reason}`, { cause: error });
}
