// npm run bench: runs the scenarios against Quayside and RabbitMQ in interleaved rounds, and prints
// medians, ratios and verdicts as a Markdown table.

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { GeneratorProcess } from "./generator-process.ts";
import type { MeasuredLoad } from "./generator-process.ts";
import { LOAD_JOB_DEFAULTS } from "./load-job.ts";
import { HELP, parseOptions } from "./options.ts";
import type { BenchOptions } from "./options.ts";
import { runProcessScenario } from "./process-scenarios.ts";
import type { ProcessSample } from "./process-scenarios.ts";
import { STEADY_SPREAD_MAX, markdown, median, spread } from "./report.ts";
import type { Comparison, Machine, Report } from "./report.ts";
import { LOAD_SCENARIOS, PROCESS_SCENARIOS, ROWS } from "./scenarios.ts";
import type { LoadScenario, ProcessScenarioName, Row } from "./scenarios.ts";
import { makeTempDir, rabbitmqInstalled, removeDir, repositoryRoot, startServer } from "./servers.ts";
import type { RunningServer, ServerName } from "./servers.ts";

const RABBITMQ_LIBRARY = "/usr/lib/rabbitmq/lib";
const QUICK_DURATION_MS = 1000;
const REFERENCE_DURATION_MS = 1000;

interface LoadSample {
  readonly kind: "load";
  readonly scenario: string;
  readonly server: ServerName;
  readonly round: number;
  readonly load: MeasuredLoad;
}

interface FigureSample extends ProcessSample {
  readonly kind: "figure";
  readonly scenario: ProcessScenarioName;
  readonly server: ServerName;
  readonly round: number;
}

class Bench {
  readonly #options: BenchOptions;
  readonly #servers: readonly ServerName[];
  readonly #tempDir = makeTempDir("bench");
  readonly #generator = new GeneratorProcess();
  readonly #running = new Map<ServerName, RunningServer>();
  readonly #loads: LoadSample[] = [];
  readonly #figures: FigureSample[] = [];
  readonly #relay: number[] = [];
  readonly #publishOnly: number[] = [];
  readonly #failures: string[] = [];
  #folders = 0;

  constructor(options: BenchOptions) {
    this.#options = options;
    this.#servers = options.peer ? ["quayside", "rabbitmq"] : ["quayside"];
  }

