// What is done with a data folder while no broker runs on it. Each takes the folder's lock, so that it never
// meets a broker.

import { type BackupReport, restoreBackup } from "./log/local/backup.ts";
import { lockDataFolder } from "./runtime/data-lock.ts";
import { createNodeClock } from "./runtime/node-clock.ts";
import { createNodeDisk } from "./runtime/node-disk.ts";
import { createNodeRandom } from "./runtime/node-random.ts";

/** Runs `work` while the folder is locked. Throws DataLockedError. */
async function withLock<T>(data: string, work: () => Promise<T>): Promise<T> {
  const lock = await lockDataFolder(data, createNodeClock(), createNodeRandom());
  try {
    return await work();
  } finally {
    await lock.release();
  }
}

/** Fills an empty data folder from a backup. Throws StorageError, DataLockedError. */
export function restoreData(backup: string, data: string): Promise<BackupReport> {
  return withLock(data, () => restoreBackup(createNodeDisk(), backup, data));
}
