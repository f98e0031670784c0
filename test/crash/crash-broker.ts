// The broker under test as a child process that can be killed at any moment and started again on the
// same data and port.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";

const READY_TIMEOUT_MS = 60_000;
const OUTPUT_KEPT = 8000;

export interface CrashBrokerOptions {
  readonly dataDir: string;
  /** Flags of `quayside start` besides data and listeners. */
  readonly flags?: readonly string[];
  /** Another command to start, without flags; for checks of the harness itself. */
  readonly command?: readonly string[];
}

export class CrashBroker {
  readonly port: number;
  readonly #options: CrashBrokerOptions;
  #child: ChildProcess | undefined;
  #output = "";

  private constructor(port: number, options: CrashBrokerOptions) {
    this.port = port;
    this.#options = options;
  }

  static async create(options: CrashBrokerOptions): Promise<CrashBroker> {
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    const { port } = probe.address() as AddressInfo;
    probe.close();
    await once(probe, "close");
    return new CrashBroker(port, options);
  }

  /** Last lines that the broker wrote. */
  get output(): string {
    return this.#output;
  }

  /** Set once the process has ended: "exit 70", "SIGKILL". */
  get ended(): string | undefined {
    const child = this.#child;
    if (child === undefined) return "never started";
    if (child.exitCode !== null) return `exit ${child.exitCode}`;
    return child.signalCode ?? undefined;
  }

  /** Memory of the process: what it holds now ("VmRSS") or held at most ("VmHWM"), bytes. Linux only. */
  memoryBytes(what: "VmRSS" | "VmHWM"): number {
    const status = readFileSync(`/proc/${this.#child?.pid}/status`, "utf8");
    const kib = new RegExp(`^${what}:\\s+(\\d+) kB$`, "m").exec(status)?.[1];
    if (kib === undefined) throw this.#failure("has no memory figures");
    return Number(kib) * 1024;
  }

  /** Starts the process without waiting for it. */
  launch(): void {
    const program = fileURLToPath(new URL("../../src/cli/quayside.js", import.meta.url));
    const [file, ...before] = this.#options.command ?? [process.execPath, program, "start"];
    const listeners = ["--host", "127.0.0.1", "--amqp-port", String(this.port)];
    const others = ["--http-port", "off", "--metrics-port", "off"];
    const flags = ["--data", this.#options.dataDir, ...listeners, ...others, ...(this.#options.flags ?? [])];
    const child = spawn(file as string, [...before, ...flags], { stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    const keep = (chunk: Buffer): void => {
      this.#output = (this.#output + chunk.toString("utf8")).slice(-OUTPUT_KEPT);
    };
    child.stdout.on("data", keep);
    child.stderr.on("data", keep);
  }

  /** Starts the process and waits until it serves. Resolves with the time that took, ms. */
  async start(): Promise<number> {
    const beganMs = performance.now();
    this.#output = "";
    this.launch();
    const child = this.#child as ChildProcess;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(this.#failure("was not ready in time")), READY_TIMEOUT_MS);
      const onData = (): void => {
        if (!this.#output.includes("ready in ")) return;
        clearTimeout(timer);
        resolve();
      };
      child.stdout?.on("data", onData);
      child.stderr?.on("data", onData);
      child.once("exit", () => {
        clearTimeout(timer);
        reject(this.#failure("ended before it was ready"));
      });
    });
    return performance.now() - beganMs;
  }

  /** kill -9; resolves when the process is gone. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** Orderly stop. Rejects when the exit code is not 0. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
    if (this.ended !== "exit 0") throw this.#failure(`ended with ${this.ended} after SIGTERM`);
  }

  async #end(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = this.#child;
    if (child === undefined || this.ended !== undefined) return;
    const exited = once(child, "exit");
    child.kill(signal);
    await exited;
  }

  #failure(what: string): Error {
    return new Error(`the broker ${what}: ${this.#output.trim()}`);
  }
}
