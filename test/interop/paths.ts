// Where the repository's own files are, whatever folder the compiled tests run from.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

function findRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error("no package.json above the tests");
    folder = parent;
  }
  return folder;
}

export const ROOT = findRoot();

/** The folder that holds the compiled `src/` and `test/` that this run belongs to. */
export const BUILD = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** Absolute path of a source file, which the compiler does not copy. */
export function sourceFile(path: string): string {
  return join(ROOT, path);
}