  async run(): Promise<Report> {
    try {
      await this.#runLoads();
      await this.#stopServers();
      await this.#runProcesses();
    } finally {
      await this.#stopServers();
      await this.#generator.stop();
      removeDir(this.#tempDir);
    }
    return this.#report();
  }

  samples(): readonly (LoadSample | FigureSample)[] {
    return [...this.#loads, ...this.#figures];
  }

  #wanted(name: string): boolean {
    return this.#options.only.length === 0 || this.#options.only.includes(name);
  }

  async #runLoads(): Promise<void> {
    const scenarios = LOAD_SCENARIOS.filter((scenario) => this.#wanted(scenario.name));
    if (scenarios.length === 0) return;
    for (const name of ["relay", ...this.#servers] as const) {
      progress(`starting ${name}`);
      this.#running.set(name, await startServer(name, this.#serverOptions()));
    }
    // A cold runtime is a property of the first second of a process, not of the broker.
    for (const server of this.#servers) await this.#load(server, warmUp, 0);
    for (let round = 1; round <= this.#options.rounds; round++) {
      await this.#measureReference();
      for (const scenario of scenarios) {
        const order = round % 2 === 1 ? this.#servers : this.#servers.toReversed();
        for (const server of order) await this.#load(server, scenario, round);
      }
    }
  }

  async #measureReference(): Promise<void> {
    const server = this.#running.get("relay") as RunningServer;
    const job = { ...LOAD_JOB_DEFAULTS, durationMs: REFERENCE_DURATION_MS, durable: false, persistent: false };
    progress("relay");
    const through = await this.#generator.run(server, job);
    const into = await this.#generator.run(server, { ...job, consumers: 0, confirmWindow: 10_000 });
    this.#relay.push(through.ratePerSecond);
    this.#publishOnly.push(into.ratePerSecond);
    const rates = `${through.ratePerSecond.toFixed(0)} through, ${into.ratePerSecond.toFixed(0)} into it`;
    finished(`relay: ${rates} (messages a second)`);
  }

  async #load(name: ServerName, scenario: LoadScenario, round: number): Promise<void> {
    const server = this.#running.get(name);
    if (server === undefined) return;
    const label = `round ${round} ${scenario.name} ${name}`;
    const job = {
      ...LOAD_JOB_DEFAULTS,
      ...(this.#options.quick ? { durationMs: QUICK_DURATION_MS } : {}),
      ...scenario.job,
      ...(name === "quayside" ? {} : scenario.peerJob),
      ...(this.#options.quick ? scenario.quickJob : {}),
    };
    try {
      const load = await this.#generator.run(server, job, (published, delivered) => {
        progress(`${label}: ${published} published, ${delivered} delivered`);
      });
      if (round > 0) this.#loads.push({ kind: "load", scenario: scenario.name, server: name, round, load });
      finished(`${label}: ${describe(load)}`);
    } catch (error) {
      this.#fail(label, error);
    }
  }

  async #runProcesses(): Promise<void> {
    for (const scenario of PROCESS_SCENARIOS.filter((name) => this.#wanted(name))) {
      // Filling the peer takes half a minute a time: memory hardly varies, so one round is enough.
      const rounds = scenario === "start-up" ? this.#options.rounds : 1;
      for (let round = 1; round <= rounds; round++) {
        for (const server of this.#servers) await this.#process(server, scenario, round);
      }
    }
  }

  async #process(server: ServerName, scenario: ProcessScenarioName, round: number): Promise<void> {
    const label = `round ${round} ${scenario} ${server}`;
    const serverOptions = this.#serverOptions();
    progress(label);
    try {
      const samples = await runProcessScenario(scenario, {
        server,
        serverOptions,
        generator: this.#generator,
        quick: this.#options.quick,
        onStep: (text) => progress(`${label}: ${text}`),
      });
      for (const sample of samples) this.#figures.push({ kind: "figure", ...sample, scenario, server, round });
      finished(`${label}: ${samples.map((each) => `${each.figure} ${each.value.toFixed(0)}`).join(", ")}`);
    } catch (error) {
      this.#fail(label, error);
    } finally {
      removeDir(serverOptions.dataDir);
    }
  }

  #fail(label: string, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#failures.push(`${label}: ${reason}`);
    finished(`${label}: FAILED: ${reason}`);
  }

  #serverOptions(): { dataDir: string; quaysideCommand: readonly string[] } {
    this.#folders++;
    return { dataDir: join(this.#tempDir, `server-${this.#folders}`), quaysideCommand: this.#options.quaysideCommand };
  }

  async #stopServers(): Promise<void> {
    for (const [name, server] of this.#running) {
      this.#running.delete(name);
      await server.stop();
    }
  }

