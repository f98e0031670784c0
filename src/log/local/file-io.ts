// Disk callbacks as promises, for the rare steps that are not commits.

import type { DiskFile } from "../../ports/disk.ts";

export function writeFile(file: DiskFile, bytes: Uint8Array, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    file.write([bytes], offset, (error) => (error === null ? resolve() : reject(error)));
  });
}

export function syncFile(file: DiskFile): Promise<void> {
  return new Promise((resolve, reject) => {
    file.sync((error) => (error === null ? resolve() : reject(error)));
  });
}
