// The brokers that scenarios run against: Quayside as built, and a RabbitMQ of our own. Each is a child
// process on free loopback ports with a data folder of its own; it is ended by its process id.

import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BUILD } from "./paths.ts";

export interface Broker {
  readonly name: "quayside" | "rabbitmq";
  readonly host: string;
  readonly port: number;
  readonly httpPort: number;
  /** Stops it gracefully and starts it again on the same data and port. */
  restart(): Promise<void>;
  /** Stops it and removes its data. */
  stop(): Promise<void>;
}

const HOST = "127.0.0.1";
const START_DEADLINE_MS = 60_000;
const OUTPUT_KEPT = 8_000;

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, HOST, () => {
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/** Resolves when the child prints `ready`; rejects with its last output when it ends first. */
function whenReady(child: ChildProcess, ready: RegExp, what: string): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = "";
    const timer = setTimeout(() => reject(new Error(`${what} was not ready in time:\n${output}`)), START_DEADLINE_MS);
    const take = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-OUTPUT_KEPT);
      if (!ready.test(output)) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout?.on("data", take);
    child.stderr?.on("data", take);
    child.once("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`${what} ended with ${String(code)} before it was ready:\n${output}`));
    });
  });
}

function whenEnded(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => child.once("exit", () => resolve()));
}

async function end(child: ChildProcess): Promise<void> {
  const ended = whenEnded(child);
  child.kill("SIGTERM");
  await ended;
}

/** @param flags more flags of `quayside start`, for example for TLS */
export async function startQuayside(flags: readonly string[] = []): Promise<Broker> {
  const program = join(BUILD, "src/cli/quayside.js");
  const data = mkdtempSync(join(tmpdir(), "quayside-interop-"));
  const [port, httpPort] = [await freePort(), await freePort()];
  const start = async (): Promise<ChildProcess> => {
    const child = spawn(
      process.execPath,
      [
        program,
        "start",
        "--data",
        data,
        "--host",
        HOST,
        "--amqp-port",
        String(port),
        "--http-port",
        String(httpPort),
        "--metrics-port",
        "off",
        ...flags,
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    await whenReady(child, /ready in \d+/, "quayside");
    return child;
  };
  let child = await start();
  return {
    name: "quayside",
    host: HOST,
    port,
    httpPort,
    async restart() {
      await end(child);
      child = await start();
    },
    async stop() {
      await end(child);
      rmSync(data, { recursive: true, force: true });
    },
  };
}

const RABBITMQ_PROGRAMS = [
  "/usr/lib/rabbitmq/bin/rabbitmq-server",
  "/usr/local/sbin/rabbitmq-server",
  "/opt/homebrew/sbin/rabbitmq-server",
];

/** The server's program, or undefined when RabbitMQ is not installed. */
export function findRabbitmq(): string | undefined {
  return RABBITMQ_PROGRAMS.find((program) => existsSync(program));
}

/** A Python that has pika, or undefined. */
export function findPika(): string | undefined {
  return ["/usr/bin/python3", "python3"].find(
    (python) => spawnSync(python, ["-c", "import pika"], { stdio: "ignore" }).status === 0,
  );
}

/**
 * Starts a RabbitMQ with its own node name, data and Erlang port mapper, so that it neither sees nor
 * disturbs one that is installed as a service. Its management plugin listens too.
 */
export async function startRabbitmq(program: string): Promise<Broker> {
  const folder = mkdtempSync(join(tmpdir(), "interop-rabbitmq-"));
  for (const each of ["mnesia", "log", "home"]) mkdirSync(join(folder, each));
  writeFileSync(join(folder, "enabled_plugins"), "[rabbitmq_management].\n");
  const httpPort = await freePort();
  const lines = [`management.tcp.port = ${httpPort}`, `management.tcp.ip = ${HOST}`, ""];
  writeFileSync(join(folder, "rabbitmq.conf"), lines.join("\n"));
  const [port, distributionPort, mapperPort] = [await freePort(), await freePort(), await freePort()];
  const environment = {
    PATH: process.env["PATH"] ?? "",
    HOME: join(folder, "home"),
    ERL_EPMD_ADDRESS: HOST,
    ERL_EPMD_PORT: String(mapperPort),
    RABBITMQ_NODENAME: `interop${process.pid}@localhost`,
    RABBITMQ_NODE_IP_ADDRESS: HOST,
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distributionPort),
    RABBITMQ_MNESIA_BASE: join(folder, "mnesia"),
    RABBITMQ_LOG_BASE: join(folder, "log"),
    RABBITMQ_PID_FILE: join(folder, "pid"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, "enabled_plugins"),
    RABBITMQ_CONF_ENV_FILE: join(folder, "none"),
    RABBITMQ_CONFIG_FILE: join(folder, "rabbitmq.conf"),
  };
  // RabbitMQ would start a port mapper that outlives it; one that is our child ends with us.
  const mapper = spawn("epmd", ["-address", HOST, "-port", String(mapperPort)], { env: environment, stdio: "ignore" });
  const start = async (): Promise<ChildProcess> => {
    const child = spawn(program, [], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
    await whenReady(child, /Starting broker\.\.\. completed/, "rabbitmq");
    return child;
  };
  let child = await start();
  return {
    name: "rabbitmq",
    host: HOST,
    port,
    httpPort,
    async restart() {
      await end(child);
      child = await start();
    },
    async stop() {
      await end(child);
      await end(mapper);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
