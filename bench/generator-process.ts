// The parent's side of the load generator: hands it jobs, and reads the server's processor time at
// the moments when the load begins and ends.

import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { FromGenerator, LoadJob, LoadResult, ToGenerator } from "./load-job.ts";
import type { RunningServer } from "./servers.ts";

export interface MeasuredLoad extends LoadResult {
  /** Processor seconds of the server's process tree per million messages. */
  readonly serverCpuSPerMillion: number;
}

export type OnProgress = (published: number, delivered: number) => void;

export class GeneratorProcess {
  readonly #child: ChildProcess;
  /** Messages that nobody waited for yet: "done" and "closed" may arrive together. */
  readonly #inbox: FromGenerator[] = [];
  #wake: () => void = () => {};
  #exitCode: number | null | undefined;

  constructor() {
    const program = fileURLToPath(new URL("./generator.js", import.meta.url));
    this.#child = fork(program, [], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#child.on("message", (message) => {
      this.#inbox.push(message as FromGenerator);
      this.#wake();
    });
    this.#child.on("exit", (code) => {
      this.#exitCode = code;
      this.#wake();
    });
  }

  /** Runs one job against the server. Rejects when messages stop moving or the server refuses. */
  async run(server: RunningServer, job: Omit<LoadJob, "port">, onProgress?: OnProgress): Promise<MeasuredLoad> {
    await this.#exchange({ kind: "prepare", job: { ...job, port: server.port } }, "prepared");
    const cpuBeforeS = server.stats().cpuS;
    const done = await this.#exchange({ kind: "go" }, "done", onProgress);
    if (done.kind !== "done") throw new Error("the generator answered out of turn");
    const cpuS = server.stats().cpuS - cpuBeforeS;
    await this.#exchange(undefined, "closed");
    const moved = Math.max(done.result.published, done.result.delivered);
    return { ...done.result, serverCpuSPerMillion: (cpuS / moved) * 1e6 };
  }

  async stop(): Promise<void> {
    this.#child.send({ kind: "stop" } satisfies ToGenerator);
    while (this.#exitCode === undefined) await this.#event();
  }

  async #exchange(
    request: ToGenerator | undefined,
    answer: FromGenerator["kind"],
    onProgress?: OnProgress,
  ): Promise<FromGenerator> {
    if (request !== undefined) this.#child.send(request);
    for (;;) {
      const message = this.#inbox.shift();
      if (message === undefined) {
        if (this.#exitCode !== undefined) throw new Error(`the load generator ended (exit code ${this.#exitCode})`);
        await this.#event();
      } else if (message.kind === answer) return message;
      else if (message.kind === "progress") onProgress?.(message.published, message.delivered);
      else if (message.kind === "failed") throw new Error(message.reason);
      else throw new Error(`the generator said ${message.kind} where ${answer} was due`);
    }
  }

  #event(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
