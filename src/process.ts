// `quayside start` and `npm start`: a broker as a process of its own. Owns what an embedded broker must
// not touch: signals, exit codes, the banner.

import { ConfigError, type Config, loadConfig, settingsHelp } from "./config.ts";
import { LogFormatError } from "./log/local/segment-format.ts";
import { type Address, type BrokerOptions, type RunningBroker, startBroker } from "./main.ts";
import { StorageError } from "./model/errors.ts";
import type { Logger } from "./ports/logger.ts";
import { createLogger } from "./runtime/console-logger.ts";
import { DataLockedError } from "./runtime/data-lock.ts";
import { ListenError } from "./runtime/listen-on-all.ts";
import { createNodeClock, sinceProcessStartMs } from "./runtime/node-clock.ts";
import { readTextFile } from "./runtime/text-file.ts";
import { VERSION } from "./version.ts";

/** Exit codes, as sysexits.h names them where it does. docs/errors.md explains them. */
export const EXIT = { ok: 0, refused: 1, usage: 64, bug: 70, storage: 74 } as const;

/** A graceful stop that takes longer than this ends the process anyway, ms; the log is safe either way. */
const STOP_TIMEOUT_MS = 60_000;

export interface StartVerbOptions {
  /** Part of the process's age that is not start-up (installing, building), ms. */
  readonly uncountedMs?: number;
}

export function startHelp(): string {
  return [
    "usage: quayside start [--NAME VALUE ...]",
    "",
    "Starts a broker. Every setting can also be given as an environment variable (QUAYSIDE_DATA,",
    "QUAYSIDE_AMQP_PORT, ...) or as a key of the JSON file that --config names; a flag wins over a",
    "variable, a variable over the file. Port 0 takes a free port; off disables a listener.",
    "",
    settingsHelp(),
    "",
  ].join("\n");
}

/** Runs until a signal or a failure; resolves with the exit code. */
export async function startVerb(argv: readonly string[], options: StartVerbOptions = {}): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(startHelp());
    return EXIT.ok;
  }
  let config: Config;
  try {
    config = loadConfig({ argv, env: process.env, readText: readTextFile });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`quayside: ${error.message}\n`);
    return EXIT.usage;
  }
  return new BrokerProcess(config, options.uncountedMs ?? 0).run();
}

/** One broker, from its start to its exit code. */
class BrokerProcess {
  readonly #config: Config;
  readonly #uncountedMs: number;
  readonly #clock = createNodeClock();
  readonly #logger: Logger;
  #broker: RunningBroker | undefined;
  #exit: (code: number) => void = () => {};
  #stopping = false;

