// Makes the checkout runnable: installed packages that match package-lock.json, and a dist/ built from
// the sources as they are now. Nothing is done twice: both steps are skipped when already true, and two
// programs that prepare at once wait for each other. dist/ is built beside and renamed, so that a failed
// or interrupted build never leaves half of one.

import { spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const SOURCE_FOLDERS = ["src", "test", "bench", "examples"];
const LOCK = join(root, ".build", "prepare.lock");
/** A holder touches its lock every second; one this old was left by a killed process. */
const LOCK_STALE_MS = 15_000;

/**
 * Installs and builds what is missing or out of date. Exits the process with a sentence when it cannot.
 * Tests set QUAYSIDE_PREPARED: what they start must not rebuild the very files that run.
 */
export async function prepare() {
  if (process.env.QUAYSIDE_PREPARED === "1") return;
  if (installed() && built()) return;
  const unlock = await lock();
  try {
    if (!installed()) await install();
    if (!built()) await build();
  } catch (error) {
    unlock();
    console.error(`quayside: ${error.message}`);
    process.exit(1);
  }
  unlock();
}

/** True when node_modules holds what package-lock.json asks for (npm's own record of it says so). */
function installed() {
  const record = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(record)) return false;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const present = JSON.parse(readFileSync(record, "utf8")).packages;
  for (const [path, entry] of Object.entries(wanted)) {
    if (path === "") continue;
    if (present[path] === undefined) {
      if (!entry.optional) return false;
    } else if (present[path].version !== entry.version || !existsSync(join(root, path))) {
      return false;
    }
  }
  return true;
}

async function install() {
  console.error("quayside: installing packages (npm ci) ...");
  const npm = process.env.npm_execpath;
  const args = ["ci", "--include=dev", "--no-audit", "--no-fund"];
  const code = npm?.endsWith("js") ? await run(process.execPath, [npm, ...args]) : await run("npm", args);
  if (code !== 0) throw new Error(`npm ci failed with exit code ${code}; is the package registry reachable?`);
}

/** A hash over everything that the build reads. */
function sourceStamp() {
  const hash = createHash("sha256");
  const addFile = (path) =>
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(root, path)))
      .update("\0");
  addFile("tsconfig.json");
  addFile("package-lock.json");
  const walk = (folder) => {
    const entries = readdirSync(join(root, folder), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) walk(path);
      else if (entry.name.endsWith(".ts")) addFile(path);
    }
  };
  for (const folder of SOURCE_FOLDERS) if (existsSync(join(root, folder))) walk(folder);
  return hash.digest("hex");
}

function built() {
  const stamp = join(root, "dist", ".stamp");
  return existsSync(stamp) && readFileSync(stamp, "utf8") === sourceStamp();
}

async function build() {
  const stamp = sourceStamp();
  for (const name of readdirSync(root)) {
    if (/^dist-(new|old)-/.test(name)) rmSync(join(root, name), { recursive: true, force: true });
  }
  const fresh = join(root, `dist-new-${process.pid}`);
  const old = join(root, `dist-old-${process.pid}`);
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  const code = await run(process.execPath, [tsc, "-p", root, "--outDir", fresh]);
  if (code !== 0) {
    rmSync(fresh, { recursive: true, force: true });
    throw new Error(`the build failed (tsc exit code ${code}); the messages above say where`);
  }
  writeFileSync(join(fresh, ".stamp"), stamp);
  if (existsSync(join(root, "dist"))) renameSync(join(root, "dist"), old);
  renameSync(fresh, join(root, "dist"));
  rmSync(old, { recursive: true, force: true });
}

/** Runs a program with its output on stderr, so that stdout belongs to what comes after. Ends with us. */
function run(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ["ignore", 2, 2] });
    const stop = () => {
      child.kill("SIGTERM");
      process.exit(143);
    };
    process.once("SIGTERM", stop).once("SIGINT", stop);
    child.once("error", reject);
    child.once("close", (code, signal) => {
      process.off("SIGTERM", stop).off("SIGINT", stop);
      resolve(code ?? signal);
    });
  });
}

/** Waits for the right to prepare; returns the function that gives it back. */
async function lock() {
  mkdirSync(dirname(LOCK), { recursive: true });
  const token = JSON.stringify({ pid: process.pid, id: randomUUID() });
  let told = false;
  for (;;) {
    try {
      writeFileSync(LOCK, token, { flag: "wx" });
      break;
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    if (breakStaleLock()) continue;
    if (!told) console.error("quayside: another process is preparing this checkout; waiting for it ...");
    told = true;
    await delay(100);
  }
  const touch = setInterval(() => utimesSync(LOCK, new Date(), new Date()), 1000);
  return () => {
    clearInterval(touch);
    rmSync(LOCK, { force: true });
  };
}

/** Removes the lock of a process that is gone. True when the caller should try again at once. */
function breakStaleLock() {
  let seen;
  try {
    seen = readFileSync(LOCK, "utf8");
    const age = Date.now() - statSync(LOCK).mtimeMs;
    if (age < LOCK_STALE_MS && (seen === "" || alive(JSON.parse(seen).pid))) return false;
  } catch (error) {
    if (error.code === "ENOENT") return true;
    throw error;
  }
  const aside = `${LOCK}-${randomUUID()}`;
  try {
    renameSync(LOCK, aside);
    // Someone else may have replaced the stale lock since it was read: then theirs is put back.
    if (readFileSync(aside, "utf8") !== seen) linkSync(aside, LOCK);
  } catch (error) {
    if (error.code !== "ENOENT" && error.code !== "EEXIST") throw error;
  }
  rmSync(aside, { force: true });
  return true;
}

function alive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === "EPERM";
  }
}
