// Small files that are read whole at start: config, certificates.

import { readFileSync } from "node:fs";

/** Throws the system's error (code ENOENT, EACCES, EISDIR). */
export function readTextFile(path: string): string {
  return readFileSync(path, "utf8");
}
