// npm test [-- PART...]: prepares, then runs every compiled test whose path contains one of PART (all
// when none is given). Finding no test is a failure. The last line is "N passed, N failed, N skipped".

import { prepare } from "./prepare.mjs";
import { runTests } from "./test-run.mjs";

await prepare();
process.exitCode = await runTests({ parts: process.argv.slice(2), env: process.env });
