// Lists the compiled tests and runs them with node's own test runner. A lister of our own, because the
// runner's way to take patterns and folders differs between the Node versions that are supported.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { root } from "./prepare.mjs";

const FILE_CONCURRENCY = 2;
/** One test file may take this long, ms; a hanging one must not hang the suite. */
const TIMEOUT_MS = 540_000;

/** Paths of the compiled tests whose path contains one of `parts` (all when empty), sorted. */
export function listTests(parts) {
  const found = [];
  const walk = (folder) => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) walk(path);
      else if (entry.name.endsWith(".test.js")) found.push(path);
    }
  };
  if (existsSync(join(root, "dist/test"))) walk("dist/test");
  return found.filter((path) => parts.length === 0 || parts.some((part) => path.includes(part))).sort();
}

/** Runs them; resolves with the exit code. */
export async function runTests({ parts, env }) {
  const files = listTests(parts);
  if (files.length === 0) {
    console.error(parts.length === 0 ? "no test found under dist/test" : `no test matches ${parts.join(", ")}`);
    return 1;
  }
  mkdirSync(join(root, ".build"), { recursive: true });
  const summaryPath = join(root, ".build", `test-summary-${process.pid}.json`);
  const code = await runNode(testArguments(files, summaryPath), { ...env, QUAYSIDE_PREPARED: "1" });
  const summary = existsSync(summaryPath) ? JSON.parse(readFileSync(summaryPath, "utf8")) : undefined;
  rmSync(summaryPath, { force: true });
  if (summary === undefined) {
    console.error("the test runner ended without a summary");
    return 1;
  }
  for (const line of summary.skips) console.log(line);
  for (const line of summary.failures) console.log(`failed: ${line}`);
  console.log(`${summary.passed} passed, ${summary.failed} failed, ${summary.skips.length} skipped`);
  return code === 0 && summary.failed === 0 && summary.passed > 0 ? 0 : 1;
}

function testArguments(files, summaryPath) {
  return [
    "--enable-source-maps",
    "--test",
    `--test-concurrency=${FILE_CONCURRENCY}`,
    `--test-timeout=${TIMEOUT_MS}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    `--test-reporter=${join(root, "scripts", "test-summary.mjs")}`,
    `--test-reporter-destination=${summaryPath}`,
    ...files,
  ];
}

function runNode(args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"], env });
    const stop = (signal) => child.kill(signal);
    process.once("SIGTERM", stop).once("SIGINT", stop);
    child.once("error", reject);
    child.once("close", (code) => {
      process.off("SIGTERM", stop).off("SIGINT", stop);
      resolve(code ?? 1);
    });
  });
}
