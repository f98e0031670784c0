// A broker over a shard made of arrays and a meta log in memory whose commits the test releases.

import { newQueueCounters } from "../../src/queues/shard-port.ts";
import assert from "node:assert/strict";
import { pbkdf2Sync } from "node:crypto";
import { type Broker, type BrokerOptions, createBroker } from "../../src/broker/broker.ts";
import type { BindingDeclaration, ExchangeDeclaration, QueueDeclaration, Session } from "../../src/broker/facade.ts";
import type { SnapshotLimits } from "../../src/broker/meta-log.ts";
import type { LogStore } from "../../src/log/log.ts";
import { createMemoryLogStore } from "../../src/log/memory.ts";
import type { Consumer, ConsumeOptions, DeliverySink } from "../../src/model/delivery.ts";
import { BrokerError, type BrokerErrorCode } from "../../src/model/errors.ts";
import { IncomingMessage, recordSize, writeRecord } from "../../src/model/message.ts";
import type { Clock, Random, Turn } from "../../src/ports/clock.ts";
import type { Hashing } from "../../src/ports/hashing.ts";
import type { Logger } from "../../src/ports/logger.ts";
import type {
  Peeked,
  PeekOptions,
  QueueCounts,
  QueueSettings,
  ShardCounters,
  ShardPort,
} from "../../src/queues/shard-port.ts";

/** Work of later turns, run when the test says so: until then nothing is committed. */
export class ManualTurn implements Turn {
  #work: (() => void)[] = [];

  schedule(run: () => void): void {
    this.#work.push(run);
  }

  /** Runs everything, what comes of it included. */
  run(): void {
    for (let work = this.#work.shift(); work !== undefined; work = this.#work.shift()) work();
  }
}

export const testClock: Clock = {
  wallMs: () => 1_700_000_000_000,
  monotonicMs: () => 0,
  after: () => ({ cancel: () => undefined }),
};

/** Counts up: every id differs, and runs are equal. */
export function testRandom(): Random {
  let next = 0;
  return {
    u32: () => next++,
    bytes(size: number): Uint8Array {
      const bytes = Buffer.alloc(size);
      bytes.writeUInt32BE(next++, 0);
      return bytes;
    },
  };
}

/** One round instead of thousands, at once: tests of the broker are not tests of PBKDF2. */
export const testHashing: Hashing = {
  pbkdf2: ({ password, salt, hash }) =>
    Promise.resolve(pbkdf2Sync(password, salt, 1, hash === "sha256" ? 32 : 64, hash)),
};

export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

interface FakeQueue {
  readonly settings: QueueSettings;
  readonly ready: Buffer[];
  readonly sinks: Set<DeliverySink>;
  inFlight: number;
  next: number;
}

/** Queues as arrays. Durable ones survive `afterRestart`, empty. Commits when the test says so. */
export class FakeShard implements ShardPort {
  openPosition = 1;
  committed = 0;
  congested = false;
  backlogBytes = 0;
  readonly counters: ShardCounters = {
    published: 0,
    delivered: 0,
    redelivered: 0,
    acked: 0,
    requeued: 0,
    purged: 0,
    dropped: 0,
    expired: 0,
    deadLettered: 0,
    refused: 0,
    deduplicated: 0,
  };
  readonly queues = new Map<number, FakeQueue>();
  #waiters: (() => void)[] = [];

  afterRestart(): FakeShard {
    const shard = new FakeShard();
    for (const [id, queue] of this.queues) if (queue.settings.durable) shard.createQueue(id, queue.settings);
    return shard;
  }

