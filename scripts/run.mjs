// node scripts/run.mjs PROGRAM [arguments]: prepares the checkout, then runs dist/PROGRAM in this process.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { prepare, root } from "./prepare.mjs";

await prepare();
const program = join(root, "dist", process.argv[2]);
if (!existsSync(program)) {
  console.error(`quayside: there is no program ${process.argv[2]} in this checkout`);
  process.exit(1);
}
// The program sees its own path and arguments, as if node had been started with it.
process.argv.splice(1, 2, program);
await import(pathToFileURL(program).href);
