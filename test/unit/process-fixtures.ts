// The built program as a child process.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { repositoryRoot } from "./repository-root.ts";

const program = fileURLToPath(new URL("../../src/cli/quayside.js", import.meta.url));
const running = new Set<ChildProcess>();

export const FREE_PORTS = ["--amqp-port", "0", "--http-port", "0", "--metrics-port", "0"];

/** A folder that is gone when the tests of this file are over; so are the processes that still run. */
export function testFolder(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `quayside-${name}-`));
  after(() => {
    for (const child of running) child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

export interface Started {
  readonly child: ChildProcess;
  /** What it printed to stdout until it was ready or gone. */
  readonly banner: string;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves when stderr matches. */
  readonly says: (pattern: RegExp) => Promise<void>;
  readonly exit: Promise<number | string>;
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Written to stdin, which then ends. */
  readonly input?: string;
}

/** Starts a program and waits until it is ready or gone. */
export async function start(command: string, args: readonly string[], options: StartOptions = {}): Promise<Started> {
  const env = { ...process.env, QUAYSIDE_HOST: "127.0.0.1", ...options.env };
  const cwd = repositoryRoot(import.meta.url);
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env, cwd });
  running.add(child);
  // A program that ends without reading what it is given is the test's business, not an error here.
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.input ?? "");
  let [stdout, stderr] = ["", ""];
  const watchers = new Set<() => void>();
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
    for (const look of watchers) look();
  });
  const exit = once(child, "close").then(([code, signal]) => {
    running.delete(child);
    return (code ?? signal) as number | string;
  });
  await new Promise<void>((resolve) => {
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      if (/ready in \d+ ms/.test(stdout)) resolve();
    });
    void exit.then(() => resolve());
  });
  const says = (pattern: RegExp): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!pattern.test(stderr)) return;
        watchers.delete(look);
        resolve();
      };
      watchers.add(look);
      void exit.then(() => reject(new Error(`ended without saying ${pattern}: ${stderr}`)));
      look();
    });
  return { child, banner: stdout, stdout: () => stdout, stderr: () => stderr, says, exit };
}

/** Runs the command with these arguments. */
export function quayside(args: readonly string[], options?: StartOptions): Promise<Started> {
  return start(process.execPath, [program, ...args], options);
}

/** The address of one listener in a banner. */
export function addressOf(banner: string, protocol: string): string {
  const url = new RegExp(`${protocol} +(\\S+)`).exec(banner)?.[1];
  if (url === undefined) throw new Error(`no ${protocol} address in: ${banner}`);
  return url;
}