  /** Everything published so far is durable. */
  commit(): void {
    this.committed = this.openPosition;
    this.openPosition++;
    for (const done of this.#waiters.splice(0)) done();
  }

  createQueue(queueId: number, settings: QueueSettings): void {
    assert(!this.queues.has(queueId), "a queue is created once");
    this.queues.set(queueId, { settings, ready: [], sinks: new Set(), inFlight: 0, next: 0 });
  }

  configureQueue(queueId: number, settings: QueueSettings): void {
    const { ready, sinks, inFlight, next } = this.#queue(queueId);
    this.queues.set(queueId, { settings, ready, sinks, inFlight, next });
  }

  setDeadLetterRouter(): void {}

  deleteQueue(queueId: number): number {
    const queue = this.#queue(queueId);
    this.queues.delete(queueId);
    for (const sink of queue.sinks) sink.cancelled();
    return queue.ready.length;
  }

  hasQueue(queueId: number): boolean {
    return this.queues.has(queueId);
  }

  queueIds(): IterableIterator<number> {
    return this.queues.keys();
  }

  counts(queueId: number): QueueCounts {
    const { ready, inFlight, sinks } = this.#queue(queueId);
    const counters = newQueueCounters();
    return { ready: ready.length, inFlight, delayed: 0, consumers: sinks.size, bytes: 0, readyBytes: 0, counters };
  }

  purge(queueId: number): number {
    return this.#queue(queueId).ready.splice(0).length;
  }

  /** Of each publish: to how many queues, and how long they hold it back, ms. */
  readonly publishes: { readonly queues: number; readonly delayMs: number }[] = [];

  publish(message: IncomingMessage, queueIds: readonly number[]): number {
    this.publishes.push({ queues: queueIds.length, delayMs: message.delayMs });
    const record = Buffer.alloc(recordSize(message));
    writeRecord(message, record, 0);
    for (const queueId of queueIds) this.#queue(queueId).ready.push(record);
    const isLogged = message.persistent && queueIds.some((queueId) => this.#queue(queueId).settings.durable);
    return isLogged ? this.openPosition : 0;
  }

  atomically(_bytes: number, work: () => void): void {
    work();
  }

  consume(queueId: number, sink: DeliverySink, _options: ConsumeOptions): Consumer {
    const { sinks } = this.#queue(queueId);
    sinks.add(sink);
    return {
      queueId,
      isActive: true,
      resume: () => undefined,
      pause: () => undefined,
      cancel: () => void sinks.delete(sink),
    };
  }

  take(queueId: number, _noAck: boolean, sink: DeliverySink, done: (found: boolean) => void): void {
    const queue = this.#queue(queueId);
    const record = queue.ready.shift();
    if (record !== undefined) {
      queue.inFlight++;
      sink.deliver(record, 0, record.length, queueId, 0, queue.next++, 0);
    }
    done(record !== undefined);
  }

  peek(queueId: number, { skip, count }: PeekOptions): Promise<readonly Peeked[]> {
    const records = this.#queue(queueId).ready.slice(skip, skip + count);
    return Promise.resolve(records.map((record) => ({ record, deliveries: 0 })));
  }

  settle(queueId: number, _lane: number, first: number, last: number): void {
    this.#queue(queueId).inFlight -= last - first + 1;
  }

  requeue(queueId: number, _lane: number, _sequence: number): void {
    this.#queue(queueId).inFlight--;
  }

  whenCommitted(done: () => void): void {
    this.#waiters.push(done);
  }

  #queue(queueId: number): FakeQueue {
    const queue = this.queues.get(queueId);
    assert(queue !== undefined, `the broker names existing queues, not ${queueId}`);
    return queue;
  }
}

/** Remembers the records that it was given. */
export class TestSink implements DeliverySink {
  readonly records: Buffer[] = [];
  isCancelled = false;

  deliver(bytes: Buffer, start: number, size: number): boolean {
    this.records.push(Buffer.from(bytes.subarray(start, start + size)));
    return true;
  }

