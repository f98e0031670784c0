// Wires the layers, in this order: data folder and its lock -> log store -> shard -> broker -> doors ->
// admin. The only file that knows them all. It holds no signal handlers and no globals: twenty brokers
// may run in one process. What was started is stopped in the reverse order, also when a later step fails.

import { type Admin, listenAdmin, listenMetrics } from "./admin/admin.ts";
import { createRates } from "./admin/rated-queues.ts";
import { type Broker, createBroker } from "./broker/broker.ts";
import type { MemoryLimit, Port } from "./config.ts";
import { LIMITS } from "./limits.ts";
import { backUp } from "./log/local/backup.ts";
import type { BackupReport } from "./log/local/backup-report.ts";
import { type LocalStore, openLocalLogStore } from "./log/local/store.ts";
import type { LogStore } from "./log/log.ts";
import { createMemoryLogStore } from "./log/memory.ts";
import {
  memoryLimitBytes,
  type ResourceLimits,
  type ResourceMonitor,
  startResourceMonitor,
} from "./observe/resource-monitor.ts";
import type { DiskSpace } from "./ports/disk.ts";
import type { Logger } from "./ports/logger.ts";
import type { ByteSocket, Listener } from "./ports/net.ts";
import type { TlsMaterial } from "./ports/tls.ts";
import { type AmqpDoor, startAmqpDoor } from "./protocols/amqp091/door.ts";
import type { Cleaner } from "./queues/cleaner.ts";
import { openShard } from "./queues/open-shard.ts";
import type { Snapshotter } from "./queues/snapshotter.ts";
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
import { RABBITMQ_VERSION, VERSION } from "./version.ts";

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
  /** PEM texts of the certificate chain and the private key; with `ca`, clients are asked for theirs. */
  readonly tls?: TlsMaterial;
  /** Made at the start unless there is a user of that name; instead of guest when there is no user at all. */
  readonly admin?: { readonly name: string; readonly password: string };
  readonly limits?: BrokerLimits;
  /** Default: silent. */
  readonly logger?: Logger;
  /** Storage failed: nothing is confirmed any more. End the process or close the broker. */
  readonly onFatal?: (error: Error) => void;
}

/** What may be set, and changed while the broker runs; what is left out has its default. */
export interface BrokerLimits {
  /** Largest body, bytes; default 16 MiB, at most 512 MiB. */
  readonly messageBytesMax?: number;
  /** Above this publishers are blocked; default: a share of 0.4. */
  readonly memory?: MemoryLimit;
  /** Free disk space below which publishers are blocked, bytes; default 512 MiB. */
  readonly diskFreeBytesMin?: number;
}

/** What a running broker takes anew; what is left out stays. Throws when the certificates are none. */
export interface Renewal {
  readonly tls?: TlsMaterial;
  readonly limits?: BrokerLimits;
}

/** Nobody but guest is there, and guest's password is known to everybody. `message` says how to go on. */
export class DefaultCredentialsError extends Error {
  override readonly name = "DefaultCredentialsError";
}

export interface Address {
  readonly protocol: "amqp" | "amqps" | "http" | "metrics";
  readonly host: string;
  readonly port: number;
  readonly url: string;
}

export interface RunningBroker {
  readonly addresses: readonly Address[];
  renew(renewal: Renewal): void;
  /**
   * Copies everything that is durable now into `folder`, which must be missing or empty, while the broker goes
   * on. Rejects with a StorageError, or a TypeError for a broker in memory.
   */
  backUp(folder: string): Promise<BackupReport>;
  /**
   * Tells clients, commits everything, gives back ports and data folder. Idempotent. Before that it is not
   * ready any more for `drainMs` (default 0), so that load balancers notice.
   */
  close(drainMs?: number): Promise<void>;
}

const DEFAULT_HOSTS = ["127.0.0.1", "::1"];
/** What an entry holds besides the largest message, bytes. */
const ENTRY_EXTRA_BYTES = 32 * 1024 * 1024;

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

export interface UserToPut {
  readonly name: string;
  readonly password: string;
  readonly tags: readonly string[];
}

/**
 * Makes a user of a data folder that no broker runs on, or gives one a new password, with all permissions in
 * the vhost /. Rejects as `startBroker` does.
 */
