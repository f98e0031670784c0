// Starts and stops the programs that are compared: Quayside, RabbitMQ and the relay, each as a child
// of this process, on loopback, on a free port, with its data in a folder of its own.

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { treeStats } from "./process-stats.ts";
import type { TreeStats } from "./process-stats.ts";
import { PROTOCOL_HEADER } from "./wire.ts";

const START_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 60_000;
const PROBE_EVERY_MS = 5;
const RABBITMQ_SERVER = "/usr/lib/rabbitmq/bin/rabbitmq-server";

export interface ServerOptions {
  /** Folder that holds the data; made anew when absent. */
  readonly dataDir: string;
  /** Command that starts Quayside, without its flags. */
  readonly quaysideCommand: readonly string[];
}

export type ServerName = "quayside" | "rabbitmq" | "relay";

/** The repository root: the nearest folder above this file with a package.json. */
export function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error("no package.json above the benchmark program");
    folder = parent;
  }
  return folder;
}

/** The broker that was built together with this program. */
export function defaultQuaysideCommand(): string[] {
  return [process.execPath, fileURLToPath(new URL("../src/cli/quayside.js", import.meta.url)), "start"];
}

export function rabbitmqInstalled(): boolean {
  return existsSync(RABBITMQ_SERVER);
}

export function makeTempDir(label: string): string {
  return mkdtempSync(join(tmpdir(), `quayside-${label}-`));
}

