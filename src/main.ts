// Wires the layers, in this order: data folder and its lock -> log store -> shard -> broker -> doors ->
// admin. The only file that knows them all. It holds no signal handlers and no globals: twenty brokers
// may run in one process. What was started is stopped in the reverse order, also when a later step fails.

import { listenAdmin, listenMetrics } from "./admin/admin.ts";
import { createAdminSource } from "./admin/broker-source.ts";
import { type Broker, createBroker } from "./broker/broker.ts";
import type { Port } from "./config.ts";
import { LIMITS } from "./limits.ts";
import { openLocalLogStore } from "./log/local/store.ts";
import type { LogStore } from "./log/log.ts";
import { createMemoryLogStore } from "./log/memory.ts";
import { memoryLimitBytes, type ResourceMonitor, startResourceMonitor } from "./observe/resource-monitor.ts";
import type { DiskSpace } from "./ports/disk.ts";
import type { Logger } from "./ports/logger.ts";
import type { ByteSocket, Listener } from "./ports/net.ts";
import { type AmqpDoor, startAmqpDoor } from "./protocols/amqp091/door.ts";
import type { Cleaner } from "./queues/cleaner.ts";
import { openShard } from "./queues/open-shard.ts";
import { createSilentLogger } from "./runtime/console-logger.ts";
import { lockDataFolder } from "./runtime/data-lock.ts";
import { listenOnAll } from "./runtime/listen-on-all.ts";
import { createNodeClock, createNodeTurn } from "./runtime/node-clock.ts";
import { createNodeDisk } from "./runtime/node-disk.ts";
import { createNodeHashing } from "./runtime/node-hashing.ts";
import { createNodeHttp } from "./runtime/node-http.ts";
import { createNodeMachine } from "./runtime/node-machine.ts";
import { createNodeNet } from "./runtime/node-net.ts";
import { createNodeRandom } from "./runtime/node-random.ts";
import { VERSION } from "./version.ts";

/** The version that clients are told, since they look there for what they may use. */
const RABBITMQ_VERSION = "4.1.0";

export interface BrokerOptions {
  /** Keep everything in memory: nothing survives, nothing is written. */
  readonly memory?: boolean;
  /** Folder of everything durable; needed unless `memory`. */
  readonly data?: string;
  /** Addresses to listen on; the default is 127.0.0.1 and, where it exists, ::1. */
  readonly hosts?: readonly string[];
  /** Default 0: a free port. */
  readonly amqpPort?: Port;
  /** Default "off"; needs `tls`. */
  readonly amqpsPort?: Port;
  /** Default "off". */
  readonly httpPort?: Port;
  /** Default "off". */
  readonly metricsPort?: Port;
  /** PEM texts of the certificate chain and the private key. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Default: silent. */
  readonly logger?: Logger;
  /** Storage failed: nothing is confirmed any more. End the process or close the broker. */
  readonly onFatal?: (error: Error) => void;
}

export interface Address {
  readonly protocol: "amqp" | "amqps" | "http" | "metrics";
  readonly host: string;
  readonly port: number;
  readonly url: string;
}

export interface RunningBroker {
  readonly addresses: readonly Address[];
  /** Tells clients, commits everything, gives back ports and data folder. Idempotent. */
  close(): Promise<void>;
}

const DEFAULT_HOSTS = ["127.0.0.1", "::1"];

/** Starts a broker; resolves when every listener accepts. Rejects with a sentence, and then nothing runs. */
export async function startBroker(options: BrokerOptions = {}): Promise<RunningBroker> {
  const start = new Start(options);
  try {
    return await start.run();
  } catch (error) {
    await start
      .undo()
      .catch((second: unknown) => options.logger?.warn("undoing the start failed", { error: String(second) }));
    throw error;
  }
}

