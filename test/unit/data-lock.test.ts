// The data folder lock, with real processes: the kernel is part of what is tested.

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { DataLockedError, lockDataFolder } from "../../src/runtime/data-lock.ts";
import { createNodeClock } from "../../src/runtime/node-clock.ts";
import { createNodeRandom } from "../../src/runtime/node-random.ts";

const clock = createNodeClock();
const random = createNodeRandom();
const root = mkdtempSync(join(tmpdir(), "quayside-lock-"));
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(root, { recursive: true, force: true });
});

const STARTER = `
  const at = (path) => import(new URL(path, ${JSON.stringify(import.meta.url)}));
  const { lockDataFolder } = await at("../../src/runtime/data-lock.js");
  const { createNodeClock } = await at("../../src/runtime/node-clock.js");
  const { createNodeRandom } = await at("../../src/runtime/node-random.js");
  try {
    await lockDataFolder(process.argv[1], createNodeClock(), createNodeRandom());
    console.log("locked");
    setInterval(() => {}, 1000);
  } catch (error) {
    console.log(error.pid === undefined ? error.stack : "refused " + error.pid);
  }
`;

/** Starts a process that takes the lock; resolves with its first line. */
async function starter(folder: string): Promise<{ child: ChildProcess; line: string }> {
  const child = spawn(process.execPath, ["--input-type=module", "-e", STARTER, folder], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const [line] = (await once(createInterface(child.stdout!), "line")) as [string];
  return { child, line };
}

async function killed(child: ChildProcess): Promise<void> {
  const gone = once(child, "exit");
  child.kill("SIGKILL");
  await gone;
}

/** A socket as a killed process leaves it: bound, and nobody listens. */
async function leaveStaleSocket(folder: string, name: string): Promise<void> {
  const lockFolder = join(folder, "lock");
  mkdirSync(lockFolder, { recursive: true });
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(join(lockFolder, "made"), resolve));
  renameSync(join(lockFolder, "made"), join(lockFolder, name));
  await new Promise((resolve) => server.close(resolve));
}

test("a second process is refused with the owner's pid, and gets the folder after kill -9 of the owner", async () => {
  const folder = join(root, "two");
  const first = await starter(folder);
  assert.equal(first.line, "locked");
  const second = await starter(folder);
  assert.equal(second.line, `refused ${first.child.pid}`);
  await killed(first.child);
  const third = await starter(folder);
  assert.equal(third.line, "locked");
  await killed(third.child);
});

test("a stopped owner that cannot answer keeps its folder", async () => {
  const folder = join(root, "stopped");
  const owner = await starter(folder);
  owner.child.kill("SIGSTOP");
  await assert.rejects(lockDataFolder(folder, clock, random), (error: unknown) => {
    return error instanceof DataLockedError && error.pid === undefined;
  });
  await killed(owner.child);
});

test("sockets left by dead processes do not count and are removed, whatever pid their owner had", async () => {
  const folder = join(root, "stale");
  for (const name of ["0000000000000000.sock", "ffffffffffffffff.sock"]) await leaveStaleSocket(folder, name);
  const lock = await lockDataFolder(folder, clock, random);
  assert.equal(readdirSync(join(folder, "lock")).length, 1);
  await lock.release();
  assert.deepEqual(readdirSync(join(folder, "lock")), []);
});

test("of ten starters at the same moment exactly one gets the folder", async () => {
  const folder = join(root, "ten");
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => lockDataFolder(folder, clock, random)));
  const locks = results.filter((result) => result.status === "fulfilled");
  for (const lock of locks) await lock.value.release();
  assert.equal(locks.length, 1);
});

test("of six processes at the same moment exactly one gets the folder", async () => {
  const folder = join(root, "six");
  const starters = await Promise.all(Array.from({ length: 6 }, () => starter(folder)));
  const winners = starters.filter(({ line }) => line === "locked");
  assert.equal(winners.length, 1);
  for (const { line } of starters) if (line !== "locked") assert.equal(line, `refused ${winners[0]?.child.pid}`);
  await killed(winners[0]!.child);
});

test("a folder whose path is longer than a socket address can be locked", {
  skip: process.platform !== "linux" && "skipped: needs Linux",
}, async () => {
  const folder = join(root, "long".repeat(40), "long".repeat(40));
  const lock = await lockDataFolder(folder, clock, random);
  await assert.rejects(lockDataFolder(folder, clock, random), DataLockedError);
  await lock.release();
  await (await lockDataFolder(folder, clock, random)).release();
});