  constructor(config: Config, uncountedMs: number) {
    this.#config = config;
    this.#uncountedMs = uncountedMs;
    this.#logger = createLogger({
      format: config.log,
      level: config.logLevel,
      wallMs: () => this.#clock.wallMs(),
      write: (line) => process.stderr.write(line),
    });
  }

  async run(): Promise<number> {
    const exited = new Promise<number>((resolve) => {
      this.#exit = resolve;
    });
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => this.#onSignal(signal));
    // Whoever reads banner and log may go away; the broker stays.
    for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
    process.on("uncaughtException", (error) => this.#onBug(error));
    process.on("unhandledRejection", (error) => this.#onBug(error));
    try {
      this.#broker = await startBroker({
        ...brokerOptions(this.#config),
        logger: this.#logger,
        onFatal: this.#onFatal,
      });
    } catch (error) {
      this.#startFailed(error);
    }
    if (this.#stopping) void this.#stop();
    else this.#announce(this.#broker.addresses);
    const code = await exited;
    process.exit(code);
  }

  #announce(addresses: readonly Address[]): void {
    const readyMs = Math.round(sinceProcessStartMs() - this.#uncountedMs);
    if (this.#config.log === "json") {
      const urls = addresses.map(({ url }) => url);
      const line = {
        level: "info",
        message: `ready in ${readyMs} ms`,
        version: VERSION,
        pid: process.pid,
        addresses: urls,
      };
      process.stdout.write(`${JSON.stringify(line)}\n`);
      return;
    }
    const lines = [`Quayside ${VERSION}  pid ${process.pid}  data ${this.#config.data}`];
    for (const protocol of new Set(addresses.map((address) => address.protocol))) {
      const urls = addresses.filter((address) => address.protocol === protocol).map(({ url }) => url);
      lines.push(`  ${protocol.padEnd(8)} ${urls.join("  ")}`);
    }
    lines.push(`ready in ${readyMs} ms`, "");
    process.stdout.write(lines.join("\n"));
  }

  /** A repeated signal changes nothing: a terminal and npm both pass on one Ctrl-C. */
  #onSignal(signal: string): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#logger.info(`stopping (${signal})`);
    if (this.#broker !== undefined) void this.#stop();
  }

  async #stop(): Promise<void> {
    const deadline = this.#clock.after(STOP_TIMEOUT_MS, () => {
      this.#logger.error("stopping took too long; what was confirmed is on disk");
      this.#exit(EXIT.refused);
    });
    try {
      await this.#broker?.close();
      this.#logger.info("stopped");
      this.#exit(EXIT.ok);
    } catch (error) {
      this.#logger.error("stopping failed; what was confirmed is on disk", { error: textOf(error) });
      this.#exit(EXIT.storage);
    } finally {
      deadline.cancel();
    }
  }

  readonly #onFatal = (error: Error): void => {
    const advice = "the process ends; check the disk of the data folder (errors, space, permissions), then start again";
    this.#logger.error(advice, { error: textOf(error) });
    // Nothing may be confirmed by code that still runs.
    process.exit(EXIT.storage);
  };

  /** A bug: the disk is the truth, and the next start recovers from it. */
  #onBug(error: unknown): void {
    this.#logger.error("a bug in Quayside ended this process; please report it", {
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    process.exit(EXIT.bug);
  }

  #startFailed(error: unknown): never {
    const { sentence, code } = explainStartFailure(error, this.#config);
    process.stderr.write(`quayside: ${sentence}\n`);
    // A half-started broker may hold handles that would keep the process alive.
    process.exit(code);
  }
}

function brokerOptions(config: Config): BrokerOptions {
  const { tlsCert, tlsKey } = config;
  const tls =
    tlsCert === undefined || tlsKey === undefined ? undefined : { cert: readPem(tlsCert), key: readPem(tlsKey) };
  return {
    data: config.data,
    ...(config.hostsChosen ? { hosts: config.hosts } : {}),
    amqpPort: config.amqpPort,
    amqpsPort: config.amqpsPort,
    httpPort: config.httpPort,
    metricsPort: config.metricsPort,
    ...(tls === undefined ? {} : { tls }),
  };
}

function readPem(path: string): string {
  try {
    return readTextFile(path);
  } catch (error) {
    throw new ConfigError(`cannot read ${path}: ${textOf(error)}`, { cause: error });
  }
}

/** One sentence for what an operator can repair; the stack for what only a developer can. */
function explainStartFailure(error: unknown, config: Config): { sentence: string; code: number } {
  if (error instanceof ConfigError) return { sentence: error.message, code: EXIT.usage };
  if (error instanceof ListenError || error instanceof DataLockedError) {
    return { sentence: error.message, code: EXIT.refused };
  }
  if (error instanceof StorageError || error instanceof LogFormatError) {
    return { sentence: `the data in ${config.data} cannot be used: ${error.message}`, code: EXIT.storage };
  }
  if (error instanceof Error && "code" in error && "syscall" in error) {
    return { sentence: `cannot use the data folder ${config.data}: ${error.message}`, code: EXIT.storage };
  }
  return { sentence: error instanceof Error ? (error.stack ?? error.message) : String(error), code: EXIT.bug };
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
