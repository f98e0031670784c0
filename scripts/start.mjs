// npm start: prepares the checkout, then runs the broker in this very process, so that a signal to npm
// reaches the broker. The time spent preparing is not counted in "ready in N ms".

import { performance } from "node:perf_hooks";
import { prepare } from "./prepare.mjs";

const before = performance.now();
await prepare();
const { startVerb } = await import("../dist/src/process.js");
process.exitCode = await startVerb(process.argv.slice(2), { uncountedMs: performance.now() - before });
