// Programs that one writes with a framework or a command line instead of a client library: rascal,
// amqp-connection-manager, amqp-tools. Each runs unchanged on both brokers and must show the same.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { connect } from "amqp-connection-manager";
import type { ConfirmChannel, ConsumeMessage } from "amqplib";
import { type Broker, startQuayside, startRabbitmq } from "./brokers.ts";
import { AMQP_TOOLS, missing, RABBITMQ } from "./peers.ts";

const DEADLINE_MS = 20_000;

/** What of rascal is used here; the library ships no types. */
interface RascalSubscription {
  on(
    event: "message",
    listener: (message: unknown, content: unknown, done: (error?: Error, how?: unknown) => void) => void,
  ): void;
  on(event: "error", listener: (error: Error) => void): void;
}
interface RascalBroker {
  on(event: "error", listener: (error: Error) => void): void;
  publish(name: string, body: unknown): Promise<{ on(event: string, listener: (id: string) => void): void }>;
  subscribe(name: string): Promise<RascalSubscription>;
  shutdown(): Promise<void>;
}
interface Rascal {
  readonly BrokerAsPromised: { create(config: unknown): Promise<RascalBroker> };
  withDefaultConfig(config: unknown): unknown;
}
const rascal = createRequire(import.meta.url)("rascal") as Rascal;

/** Rejects when the promise takes too long, naming what was waited for. */
async function soon<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited too long for ${what}`)), DEADLINE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const rascalConfig = (broker: Broker): unknown =>
  rascal.withDefaultConfig({
    vhosts: {
      "/": {
        connection: { url: `amqp://guest:guest@${broker.host}:${broker.port}/` },
        exchanges: ["work", "retry", "dead"],
        queues: {
          jobs: { options: { arguments: { "x-dead-letter-exchange": "dead", "x-dead-letter-routing-key": "job" } } },
          later: { options: { arguments: { "x-message-ttl": 50, "x-dead-letter-exchange": "work" } } },
          graves: {},
        },
        bindings: ["work[job.*] -> jobs", "retry[job.#] -> later", "dead[job] -> graves"],
        publications: { job: { vhost: "/", exchange: "work", routingKey: "job.new" } },
        subscriptions: {
          jobs: { vhost: "/", queue: "jobs", prefetch: 3 },
          graves: { vhost: "/", queue: "graves" },
        },
      },
    },
  });

/** Jobs that fail twice are sent on by rascal to a queue with a time to live, and then rejected. */
async function runRascal(broker: Broker): Promise<unknown> {
  const app = await rascal.BrokerAsPromised.create(rascalConfig(broker));
  const errors: string[] = [];
  app.on("error", (error) => errors.push(error.message));
  const seen: string[] = [];
  const jobs = await app.subscribe("jobs");
  const attempts = new Map<string, number>();
  jobs.on("message", (_, content, done) => {
    const text = String(content);
    const attempt = (attempts.get(text) ?? 0) + 1;
    attempts.set(text, attempt);
    seen.push(`${text} ${attempt}`);
    if (text === "good") done();
    else if (attempt < 3)
      done(new Error("again"), [{ strategy: "republish", attempts: 2, defer: 20 }, { strategy: "nack" }]);
    else done(new Error("no more"), { strategy: "nack" });
  });
  const graves = await app.subscribe("graves");
  const buried = new Promise<unknown>((resolve) => {
    graves.on("message", (_, content, done) => {
      done();
      resolve(content);
    });
  });
  const published = await app.publish("job", "good");
  await soon("a confirm", new Promise<string>((resolve) => published.on("success", resolve)));
  await app.publish("job", "bad");
  const dead = await soon("the dead letter", buried);
  await app.shutdown();
  return { dead, seen: seen.toSorted(), errors };
}

