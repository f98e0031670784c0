// What is done with a data folder while no broker runs on it. Each takes the folder's lock, so that it never
// meets a broker.

import { restoreBackup } from "./log/local/backup.ts";
import type { BackupReport } from "./log/local/backup-report.ts";
import { openLocalLogStore } from "./log/local/store.ts";
import { verifyLog, type VerifiedLog } from "./log/local/verify.ts";
import { createSilentLogger } from "./runtime/console-logger.ts";
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

/** Reads and checks every entry of every log. Throws DataLockedError, the system's error. */
export function verifyData(data: string, onLog: (log: VerifiedLog) => void): Promise<void> {
  return withLock(data, async () => {
    const disk = createNodeDisk();
    const root = `${data}/logs`;
    const store = await openLocalLogStore({ disk, clock: createNodeClock(), logger: createSilentLogger(), root });
    for (const id of await store.list("")) onLog(await verifyLog(disk, { root, id }));
  });
}
