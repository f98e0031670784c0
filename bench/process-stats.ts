// Processor time, memory and bytes written of a server's whole process tree, from /proc (Linux).

import { readFileSync, readdirSync } from "node:fs";
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

/** Bytes that the process has sent towards the disk (write_bytes of /proc/PID/io). */
export function writtenBytes(pid: number): number {
  const match = /^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"));
  if (match === null) throw new Error(`no write_bytes for process ${pid}`);
  return Number(match[1]);
}

/** Disk blocks used by a folder, as du counts them. */
export function diskUseBytes(folder: string, blocksOf: (path: string) => number): number {
  let total = 0;
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) total += blocksOf(join(entry.parentPath, entry.name)) * 512;
  }
  return total;
}