/** A broker in the making: every step leaves behind how to undo it. */
class Start {
  readonly #options: BrokerOptions;
  readonly #logger: Logger;
  readonly #clock = createNodeClock();
  readonly #turn = createNodeTurn();
  readonly #random = createNodeRandom();
  readonly #machine = createNodeMachine();
  readonly #steps: (() => Promise<void> | void)[] = [];
  readonly #addresses: Address[] = [];
  #hosts: readonly string[];
  #failure: Error | undefined;

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.#hosts = options.hosts ?? DEFAULT_HOSTS;
    this.#logger = options.logger ?? createSilentLogger();
  }

  async run(): Promise<RunningBroker> {
    const { store, diskSpace } = await this.#openStorage();
    const { broker, commits, cleaner } = await this.#openBroker(store);
    const monitor = await startResourceMonitor({
      clock: this.#clock,
      machine: this.#machine,
      logger: this.#logger,
      diskSpace,
      memoryLimitBytes: this.#memoryLimitBytes,
      diskLimitBytes: LIMITS.diskFreeBytesMin,
      setAlarm: (resource, raised) => {
        broker.setAlarm(resource, raised, "monitor");
        if (resource === "disk") cleaner.setShort("monitor", raised);
      },
    });
    this.#steps.push(() => monitor.stop());
    const door = await this.#openDoor(broker);
    await this.#openAdmin({ broker, commits, monitor, door });
    let closing: Promise<void> | undefined;
    return { addresses: this.#addresses, close: () => (closing ??= this.undo()) };
  }

  /** Undoes what was done, newest first. A step that fails does not keep the others from running. */
  async undo(): Promise<void> {
    const errors: unknown[] = [];
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  get #memoryLimitBytes(): number {
    return memoryLimitBytes(this.#machine.memoryBytes());
  }

  async #openStorage(): Promise<{ store: LogStore; diskSpace: (() => Promise<DiskSpace>) | undefined }> {
    const { memory, data } = this.#options;
    if (memory === true) {
      return { store: createMemoryLogStore({ clock: this.#clock, turn: this.#turn }), diskSpace: undefined };
    }
    if (data === undefined) throw new TypeError("startBroker needs { data: folder } or { memory: true }");
    const lock = await lockDataFolder(data, this.#clock, this.#random);
    this.#steps.push(() => lock.release());
    const disk = createNodeDisk();
    const root = `${data}/logs`;
    const store = await openLocalLogStore({ disk, clock: this.#clock, logger: this.#logger, root });
    return { store, diskSpace: () => disk.space(data) };
  }

  async #openBroker(store: LogStore): Promise<{ broker: Broker; commits: () => number; cleaner: Cleaner }> {
    // The shard is there before the broker: what it reports until then concerns nobody but the alarm.
    let broker: Broker | undefined;
    let spaceIsLow = false;
    const { clock, turn, random } = { clock: this.#clock, turn: this.#turn, random: this.#random };
    const opened = await openShard({
      store,
      clock,
      turn,
      logger: this.#logger,
      events: {
        onCommitted: () => broker?.committedChanged(),
        onFlow: () => broker?.flowChanged(),
        onSpace: (state) => {
          spaceIsLow = state === "low";
          broker?.setAlarm("disk", spaceIsLow, "log");
        },
        onFailed: (error) => this.#fatal(error),
      },
    });
    this.#steps.push(() => opened.close());
    const { shard, cleaner } = opened;
    const atTurnEnd = (work: () => void): void => shard.atTurnEnd(work);
    const hashing = createNodeHashing();
    broker = await createBroker({ store, shard, clock, random, hashing, logger: this.#logger, atTurnEnd });
    const created = broker;
    this.#steps.push(() => created.close());
    void created.ended.then((error) => error !== undefined && this.#fatal(error));
    if (spaceIsLow) created.setAlarm("disk", true, "log");
    return { broker: created, commits: () => shard.commits, cleaner };
  }

  /** Storage failed. Told once: the logs of a broker usually fail together. */
  #fatal(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#logger.error("storage failed: nothing more is confirmed", { error: error.message });
    this.#options.onFatal?.(error);
  }

  async #openDoor(broker: Broker): Promise<AmqpDoor> {
    const net = createNodeNet();
    const door = await startAmqpDoor({
      net,
      broker,
      clock: this.#clock,
      random: this.#random,
      logger: this.#logger,
      listeners: [],
      rabbitmqVersion: RABBITMQ_VERSION,
      quaysideVersion: VERSION,
    });
    this.#steps.push(() => door.close());
    const { amqpPort = 0, amqpsPort = "off", tls } = this.#options;
    const accept = (socket: ByteSocket): void => door.accept(socket);
    await this.#listen("amqp", amqpPort, (host, port) => net.listen({ host, port }, accept));
    if (amqpsPort !== "off" && tls === undefined) throw new TypeError("amqpsPort needs tls: { cert, key }");
    if (tls !== undefined) {
      await this.#listen("amqps", amqpsPort, (host, port) => net.listen({ host, port, tls }, accept));
    }
    return door;
  }

  /** HTTP comes last: /v1/health answers only once clients are served. */
  async #openAdmin({ broker, commits, monitor, door }: AdminInputs): Promise<void> {
    const { httpPort = "off", metricsPort = "off" } = this.#options;
    if (httpPort === "off" && metricsPort === "off") return;
    const http = createNodeHttp(this.#logger);
    const loopWatch = this.#machine.watchLoop();
    this.#steps.push(() => loopWatch.stop());
    const source = createAdminSource({
      broker,
      monitor,
      machine: this.#machine,
      clock: this.#clock,
      loopWatch,
      memoryLimitBytes: this.#memoryLimitBytes,
      commits,
      connections: () => door.connectionCount,
      failed: () => this.#failure !== undefined,
    });
    await this.#listen("http", httpPort, (host, port) => listenAdmin({ http, source, host, port }));
    await this.#listen("metrics", metricsPort, (host, port) => listenMetrics({ http, source, host, port }));
  }

  /** Listens on every host and notes the addresses; "off" is nothing to do. */
  async #listen(
    protocol: Address["protocol"],
    port: Port,
    listen: (host: string, port: number) => Promise<Listener>,
  ): Promise<void> {
    if (port === "off") return;
    const listeners = await listenOnAll({
      name: protocol,
      hosts: this.#hosts,
      hostsChosen: this.#options.hosts !== undefined,
      port,
      logger: this.#logger,
      listen,
    });
    // A default address that is absent is told once, not again for every listener.
    this.#hosts = listeners.map(({ host }) => host);
    for (const listener of listeners) {
      this.#addresses.push(addressOf(protocol, listener));
      this.#steps.push(() => listener.close());
    }
  }
}

interface AdminInputs {
  readonly broker: Broker;
  readonly monitor: ResourceMonitor;
  readonly door: AmqpDoor;
  readonly commits: () => number;
}

function addressOf(protocol: Address["protocol"], { host, port }: Listener): Address {
  const name = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const url = protocol === "metrics" ? `http://${name}/metrics` : `${protocol}://${name}`;
  return { protocol, host, port, url };
}
