// The processes of the demo: the broker and the workers. Each can be killed without warning.

import { type ChildProcess, spawn } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { WorkerReport } from "./worker.ts";

const HOST = "127.0.0.1";
const PROGRAM = fileURLToPath(new URL("../quayside.js", import.meta.url));
const WORKER = fileURLToPath(new URL("./worker.js", import.meta.url));
const START_TIMEOUT_MS = 30_000;

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, HOST, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

function whenEnded(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once("exit", () => resolve()));
}

/** The broker as a process of its own, on a fixed port and data folder. */
export class BrokerChild {
  readonly url: string;
  readonly #port: number;
  readonly #data: string;
  #child: ChildProcess | undefined;

  constructor(port: number, folder: string) {
    this.#port = port;
    this.#data = join(folder, "data");
    this.url = `amqp://${HOST}:${port}`;
  }

  /** Resolves when the broker accepts connections; returns how long that took, ms. */
  async start(): Promise<number> {
    const started = performance.now();
    const child = spawn(
      process.execPath,
      [
        PROGRAM,
        "start",
        "--data",
        this.#data,
        "--host",
        HOST,
        "--amqp-port",
        String(this.#port),
        "--http-port",
        "off",
        "--metrics-port",
        "off",
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#child = child;
    let output = "";
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`the broker was not ready in time:\n${output}`)),
        START_TIMEOUT_MS,
      );
      const take = (chunk: Buffer): void => {
        output = (output + chunk.toString()).slice(-4000);
        if (!/ready in \d+/.test(output)) return;
        clearTimeout(timer);
        resolve();
      };
      child.stdout.on("data", take);
      child.stderr.on("data", take);
      child.once("exit", (code) => {
        clearTimeout(timer);
        reject(new Error(`the broker ended with ${String(code)}:\n${output}`));
      });
    });
    return Math.round(performance.now() - started);
  }

  /** @param signal SIGKILL: no time to tidy up anything */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    if (this.#child === undefined) return;
    this.#child.kill(signal);
    await whenEnded(this.#child);
  }
}

export interface WorkerOptions {
  readonly url: string;
  readonly queue: string;
  readonly number: number;
  readonly file: string;
  readonly onReport: (report: WorkerReport) => void;
}

export class WorkerChild {
  readonly number: number;
  readonly #child: ChildProcess;

  constructor(options: WorkerOptions) {
    const { url, queue, number, file, onReport } = options;
    this.number = number;
    this.#child = spawn(process.execPath, [WORKER, url, queue, String(number), file], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    this.#child.on("message", (message) => onReport(message as WorkerReport));
  }

  async end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    this.#child.kill(signal);
    await whenEnded(this.#child);
  }
}
