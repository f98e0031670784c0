// npm run lint: oxlint with the rules that need types.

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { prepare, root } from "./prepare.mjs";

await prepare();
const oxlint = join(root, "node_modules", "oxlint", "bin", "oxlint");
const { status } = spawnSync(process.execPath, [oxlint, "--type-aware", "--deny-warnings", ...process.argv.slice(2)], {
  cwd: root,
  stdio: "inherit",
});
process.exitCode = status ?? 1;
