// The proof: every line that was read is in the workers' files, unchanged. It looks at the files alone, not
// at what anybody said along the way.

import { readFileSync } from "node:fs";
import { type Line, digestOf } from "./lines.ts";
import type { StoredLine } from "./transform.ts";

export interface Duplicate {
  readonly id: string;
  readonly times: number;
  /** The later copies were marked as redelivered, or the publisher sent the line again. */
  readonly explained: boolean;
}

export interface Proof {
  readonly stored: number;
  readonly missing: readonly string[];
  readonly damaged: readonly string[];
  readonly duplicates: readonly Duplicate[];
}

/** A file's whole lines; half a line at the end is what a killed worker left and never acked. */
function storedLines(path: string): StoredLine[] {
  const content = readFileSync(path, "utf8");
  const whole = content.slice(0, content.lastIndexOf("\n") + 1);
  return whole
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as StoredLine);
}

/** @param sentAgain ids that the publisher sent more than once */
export function prove(lines: readonly Line[], files: readonly string[], sentAgain: ReadonlySet<string>): Proof {
  const copies = new Map<string, StoredLine[]>();
  for (const file of files) {
    for (const stored of storedLines(file)) {
      const known = copies.get(stored.id);
      if (known === undefined) copies.set(stored.id, [stored]);
      else known.push(stored);
    }
  }
  const missing: string[] = [];
  const damaged: string[] = [];
  const duplicates: Duplicate[] = [];
  for (const { id, text } of lines) {
    const found = copies.get(id) ?? [];
    if (found.length === 0) missing.push(id);
    if (found.some(({ digest, text: kept }) => digest !== digestOf(text) || kept !== text)) damaged.push(id);
    if (found.length > 1) {
      const firsts = found.filter(({ redelivered }) => !redelivered).length;
      duplicates.push({ id, times: found.length, explained: firsts <= 1 || sentAgain.has(id) });
    }
  }
  return { stored: lines.length - missing.length, missing, damaged, duplicates };
}