export async function putUser(data: string, { name, password, tags }: UserToPut): Promise<void> {
  const start = new Start({ data, admin: { name, password } });
  try {
    await start.runUnseen(async ({ management: { users } }) => {
      const actor = { user: name, tags: ["administrator"] };
      await users.put(actor, name, { password, tags });
      users.putPermission(actor, { vhost: "/", user: name, configure: ".*", write: ".*", read: ".*" });
    });
  } finally {
    await start.undo();
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
  readonly #listeners: Listener[] = [];
  #localStore: LocalStore | undefined;
  #hosts: readonly string[];
  #failure: Error | undefined;
  #draining = false;

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.#hosts = options.hosts ?? DEFAULT_HOSTS;
    this.#logger = options.logger ?? createSilentLogger();
  }

  async run(): Promise<RunningBroker> {
    const { store, diskSpace } = await this.#openStorage();
    const { broker, commits, cleaner, snapshotter } = await this.#openBroker(store);
    const backUpTo = (folder: string): Promise<BackupReport> => this.#backUp(snapshotter, folder);
    this.#refuseDefaultCredentials(broker);
    const monitor = await startResourceMonitor({
      ...this.#resourceLimits(this.#options.limits),
      clock: this.#clock,
      machine: this.#machine,
      logger: this.#logger,
      diskSpace,
      setAlarm: (resource, raised) => {
        broker.setAlarm(resource, raised, "monitor");
        if (resource === "disk") cleaner.setShort("monitor", raised);
      },
    });
    this.#steps.push(() => monitor.stop());
    // HTTP starts last and goes on until the doors are closed: it tells that the broker is not ready any more.
    const adminSteps: (() => Promise<void> | void)[] = [];
    this.#steps.push(() => undoAll(adminSteps));
    const door = await this.#openDoor(broker);
    await this.#openAdmin({ broker, commits, monitor, door, steps: adminSteps, backUp: backUpTo });
    let closing: Promise<void> | undefined;
    return {
      addresses: this.#addresses,
      renew: ({ tls, limits }) => {
        if (tls !== undefined) for (const listener of this.#listeners) listener.renewTls?.(tls);
        if (limits === undefined) return;
        if (limits.messageBytesMax !== undefined) broker.messageBytesMax = limits.messageBytesMax;
        monitor.setLimits(this.#resourceLimits({ ...this.#options.limits, ...limits }));
      },
      backUp: backUpTo,
      close: (drainMs = 0) => (closing ??= this.#drain(drainMs)),
    };
  }

  /** Storage and broker, without any listener. */
  async runUnseen(work: (broker: Broker) => Promise<void>): Promise<void> {
    const { store } = await this.#openStorage();
    const { broker } = await this.#openBroker(store);
    await work(broker);
    await broker.management.committed();
  }

  /** Not ready first, then the end. */
  async #drain(drainMs: number): Promise<void> {
    this.#draining = true;
    if (drainMs > 0) await new Promise<void>((resolve) => this.#clock.after(drainMs, resolve));
    await this.undo();
  }

  /** Undoes what was done, newest first. A step that fails does not keep the others from running. */
  undo(): Promise<void> {
    return undoAll(this.#steps);
  }

  #resourceLimits({ memory = { share: LIMITS.memoryShareMax }, diskFreeBytesMin }: BrokerLimits = {}): ResourceLimits {
    const machineBytes = this.#machine.memoryBytes();
    return {
      memoryLimitBytes: "bytes" in memory ? memory.bytes : memoryLimitBytes(machineBytes, memory.share),
      diskLimitBytes: diskFreeBytesMin ?? LIMITS.diskFreeBytesMin,
    };
  }

  /** A broker that others can reach has a user of its own. */
  #refuseDefaultCredentials(broker: Broker): void {
    const open = this.#hosts.filter((host) => !isLoopback(host));
    if (open.length === 0 || broker.management.users.list().some(({ name }) => name !== "guest")) return;
    throw new DefaultCredentialsError(
      `will not listen on ${open.join(", ")}: the only user is guest, whose password everybody knows. ` +
        "Make an administrator first: set QUAYSIDE_ADMIN_USER and QUAYSIDE_ADMIN_PASSWORD_FILE (or " +
        'QUAYSIDE_ADMIN_PASSWORD), or run "quayside user add NAME --data DIR"; or listen on 127.0.0.1 only',
    );
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
    // The largest message may be set anew while the broker runs, so there is always room for the most.
    const logOptions = { maxEntryBytes: LIMITS.messageBytesCeiling + ENTRY_EXTRA_BYTES };
    const store = await openLocalLogStore({
      disk,
      clock: this.#clock,
      logger: this.#logger,
      root,
      options: logOptions,
    });
    this.#localStore = store;
    return { store, diskSpace: () => disk.space(data) };
  }

  async #openBroker(store: LogStore): Promise<OpenedBroker> {
    // The shard is there before the broker: what it reports until then concerns nobody but the alarm.
    let broker: Broker | undefined;
    let spaceIsLow = false;
    const { clock, turn, random } = { clock: this.#clock, turn: this.#turn, random: this.#random };
    const opened = await openShard({
      store,
      clock,
      turn,
      random,
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
    const { shard, cleaner, snapshotter } = opened;
    const atTurnEnd = (work: () => void): void => shard.atTurnEnd(work);
    const hashing = createNodeHashing();
    const { admin, limits } = this.#options;
    broker = await createBroker({
      store,
      shard,
      clock,
      random,
      hashing,
      logger: this.#logger,
      atTurnEnd,
      ...(admin === undefined ? {} : { firstAdmin: admin }),
    });
    const created = broker;
    created.messageBytesMax = limits?.messageBytesMax ?? LIMITS.messageBytesMax;
    this.#steps.push(() => created.close());
    void created.ended.then((error) => error !== undefined && this.#fatal(error));
    if (spaceIsLow) created.setAlarm("disk", true, "log");
    return { broker: created, commits: () => shard.commits, cleaner, snapshotter };
  }

  /** All logs at one moment: what a crash would leave. Finished snapshots are not written any more. */
  async #backUp(snapshotter: Snapshotter, folder: string): Promise<BackupReport> {
    const store = this.#localStore;
    if (store === undefined) throw new TypeError("a broker in memory has nothing that could be backed up");
    const holdAll = () => {
      const holds = ["shard/0", "shard/0/cold", "meta"].map((id) => store.hold(id));
      return { holds: holds.filter((hold) => hold !== undefined), finished: snapshotter.newestLogs };
    };
    const disk = createNodeDisk();
    const report = await backUp(
      { disk, root: store.root, holdAll, version: VERSION, wallMs: this.#clock.wallMs() },
      folder,
    );
    this.#logger.info("backed up", { folder, files: report.files, bytes: report.bytes });
    return report;
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
  async #openAdmin({ broker, commits, monitor, door, steps, backUp: backUpTo }: AdminInputs): Promise<void> {
    const { httpPort = "off", metricsPort = "off" } = this.#options;
    if (httpPort === "off" && metricsPort === "off") return;
    const http = createNodeHttp(this.#logger);
    const loopWatch = this.#machine.watchLoop();
    steps.push(() => loopWatch.stop());
    const rates = createRates(this.#clock, broker);
    steps.push(() => rates.stop());
    const admin: Admin = {
      broker,
      monitor,
      machine: this.#machine,
      clock: this.#clock,
      loopWatch,
      rates,
      commits,
      connections: () => door.connectionCount,
      listeners: () => this.#addresses,
      failed: () => this.#failure !== undefined,
      draining: () => this.#draining,
      backUp: backUpTo,
    };
    await this.#listen("http", httpPort, (host, port) => listenAdmin({ http, admin, host, port }), steps);
    await this.#listen("metrics", metricsPort, (host, port) => listenMetrics({ http, admin, host, port }), steps);
  }

  /** Listens on every host and notes the addresses; "off" is nothing to do. */
  async #listen(
    protocol: Address["protocol"],
    port: Port,
    listen: (host: string, port: number) => Promise<Listener>,
    steps = this.#steps,
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
      this.#listeners.push(listener);
      steps.push(() => listener.close());
    }
  }
}

interface OpenedBroker {
  readonly broker: Broker;
  readonly commits: () => number;
  readonly cleaner: Cleaner;
  readonly snapshotter: Snapshotter;
}

interface AdminInputs {
  readonly broker: Broker;
  readonly monitor: ResourceMonitor;
  readonly door: AmqpDoor;
  readonly commits: () => number;
  readonly backUp: (folder: string) => Promise<BackupReport>;
  /** Takes how to undo what was started. */
  readonly steps: (() => Promise<void> | void)[];
}

/** Runs the steps, newest first. One that fails does not keep the others from running. */
async function undoAll(steps: (() => Promise<void> | void)[]): Promise<void> {
  const errors: unknown[] = [];
  for (const step of steps.splice(0).reverse()) {
    try {
      await step();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

function isLoopback(host: string): boolean {
  return host === "::1" || host === "localhost" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

function addressOf(protocol: Address["protocol"], { host, port }: Listener): Address {
  const name = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  const url = protocol === "metrics" ? `http://${name}/metrics` : `${protocol}://${name}`;
  return { protocol, host, port, url };
}