  #report(): Report {
    const wanted = ROWS.filter((row) => {
      return this.#wanted("scenario" in row.source ? row.source.scenario : row.source.process);
    });
    return {
      machine: describeMachine(this.#options.peer),
      reference: { relay: this.#relay, publishOnly: this.#publishOnly },
      comparisons: wanted.map((row) => this.#compare(row)),
      rounds: this.#options.rounds,
      judging: !this.#options.quick && spread(this.#relay) <= STEADY_SPREAD_MAX,
      failures: this.#failures,
    };
  }

  #compare(row: Row): Comparison {
    const of = (server: ServerName): number[] => {
      const { source } = row;
      if ("process" in source) {
        const matching = this.#figures.filter((each) => each.figure === source.figure && each.server === server);
        return matching.map((each) => each.value);
      }
      const loads = this.#loads.filter((each) => each.scenario === source.scenario && each.server === server);
      return loads.map((each) => source.read(each.load)).filter((value) => value !== undefined);
    };
    return { row, ours: of("quayside"), peers: of("rabbitmq") };
  }
}

const warmUp: LoadScenario = { name: "warm-up", title: "warm-up", job: { durationMs: 1000 } };

function describe(load: MeasuredLoad): string {
  const parts = [`${load.ratePerSecond.toFixed(0)} msg/s`, `${load.serverCpuSPerMillion.toPrecision(3)} CPU s/1M`];
  const generatorShare = (load.generatorCpuS / load.elapsedMs) * 100_000;
  parts.push(`generator ${generatorShare.toFixed(0)} % of a core`);
  if (load.redelivered > 0) parts.push(`${load.redelivered} redelivered`);
  if (load.endToEnd !== undefined) parts.push(`end to end ${percentiles(load.endToEnd)}`);
  if (load.confirm !== undefined) parts.push(`confirm ${percentiles(load.confirm)}`);
  return parts.join(", ");
}

function percentiles(latency: { readonly p50Us: number; readonly p99Us: number; readonly p999Us: number }): string {
  return `${latency.p50Us}/${latency.p99Us}/${latency.p999Us} us`;
}

/** A line that the next one overwrites, when somebody is watching. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text}`);
}

function finished(text: string): void {
  process.stderr.write(process.stderr.isTTY ? `\r\u001b[K${text}\n` : `${text}\n`);
}

function describeMachine(withPeer: boolean): Machine {
  const all = cpus();
  const libraries = existsSync(RABBITMQ_LIBRARY) ? readdirSync(RABBITMQ_LIBRARY) : [];
  const version = libraries.find((name) => name.startsWith("rabbitmq_server-"))?.split("-")[1] ?? "unknown version";
  return {
    cpu: all[0]?.model.trim() ?? "unknown",
    cores: all.length,
    kernel: release(),
    node: process.versions.node,
    peer: withPeer ? `RabbitMQ ${version}` : "no peer",
    date: new Date().toISOString().slice(0, 10),
    revision: revision(),
  };
}

function revision(): string {
  try {
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd: repositoryRoot(), encoding: "utf8" }).trim();
  } catch (error) {
    return `unknown revision (${(error as Error).message.split("\n")[0]})`;
  }
}

async function main(): Promise<number> {
  const { options, list, help } = parseOptions(process.argv.slice(2));
  const names = [...LOAD_SCENARIOS.map((scenario) => scenario.name), ...PROCESS_SCENARIOS];
  if (help || list) {
    process.stdout.write(help ? HELP : `${names.join("\n")}\n`);
    return 0;
  }
  const unknown = options.only.filter((name) => !names.includes(name));
  if (unknown.length > 0) throw new Error(`no scenario named ${unknown.join(", ")}; --list names them`);
  if (options.peer && !rabbitmqInstalled()) {
    throw new Error("needs RabbitMQ (apt-get install rabbitmq-server), or --no-peer to measure Quayside alone");
  }
  const bench = new Bench(options);
  const report = await bench.run();
  const table = markdown(report);
  process.stdout.write(`\n${table}`);
  if (options.markdown !== undefined) writeFileSync(options.markdown, table);
  if (options.json !== undefined) {
    writeFileSync(options.json, `${JSON.stringify({ ...report, samples: bench.samples() }, undefined, 1)}\n`);
  }
  if (spread(report.reference.relay) > STEADY_SPREAD_MAX) {
    const rates = `median ${median(report.reference.relay)?.toFixed(0)}`;
    process.stderr.write(`bench: the relay's rate varied more than ${STEADY_SPREAD_MAX}x (${rates}): not judged\n`);
    return 2;
  }
  return report.failures.length === 0 ? 0 : 1;
}

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  return 64;
});
