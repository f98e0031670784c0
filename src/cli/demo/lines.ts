// The demo's input: lines of real log files, each with an id that names its place.

import { closeSync, existsSync, openSync, readFileSync, readSync, readdirSync, statSync } from "node:fs";
import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** One line on its way through the pipeline. `id` is unique in a run: "auth.log:17". */
export interface Line {
  readonly id: string;
  readonly text: string;
}

/** Bounds of one run. */
export const INPUT_LIMITS = { linesMax: 100_000, fileBytesMax: 64 * 1024 * 1024, sampleLinesMin: 2_000 } as const;

const SYSTEM_LOGS = "/var/log";
const SAMPLE = "examples/log-pipeline/sample.log";
const LOOKED_AT_BYTES = 4096;

/** What a worker compares a line with after the journey. */
export function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}

/** Readable, not compressed, not binary. */
function isTextFile(path: string): boolean {
  let file: number | undefined;
  try {
    const { size } = statSync(path);
    if (!statSync(path).isFile() || size === 0 || size > INPUT_LIMITS.fileBytesMax) return false;
    file = openSync(path, "r");
    const head = Buffer.alloc(LOOKED_AT_BYTES);
    const length = readSync(file, head, 0, LOOKED_AT_BYTES, 0);
    return !head.subarray(0, length).includes(0) && !(head[0] === 0x1f && head[1] === 0x8b);
  } catch {
    return false; // not ours to read
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/** The text files of the system's log folder, largest first; [] when there are none. */
function systemLogs(): string[] {
  try {
    const paths = readdirSync(SYSTEM_LOGS)
      .map((name) => join(SYSTEM_LOGS, name))
      .filter(isTextFile);
    return paths.sort((a, b) => statSync(b).size - statSync(a).size);
  } catch {
    return [];
  }
}

function linesOf(path: string, name: string, room: number): Line[] {
  const texts = readFileSync(path, "utf8").split("\n");
  if (texts.at(-1) === "") texts.pop();
  return texts.slice(0, room).map((text, index) => ({ id: `${name}:${index + 1}`, text }));
}

/** The sample lies beside the build, in a checkout as in an installed package. Throws when it is not there. */
function samplePath(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, SAMPLE)) && folder !== dirname(folder)) folder = dirname(folder);
  return join(folder, SAMPLE);
}

/** The bundled log, repeated until there is enough to see something. */
function sampleLines(): Line[] {
  const texts = readFileSync(samplePath(), "utf8").trimEnd().split("\n");
  const lines: Line[] = [];
  while (lines.length < INPUT_LIMITS.sampleLinesMin) {
    for (const text of texts) lines.push({ id: `sample.log:${lines.length + 1}`, text });
  }
  return lines;
}

export interface Input {
  readonly lines: readonly Line[];
  readonly sources: readonly string[];
}

/** @param files named by the user; none: the system's logs, or the bundled one when there are none */
export function readInput(files: readonly string[]): Input {
  const paths = files.length > 0 ? files : systemLogs();
  const lines: Line[] = [];
  const sources: string[] = [];
  const names = new Set<string>();
  for (const path of paths) {
    const room = INPUT_LIMITS.linesMax - lines.length;
    if (room <= 0) break;
    // Two files of the same name in different folders stay apart by their whole path.
    const name = names.has(basename(path)) ? path : basename(path);
    names.add(name);
    lines.push(...linesOf(path, name, room));
    sources.push(path);
  }
  if (lines.length > 0 || files.length > 0) return { lines, sources };
  return { lines: sampleLines(), sources: ["the bundled sample.log"] };
}
