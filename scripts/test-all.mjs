// npm run test:all: installs the peers that some tests compare with (Debian packages), then runs every
// test with QUAYSIDE_TEST_ALL=1, which makes a missing peer a failure, and the longer simulation and
// crash runs.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { prepare, root } from "./prepare.mjs";
import { runTests } from "./test-run.mjs";

const LONG_RUNS = [
  { program: "test/sim/main.js", args: ["--from", "1", "--seeds", "2000"] },
  { program: "test/crash/main.js", args: ["--cycles", "40"] },
];

installPeers();
await prepare();
const env = { ...process.env, QUAYSIDE_TEST_ALL: "1", FUZZ: "5" };
const codes = [await runTests({ parts: process.argv.slice(2), env })];
if (process.argv.length === 2) {
  for (const { program, args } of LONG_RUNS) codes.push(longRun(program, args));
}
process.exitCode = codes.every((code) => code === 0) ? 0 : 1;

function longRun(program, args) {
  const path = join(root, "dist", program);
  if (!existsSync(path)) {
    console.error(`quayside: ${program} is missing`);
    return 1;
  }
  console.log(`\n${program} ${args.join(" ")}`);
  const { status } = spawnSync(process.execPath, ["--enable-source-maps", path, ...args], {
    cwd: root,
    env,
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) console.error(`failed: ${program} ${args.join(" ")} (exit code ${status})`);
  return status ?? 1;
}

function installPeers() {
  const missing = [];
  if (!existsSync("/usr/sbin/rabbitmq-server") && !existsSync("/usr/lib/rabbitmq/bin/rabbitmq-server")) {
    missing.push("rabbitmq-server");
  }
  if (spawnSync("/usr/bin/python3", ["-c", "import pika"]).status !== 0) missing.push("python3-pika");
  if (!existsSync("/usr/bin/amqp-publish")) missing.push("amqp-tools");
  if (spawnSync("openssl", ["version"]).status !== 0) missing.push("openssl");
  if (missing.length === 0) return;
  console.log(`installing ${missing.join(", ")} (apt-get)`);
  const prefix = process.getuid?.() === 0 ? [] : ["sudo", "-n"];
  // RUNLEVEL=1 keeps the package from starting a server on the default ports.
  const aptEnv = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  for (const args of [
    ["update", "-q"],
    ["install", "-y", "-q", "--no-install-recommends", ...missing],
  ]) {
    const [command, ...rest] = [...prefix, "apt-get", ...args];
    const { status } = spawnSync(command, rest, { env: aptEnv, stdio: ["ignore", "inherit", "inherit"] });
    if (status !== 0) console.error(`apt-get ${args[0]} failed; the tests that need ${missing.join(", ")} will fail`);
  }
}
