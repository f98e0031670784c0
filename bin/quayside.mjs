#!/usr/bin/env node
// The command `quayside`, on the built broker. `quayside --help` lists what it can do.

import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const program = new URL("../dist/src/cli/quayside.js", import.meta.url);
if (!existsSync(fileURLToPath(program))) {
  console.error("quayside: this checkout is not built yet; run npm run build");
  process.exit(1);
}
await import(program.href);
