// `quayside start` and `npm start`: a broker as a process of its own. Owns what an embedded broker must
// not touch: signals, exit codes, the banner.

import { brokerOptions, reloadOf } from "./broker-options.ts";
import { type Config, loadConfig } from "./config.ts";
import { LIMITS } from "./limits.ts";
import { LogFormatError } from "./log/local/segment-format.ts";
import { type Address, DefaultCredentialsError, type RunningBroker, startBroker } from "./main.ts";
import { StorageError } from "./model/errors.ts";
import { collectOnlyWhenNeeded } from "./runtime/collector.ts";
import { type ConsoleLogger, createLogger } from "./runtime/console-logger.ts";
import { DataLockedError } from "./runtime/data-lock.ts";
import { ListenError } from "./runtime/listen-on-all.ts";
import { createNodeClock, sinceProcessStartMs } from "./runtime/node-clock.ts";
import { createNodeMachine } from "./runtime/node-machine.ts";
import { readTextFile } from "./runtime/text-file.ts";
import { ConfigError, settingsHelp } from "./settings.ts";
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
    "QUAYSIDE_AMQP_PORT, ...) or as a key of the TOML file that --config names; a flag wins over a",
    "variable, a variable over the file. Port 0 takes a free port; off disables a listener. SIGHUP reads",
    "variables and file again; SIGTERM and SIGINT stop the broker.",
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
  return new BrokerProcess(config, argv, options.uncountedMs ?? 0).run();
}

/** One broker, from its start to its exit code. */
class BrokerProcess {
  readonly #argv: readonly string[];
  #config: Config;
  readonly #uncountedMs: number;
  readonly #clock = createNodeClock();
  readonly #logger: ConsoleLogger;
  #broker: RunningBroker | undefined;
  #exit: (code: number) => void = () => {};
  #stopping = false;

  constructor(config: Config, argv: readonly string[], uncountedMs: number) {
    this.#config = config;
    this.#argv = argv;
    this.#uncountedMs = uncountedMs;
    this.#logger = createLogger({
      format: config.logFormat,
      level: config.logLevel,
      clock: this.#clock,
      write: (line) => process.stderr.write(line),
    });
  }

  async run(): Promise<number> {
    const exited = new Promise<number>((resolve) => {
      this.#exit = resolve;
    });
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => this.#onSignal(signal));
    process.on("SIGHUP", () => this.#reload());
    // Whoever reads banner and log may go away; the broker stays.
    for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
    process.on("uncaughtException", (error) => this.#onBug(error));
    process.on("unhandledRejection", (error) => this.#onBug(error));
    try {
      collectOnlyWhenNeeded();
      this.#broker = await startBroker({
        ...brokerOptions(this.#config),
        logger: this.#logger,
        onFatal: this.#onFatal,
      });
    } catch (error) {
      this.#startFailed(error);
    }
    if (this.#stopping) void this.#stop();
    else {
      this.#checkOpenFiles();
      this.#announce(this.#broker.addresses);
    }
    const code = await exited;
    this.#logger.flush();
    process.exit(code);
  }

  #announce(addresses: readonly Address[]): void {
    const readyMs = Math.round(sinceProcessStartMs() - this.#uncountedMs);
    if (this.#config.logFormat === "json") {
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

  /** Every connection is an open file: a low limit is told now, not when clients are turned away. */
  #checkOpenFiles(): void {
    const limit = createNodeMachine().openFilesMax();
    if (limit === undefined || limit >= LIMITS.openFilesWanted) return;
    this.#logger.warn(
      `this process may have ${limit} files open, and each connection is one; ` +
        "raise the limit (ulimit -n 65536, or LimitNOFILE=65536 in systemd)",
    );
  }

  /** SIGHUP: certificates, log level and limits are taken anew; what else changed waits for a restart. */
  #reload(): void {
    if (this.#broker === undefined || this.#stopping) return;
    try {
      const wanted = loadConfig({ argv: this.#argv, env: process.env, readText: readTextFile });
      const { renewal, reloaded, waiting, config } = reloadOf(this.#config, wanted);
      this.#broker.renew(renewal);
      this.#logger.setLevel(config.logLevel);
      this.#config = config;
      this.#logger.info("reloaded: certificates, log level and limits (SIGHUP)", { changed: reloaded.join(",") });
      if (waiting.length > 0) {
        this.#logger.warn("settings that changed and need a restart", { settings: waiting.join(",") });
      }
    } catch (error) {
      // The broker goes on with what it has: a typo in a file must not stop it.
      this.#logger.error("nothing was reloaded (SIGHUP)", { error: textOf(error) });
    }
  }

  /** A repeated signal changes nothing: a terminal and npm both pass on one Ctrl-C. */
  #onSignal(signal: string): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#logger.info(`stopping (${signal})`);
    if (this.#broker !== undefined) void this.#stop();
  }

  async #stop(): Promise<void> {
    const { drainMs } = this.#config;
    const deadline = this.#clock.after(drainMs + STOP_TIMEOUT_MS, () => {
      this.#logger.error("stopping took too long; what was confirmed is on disk");
      this.#exit(EXIT.refused);
    });
    try {
      await this.#broker?.close(drainMs);
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
    this.#logger.flush();
    // Nothing may be confirmed by code that still runs.
    process.exit(EXIT.storage);
  };

  /** A bug: the disk is the truth, and the next start recovers from it. */
  #onBug(error: unknown): void {
    this.#logger.error("a bug in Quayside ended this process; please report it", {
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    this.#logger.flush();
    process.exit(EXIT.bug);
  }

  #startFailed(error: unknown): never {
    const { sentence, code } = explainStartFailure(error, this.#config);
    process.stderr.write(`quayside: ${sentence}\n`);
    // A half-started broker may hold handles that would keep the process alive.
    process.exit(code);
  }
}

/** One sentence for what an operator can repair; the stack for what only a developer can. */
function explainStartFailure(error: unknown, config: Config): { sentence: string; code: number } {
  if (error instanceof ConfigError || error instanceof DefaultCredentialsError) {
    return { sentence: error.message, code: EXIT.usage };
  }
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