/** Publishes while the broker restarts; the manager sends what it kept when it is back. */
async function runManager(broker: Broker): Promise<unknown> {
  const manager = connect([`amqp://guest:guest@${broker.host}:${broker.port}`], {
    heartbeatIntervalInSeconds: 5,
    reconnectTimeInSeconds: 0.2,
  });
  const got: string[] = [];
  let wake = (): void => undefined;
  const channel = manager.createChannel({
    json: true,
    async setup(raw: ConfirmChannel) {
      await raw.assertQueue("managed", { durable: true });
      await raw.prefetch(5);
      await raw.consume("managed", (message: ConsumeMessage | null) => {
        if (message === null) return;
        got.push((JSON.parse(message.content.toString()) as { text: string }).text);
        raw.ack(message);
        wake();
      });
    },
  });
  await channel.waitForConnect();
  await channel.sendToQueue("managed", { text: "before" }, { persistent: true });
  const gone = once(manager, "disconnect");
  const back = broker.restart();
  await soon("the end of the connection", gone);
  const during = channel.sendToQueue("managed", { text: "during" }, { persistent: true });
  await back;
  await soon("the confirm of what was kept", during);
  await channel.sendToQueue("managed", { text: "after" }, { persistent: true });
  await soon(
    "three messages",
    new Promise<void>((resolve) => {
      wake = () => got.length >= 3 && resolve();
      wake();
    }),
  );
  await channel.close();
  await manager.close();
  return [...new Set(got)].toSorted();
}

/** One amqp-tools command; shows how it ended and what it printed. */
function tool(broker: Broker, name: string, args: readonly string[], input = ""): string {
  const server = ["--server", broker.host, "--port", String(broker.port)];
  const ran = spawnSync(`amqp-${name}`, [...server, ...args], { input, encoding: "utf8", timeout: DEADLINE_MS });
  return `${name}: ${ran.status} ${ran.stdout}${ran.stderr}`.replaceAll(/\s+/g, " ").trim();
}

async function runTools(broker: Broker): Promise<unknown> {
  const shown = [
    tool(broker, "declare-queue", ["-q", "tools", "-d"]),
    tool(broker, "publish", ["-r", "tools", "-p", "-b", "first", "-C", "text/plain"]),
    tool(broker, "publish", ["-r", "tools", "-p"], "from stdin"),
    tool(broker, "get", ["-q", "tools"]),
  ];
  const consumer = spawn(
    "amqp-consume",
    ["--server", broker.host, "--port", String(broker.port), "-q", "tools", "-c", "1", "cat"],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let output = "";
  consumer.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const [code] = (await soon("amqp-consume", once(consumer, "close"))) as [number];
  shown.push(`consume: ${code} ${output}`);
  shown.push(tool(broker, "get", ["-q", "tools"]));
  shown.push(tool(broker, "delete-queue", ["-q", "tools"]));
  shown.push(tool(broker, "get", ["-q", "tools"]));
  shown.push(tool(broker, "publish", ["-e", "none", "-r", "k", "-b", "x"]));
  return shown;
}

describe("Programs", () => {
  let brokers: Broker[] = [];

  before(async () => {
    const starts = [startQuayside(), ...(RABBITMQ === undefined ? [] : [startRabbitmq(RABBITMQ)])];
    brokers = await Promise.all(starts);
  });
  after(async () => {
    await Promise.all(brokers.map((broker) => broker.stop()));
  });

  async function same(run: (broker: Broker) => Promise<unknown>, shows: unknown): Promise<void> {
    for (const broker of brokers) assert.deepEqual(await run(broker), shows, broker.name);
  }

  test("rascal declares its topology, retries what failed, and rejects it into the dead letters", () =>
    same(runRascal, { dead: "bad", seen: ["bad 1", "bad 2", "bad 3", "good 1"], errors: [] }));

  test("amqp-connection-manager comes back after a restart of the broker and sends what it kept", () =>
    same(runManager, ["after", "before", "during"]));

  test("amqp-tools declare, publish, get, consume and delete", async (t) => {
    if (!AMQP_TOOLS) return missing(t, "amqp-tools");
    await same(runTools, [
      "declare-queue: 0 tools",
      "publish: 0",
      "publish: 0",
      "get: 0 first",
      "consume: 0 from stdin",
      "get: 2",
      "delete-queue: 0 0",
      "get: 1 basic.get: server channel error 404, message: NOT_FOUND - no queue 'tools' in vhost '/'",
      "publish: 1 closing channel: server channel error 404, message: NOT_FOUND - no exchange 'none' in vhost '/'",
    ]);
  });
});