export function removeDir(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.on("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}

export class RunningServer {
  readonly name: ServerName;
  readonly port: number;
  readonly metricsPort: number;
  /** From the start of the process to the first byte of an AMQP answer. */
  readonly startMs: number;
  readonly logPath: string;
  readonly #child: ChildProcess;
  readonly #companions: readonly ChildProcess[];

  constructor(started: StartedChild, startMs: number) {
    this.name = started.name;
    this.port = started.port;
    this.metricsPort = started.metricsPort;
    this.logPath = started.logPath;
    this.startMs = startMs;
    this.#child = started.child;
    this.#companions = started.companions;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  stats(): TreeStats {
    return treeStats(this.pid);
  }

  /** The N of Quayside's own line "ready in N ms". */
  readyInMs(): number | undefined {
    const match = /ready in ([\d.,]+) ?ms/.exec(readFileSync(this.logPath, "utf8"));
    return match === null ? undefined : Number((match[1] as string).replaceAll(",", ""));
  }

  /** Asks for an orderly end and waits for it. Rejects when the server does not end. */
  async stop(): Promise<void> {
    await endChild(this.#child, "SIGTERM");
    for (const companion of this.#companions) await endChild(companion, "SIGTERM");
  }

  /** Ends the server as a power cut would. */
  async kill(): Promise<void> {
    await endChild(this.#child, "SIGKILL");
    for (const companion of this.#companions) await endChild(companion, "SIGTERM");
  }
}

interface StartedChild {
  readonly name: ServerName;
  readonly child: ChildProcess;
  readonly companions: readonly ChildProcess[];
  readonly port: number;
  readonly metricsPort: number;
  readonly logPath: string;
}

async function endChild(child: ChildProcess, signal: "SIGTERM" | "SIGKILL"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error(`process ${child.pid} did not end within ${STOP_TIMEOUT_MS} ms of ${signal}`));
    }, STOP_TIMEOUT_MS);
    child.once("exit", () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill(signal);
  });
}

/** Starts the server and waits for its first AMQP answer. Rejects with the end of its log. */
export async function startServer(name: ServerName, options: ServerOptions): Promise<RunningServer> {
  const beganMs = performance.now();
  const started = await START[name](options);
  try {
    await firstAnswer(started);
  } catch (error) {
    await endChild(started.child, "SIGKILL");
    for (const companion of started.companions) await endChild(companion, "SIGTERM");
    const log = readFileSync(started.logPath, "utf8").slice(-2000);
    throw new Error(`${name} did not start: ${(error as Error).message}\n${log}`, { cause: error });
  }
  return new RunningServer(started, performance.now() - beganMs);
}

const START: Record<ServerName, (options: ServerOptions) => Promise<StartedChild>> = {
  quayside: startQuayside,
  rabbitmq: startRabbitmq,
  relay: startRelay,
};

function launch(command: readonly string[], logPath: string, environment: NodeJS.ProcessEnv): ChildProcess {
  const log = openSync(logPath, "a");
  const child = spawn(command[0] as string, command.slice(1), {
    stdio: ["ignore", log, log],
    env: { ...process.env, ...environment },
  });
  closeSync(log);
  child.on("error", () => {
    // The wait for the first answer sees the missing process and reports it.
  });
  return child;
}

async function startQuayside(options: ServerOptions): Promise<StartedChild> {
  const [port, metricsPort] = [await freePort(), await freePort()];
  mkdirSync(options.dataDir, { recursive: true });
  const logPath = `${options.dataDir}.log`;
  writeFileSync(logPath, "");
  const flags = ["--data", options.dataDir, "--host", "127.0.0.1", "--amqp-port", String(port)];
  const others = ["--http-port", "off", "--metrics-port", String(metricsPort)];
  const child = launch([...options.quaysideCommand, ...flags, ...others], logPath, {});
  return { name: "quayside", child, companions: [], port, metricsPort, logPath };
}

async function startRelay(options: ServerOptions): Promise<StartedChild> {
  const port = await freePort();
  const program = fileURLToPath(new URL("./relay.js", import.meta.url));
  mkdirSync(dirname(options.dataDir), { recursive: true });
  const logPath = `${options.dataDir}.log`;
  writeFileSync(logPath, "");
  const child = launch([process.execPath, program, String(port)], logPath, {});
  return { name: "relay", child, companions: [], port, metricsPort: 0, logPath };
}

/** A node of its own: name, ports, data, cookie, even the port mapper, so that nothing installed is touched. */
async function startRabbitmq(options: ServerOptions): Promise<StartedChild> {
  const [port, distPort, mapperPort] = [await freePort(), await freePort(), await freePort()];
  const home = options.dataDir;
  mkdirSync(home, { recursive: true });
  const logPath = `${home}.log`;
  writeFileSync(logPath, "");
  writeFileSync(join(home, "plugins"), "[].\n");
  writeFileSync(join(home, "environment"), "");
  writeFileSync(join(home, "rabbitmq.conf"), "log.console = false\n");
  const mapper = launch(["epmd", "-port", String(mapperPort), "-address", "127.0.0.1"], logPath, {});
  const child = launch([RABBITMQ_SERVER], logPath, {
    HOME: home,
    ERL_EPMD_PORT: String(mapperPort),
    ERL_EPMD_ADDRESS: "127.0.0.1",
    RABBITMQ_NODENAME: `quayside-bench-${process.pid}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: "127.0.0.1",
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_MNESIA_BASE: join(home, "mnesia"),
    RABBITMQ_LOG_BASE: join(home, "log"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(home, "plugins"),
    RABBITMQ_CONF_ENV_FILE: join(home, "environment"),
    RABBITMQ_CONFIG_FILE: join(home, "rabbitmq.conf"),
  });
  return { name: "rabbitmq", child, companions: [mapper], port, metricsPort: 0, logPath };
}

async function firstAnswer(started: StartedChild): Promise<void> {
  const deadlineMs = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    if (started.child.exitCode !== null || started.child.signalCode !== null || started.child.pid === undefined) {
      throw new Error(`the process ended (exit code ${started.child.exitCode})`);
    }
    if (await answers(started.port)) return;
    await new Promise((resolve) => setTimeout(resolve, PROBE_EVERY_MS));
  }
  throw new Error(`no AMQP answer within ${START_TIMEOUT_MS} ms`);
}

/** True when the port answers the protocol header with connection.start. */
function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const settle = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.on("connect", () => socket.write(PROTOCOL_HEADER));
    socket.on("data", (chunk) => settle(chunk[0] === 1));
    socket.on("error", () => settle(false));
    socket.on("close", () => settle(false));
  });
}
