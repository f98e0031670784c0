// Where the repository is, seen from a compiled test: <root>/dist/test/..., or another output folder.

import { fileURLToPath } from "node:url";

/** The root folder; `url` is the `import.meta.url` of a test. Throws outside a checkout. */
export function repositoryRoot(url: string): string {
  const path = fileURLToPath(url).replaceAll("\\", "/");
  const root = /^(.*?)\/(dist|\.build\/[^/]+)\/test\//.exec(path)?.[1];
  if (root === undefined) throw new Error(`${path} is no place for compiled tests`);
  return root;
}