  cancelled(): void {
    this.isCancelled = true;
  }
}

export interface Bench {
  readonly broker: Broker;
  readonly shard: FakeShard;
  readonly turn: ManualTurn;
  readonly store: LogStore;
  readonly session: Session;
  /** The process dies now and another one starts on what was committed. */
  crash(shard?: FakeShard): Promise<Bench>;
}

interface BenchOptions {
  readonly limits?: SnapshotLimits;
  readonly extentBytes?: number;
  /** Default: a fresh one in memory. */
  readonly store?: LogStore;
  readonly turn?: ManualTurn;
  readonly broker?: Partial<BrokerOptions>;
  /** Whose session the bench has; default: guest. */
  readonly user?: string;
}

export async function openBench(options: BenchOptions = {}): Promise<Bench> {
  const turn = options.turn ?? new ManualTurn();
  const extents = options.extentBytes === undefined ? {} : { extentBytes: options.extentBytes };
  const store = options.store ?? createMemoryLogStore({ clock: testClock, turn, ...extents });
  return start(options, { turn, store, shard: new FakeShard() });
}

async function start(
  options: BenchOptions,
  parts: { readonly turn: ManualTurn; readonly store: LogStore; readonly shard: FakeShard },
): Promise<Bench> {
  const broker = await createBroker({
    ...parts,
    clock: testClock,
    random: testRandom(),
    hashing: testHashing,
    logger: silentLogger,
    ...options.broker,
    atTurnEnd: (work) => parts.turn.schedule(work),
    ...(options.limits === undefined ? {} : { metaSnapshots: options.limits }),
  });
  return {
    ...parts,
    broker,
    session: broker.openSession(options.user ?? "guest", "/"),
    crash: (shard = parts.shard.afterRestart()) => start(options, { ...parts, shard }),
  };
}

export function queue(name: string, settings: Partial<QueueDeclaration> = {}): QueueDeclaration {
  const defaults = { passive: false, durable: true, exclusive: false, autoDelete: false, arguments: new Map() };
  return { name, ...defaults, ...settings };
}

export function exchange(name: string, type: string, settings: Partial<ExchangeDeclaration> = {}): ExchangeDeclaration {
  const defaults = { passive: false, durable: true, autoDelete: false, internal: false, arguments: new Map() };
  return { name, type, ...defaults, ...settings };
}

export function binding(
  from: string,
  to: string,
  routingKey = "",
  args: BindingDeclaration["arguments"] = new Map(),
): BindingDeclaration {
  return { exchange: from, queue: to, routingKey, arguments: args };
}

/** Asserts that `run` is refused with this code and exactly this sentence. */
export function refuses(run: () => unknown, code: BrokerErrorCode, message: string | RegExp): void {
  assert.throws(run, (error) => {
    assert(error instanceof BrokerError, String(error));
    if (typeof message === "string") assert.equal(error.message, message);
    else assert.match(error.message, message);
    assert.equal(error.code, code);
    return true;
  });
}

/** Names of the queues that a publish reaches, sorted. */
export function reached(
  { broker, session }: Bench,
  exchangeName: string,
  key: string,
  properties: Buffer = NO_PROPERTIES,
): string[] {
  const { queueIds } = broker.route(session, exchangeName, key, properties);
  assert.equal(new Set(queueIds).size, queueIds.length, "no queue is named twice");
  return queueIds.map((id) => broker.management.topology.queueById(id)?.record.name ?? `unknown ${id}`).sort();
}

export const NO_PROPERTIES: Buffer = Buffer.from([0, 0]);

/** The id behind a queue's name: the default exchange routes there. */
export function idOf(broker: Broker, session: Session, name: string): number {
  const [id] = broker.route(session, "", name, NO_PROPERTIES).queueIds;
  assert(id !== undefined, `queue ${name} exists`);
  return id;
}

export function message(
  body: string,
  settings: { readonly persistent: boolean } = { persistent: true },
): IncomingMessage {
  const incoming = new IncomingMessage();
  incoming.envelope = Buffer.from([0, 0]);
  incoming.envelopeEnd = 2;
  incoming.properties = NO_PROPERTIES;
  incoming.propertiesEnd = 2;
  incoming.bodyParts = [Buffer.from(body)];
  incoming.bodyStarts = [0];
  incoming.bodyEnds = [Buffer.byteLength(body)];
  incoming.bodyCount = 1;
  incoming.bodySize = Buffer.byteLength(body);
  incoming.persistent = settings.persistent;
  return incoming;
}

/** Publishes; returns the position to wait for. */
export function publish({ broker, session }: Bench, exchangeName: string, key: string, body: string): number {
  return broker.publish(message(body), broker.route(session, exchangeName, key, NO_PROPERTIES));
}

/** What must survive a restart, in an order that does not depend on history. Salts are drawn anew, so not those. */
export function durableState(broker: Broker): string {
  const definitions = broker.management.definitions.export({ user: "guest", tags: ["administrator"] });
  return JSON.stringify(definitions).replaceAll(/"password_hash":"[^"]+"/g, '"password_hash":"some"');
}
