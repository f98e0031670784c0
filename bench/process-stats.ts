// Processor time and memory of a server's whole process tree, and what its disk takes, from /proc and
// /sys (Linux).

import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** USER_HZ: fixed at 100 on the Linux platforms that Node supports. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

interface StatFields {
  readonly parent: number;
  readonly cpuS: number;
  readonly rssBytes: number;
}

/** proc(5) stat: the command may hold spaces, so fields count from the last closing parenthesis. */
function readStat(pid: number): StatFields | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const field = (index: number): number => Number(fields[index]);
  return {
    parent: field(1),
    cpuS: (field(11) + field(12) + field(13) + field(14)) / TICKS_PER_SECOND,
    rssBytes: field(21) * PAGE_BYTES,
  };
}

function isGone(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ESRCH";
}

function treeOf(root: number): StatFields[] {
  const stats = new Map<number, StatFields>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    const stat = Number.isInteger(pid) ? readStat(pid) : undefined;
    if (stat !== undefined) stats.set(pid, stat);
  }
  const inTree = (pid: number): boolean => {
    for (let at = pid; at > 1; at = stats.get(at)?.parent ?? 0) if (at === root) return true;
    return false;
  };
  return [...stats].filter(([pid]) => inTree(pid)).map(([, stat]) => stat);
}

export interface TreeStats {
  /** User and system time of all processes and of the children they have reaped. */
  readonly cpuS: number;
  readonly rssBytes: number;
  readonly processes: number;
}

export function treeStats(rootPid: number): TreeStats {
  const tree = treeOf(rootPid);
  return {
    cpuS: tree.reduce((sum, stat) => sum + stat.cpuS, 0),
    rssBytes: tree.reduce((sum, stat) => sum + stat.rssBytes, 0),
    processes: tree.length,
  };
}

/** Linux counts in sectors of 512 bytes, whatever the device's own block is. */
const SECTOR_BYTES = 512;
/** Sectors written: the seventh field of /sys/dev/block/MAJOR:MINOR/stat. */
const SECTORS_WRITTEN_FIELD = 6;

/**
 * Bytes written to the block device that holds `folder`, by anybody: measure on a quiet machine. The
 * per-process count (write_bytes of /proc/PID/io) would be no use: it counts a whole page cache folio,
 * up to megabytes, each time a few bytes of it become dirty. Throws when the folder is on no block device.
 */
export function deviceWrittenBytes(folder: string): number {
  const { dev } = statSync(folder);
  const major = (dev >>> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  const fields = readFileSync(`/sys/dev/block/${major}:${minor}/stat`, "latin1").trim().split(/\s+/);
  return Number(fields[SECTORS_WRITTEN_FIELD]) * SECTOR_BYTES;
}

/** Disk blocks used by a folder, as du counts them. Files may vanish meanwhile. */
export function diskUseBytes(folder: string): number {
  let total = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const stat = statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false });
    total += (stat?.blocks ?? 0) * SECTOR_BYTES;
  }
  return total;
}
