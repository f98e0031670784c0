// One simulated life of a shard: the real shard and the real log engine over a disk that fails, a
// clock that jumps, and clients that publish, consume, ack, requeue, purge and vanish. All choices
// come from the seed. The checks are in shard-model.ts; they run during the life and after each
// restart.

import { PLAIN_SETTINGS } from "../../src/queues/shard-port.ts";
import { crc32 } from "node:zlib";
import { openLocalLogStore } from "../../src/log/local/store.ts";
import type { Consumer, DeliverySink } from "../../src/model/delivery.ts";
import { BrokerError, StorageError } from "../../src/model/errors.ts";
import type { Logger } from "../../src/ports/logger.ts";
import { type OpenShard, openShard } from "../../src/queues/open-shard.ts";
import type { AllShardParameters } from "../../src/queues/shard-options.ts";
import { messageOf, textOf } from "../unit/shard-world.ts";
import { Prng } from "./prng.ts";
import { ModelQueue, ShardModel } from "./shard-model.ts";
import { checkCounters, describeShard, readMessages, sameState } from "./shard-state-view.ts";
import { SimClock } from "./sim-clock.ts";
import { type DiskFaults, SimDisk } from "./sim-disk.ts";

export interface SimOptions {
  readonly seed: number;
  readonly operations?: number;
}

export interface SimResult {
  readonly traceHash: number;
  readonly published: number;
  readonly delivered: number;
  readonly restarts: number;
  readonly snapshots: number;
  readonly cleaned: number;
  readonly spaceWasLow: boolean;
}

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };

/** The swarm: each seed has its own mix of sizes, faults and habits. */
interface Habits {
  readonly parameters: Partial<AllShardParameters>;
  readonly segmentBytes: number;
  readonly faults: DiskFaults;
  /** Now and then somebody else fills the disk. */
  readonly diskFills: boolean;
  readonly transientShare: number;
  readonly crashShare: number;
  readonly bigShare: number;
}

function habitsOf(random: Prng): Habits {
  // Where the disk fills up the proportions are as in life: a message is much smaller than a segment,
  // and the reserve holds the settles of all that is queued.
  const diskFills = random.chance(0.15);
  return {
    parameters: {
      pageRows: 8,
      pageRowsFirst: 2,
      slabBytes: 4096,
      entryTargetBytes: random.pick([256, 1024]),
      tailCacheBytes: random.pick([4096, 16384]),
      lazyCommitMs: 10,
      readAheadBytes: 2048,
      readAheadTotalBytes: 8192,
      snapshotMinBytes: random.pick([2048, 8192]),
      cleanerSlackBytes: random.pick([4096, 16384]),
      transientSlabBytes: 1024,
      transientBytesMax: random.pick([2048, 16384]),
    },
    segmentBytes: diskFills ? 32 * 1024 : random.pick([4096, 8192]),
    faults: {
      syncErrors: random.chance(0.3) ? 0.003 : 0,
      writeErrors: random.chance(0.1) ? 0.003 : 0,
      slowCalls: random.chance(0.3) ? 0.1 : 0,
    },
    diskFills,
    transientShare: random.pick([0, 0.1, 0.5]),
    crashShare: random.pick([0.005, 0.02, 0.05]),
    bigShare: random.pick([0, 0.02, 0.2]),
  };
}

class SimConsumer implements DeliverySink {
  readonly queueId: number;
  readonly inFlight: { readonly sequence: number; readonly text: string }[] = [];
  readonly noAck: boolean;
  credit: number;
  handle: Consumer | undefined = undefined;
  isCancelled = false;
  readonly #onDelivery: (consumer: SimConsumer, text: string, deliveries: number) => void;

  constructor(
    queueId: number,
    credit: number,
    noAck: boolean,
    onDelivery: (consumer: SimConsumer, text: string, deliveries: number) => void,
  ) {
    this.queueId = queueId;
    this.credit = credit;
    this.noAck = noAck;
    this.#onDelivery = onDelivery;
  }

  deliver(
    bytes: Buffer,
    start: number,
    size: number,
    _queueId: number,
    _lane: number,
    sequence: number,
    deliveries: number,
  ): boolean {
    const text = textOf(bytes, start, size);
    this.#onDelivery(this, text, deliveries);
    if (this.noAck) return true;
    this.inFlight.push({ sequence, text });
    return --this.credit > 0;
  }

  cancelled(): void {
    this.isCancelled = true;
  }
}

export class ShardSim {
  readonly #seed: number;
  readonly #operations: number;
  readonly #random: Prng;
  readonly #habits: Habits;
  readonly #clock = new SimClock();
  readonly #model = new ShardModel();
  #disk: SimDisk;
  #open: OpenShard | undefined = undefined;
  #consumers: SimConsumer[] = [];
  #unconfirmed: { readonly position: number; readonly texts: () => void }[] = [];
  #trace = 0;
  #nextQueueId = 1;
  #nextText = 0;
  #published = 0;
  #delivered = 0;
  #restarts = 0;
  #snapshots = 0;
  #cleaned = 0;
  #diskIsFull = false;
  #spaceIsLow = false;
  #spaceWasLow = false;
  #error: Error | undefined = undefined;

  constructor({ seed, operations = 400 }: SimOptions) {
    this.#seed = seed;
    this.#operations = operations;
    this.#random = new Prng(seed);
    this.#habits = habitsOf(this.#random.fork());
    this.#disk = new SimDisk({
      random: this.#random.fork(),
      schedule: (delayMs, run) => void this.#clock.after(delayMs, run),
    });
  }

  /** Lives the life. Throws an error that names the seed when a check fails. */
  async run(): Promise<SimResult> {
    try {
      await this.#openShard();
      for (let i = 0; i < this.#operations; i++) await this.#operation();
      await this.#end();
    } catch (error) {
      throw new Error(`seed ${this.#seed}: ${(error as Error).message}`, { cause: error });
    }
    return {
      traceHash: this.#trace,
      published: this.#published,
      delivered: this.#delivered,
      restarts: this.#restarts,
      snapshots: this.#snapshots,
      cleaned: this.#cleaned,
      spaceWasLow: this.#spaceWasLow,
    };
  }

  get #shard(): OpenShard["shard"] {
    return this.#open!.shard;
  }

  #note(what: string): void {
    this.#trace = crc32(what, this.#trace);
  }

  async #openShard(): Promise<void> {
    this.#disk.setFaults({});
    this.#spaceIsLow = false;
    const store = await this.#clock.resolve(
      openLocalLogStore({
        disk: this.#disk,
        clock: this.#clock,
        logger: silent,
        root: "data",
        options: { segmentBytes: this.#habits.segmentBytes, maxEntryBytes: 1024 * 1024 },
      }),
    );
    this.#open = await this.#clock.resolve(
      openShard({
        store,
        clock: this.#clock,
        turn: this.#clock,
        logger: silent,
        parameters: this.#habits.parameters,
        events: {
          onCommitted: () => this.#confirm(),
          onFlow: () => undefined,
          onSpace: (state) => {
            this.#spaceIsLow = state === "low";
            if (this.#spaceIsLow) this.#spaceWasLow = true;
          },
          onFailed: () => undefined,
        },
      }),
    );
    this.#disk.setFaults(this.#habits.faults);
  }

  /** Publishers hear of what the shard calls committed, no more. */
  #confirm(): void {
    // What a start itself commits concerns no publisher.
    if (this.#open === undefined) return;
    const committed = this.#shard.committed;
    let done = 0;
    while (done < this.#unconfirmed.length && this.#unconfirmed[done]!.position <= committed) {
      this.#unconfirmed[done++]!.texts();
    }
    this.#unconfirmed.splice(0, done);
  }

  async #operation(): Promise<void> {
    const { failure } = this.#shard;
    if (failure !== undefined) {
      // Publishers stopped when they were told that space is low: there must have been enough to drain.
      if (failure.kind === "full") throw new Error("the log filled up although publishers had stopped");
      await this.#restart("kill");
    } else if (this.#random.chance(this.#habits.crashShare)) {
      await this.#restart(this.#random.pick(["crash", "crash", "kill", "quiet", "close"]));
    } else {
      this.#choose();
    }
    await this.#clock.advance(this.#random.chance(0.2) ? this.#random.between(1, 30) : this.#random.below(100) / 50);
    if (this.#error !== undefined) throw this.#error;
  }

  #choose(): void {
    // The reserve is for draining: while space is low, clients settle what they have.
    const dice = this.#spaceIsLow ? 60 : this.#random.below(100);
    if (this.#habits.diskFills && this.#random.chance(0.03)) this.#fillDisk();
    if (dice < 45) this.#publish(this.#habits.diskFills ? 1 : this.#random.between(1, 8));
    else if (dice < 75) this.#settleSome();
    else if (dice < 80) this.#requeueSome();
    else if (dice < 86) this.#addConsumer();
    else if (dice < 89) this.#cancelConsumer();
    else if (dice < 92) this.#createQueue();
    else if (dice < 93) this.#deleteQueue();
    else if (dice < 95) this.#purge();
    else if (dice < 97) void this.#open!.snapshotter.take();
    else this.#awaitDurable();
  }

  /** Somebody else takes what is left of the disk, or gives it back. */
  #fillDisk(): void {
    // A young log has no reserve yet: it is made when a 64th of the first segment is used.
    const segments = this.#disk.files().filter((path) => /^data\/shard\/0\/\d+\.seg$/.test(path));
    if (segments.length < 3) return;
    this.#diskIsFull = !this.#diskIsFull;
    this.#disk.setCapacity(this.#diskIsFull ? this.#disk.usedBytes : Number.POSITIVE_INFINITY);
  }

  #publish(count: number): void {
    const ids = [...this.#model.queues.keys()];
    if (ids.length === 0 || this.#spaceIsLow) return;
    for (let i = 0; i < count; i++) {
      const queueIds = ids.filter(() => this.#random.chance(1 / ids.length));
      if (queueIds.length === 0) queueIds.push(this.#random.pick(ids));
      const persistent = !this.#random.chance(this.#habits.transientShare);
      const size = this.#random.chance(this.#habits.bigShare)
        ? this.#random.between(2000, 9000)
        : this.#random.below(200);
      const text = `${this.#nextText++}:`.padEnd(size, "x");
      const messages = this.#model.published(text, queueIds, persistent);
      let position: number;
      try {
        position = this.#shard.publish(messageOf(text, persistent), queueIds);
      } catch (error) {
        if (error instanceof BrokerError) return; // the log failed in this very turn: never confirmed
        throw error;
      }
      this.#published++;
      if (position > 0) {
        this.#unconfirmed.push({
          position,
          texts: () => {
            for (const message of messages) message.confirmed = true;
          },
        });
      }
    }
  }

  #onDelivery(consumer: SimConsumer, text: string, deliveries: number): void {
    this.#delivered++;
    this.#note(`${consumer.queueId} ${text} ${deliveries}`);
    try {
      const message = this.#model.delivered(consumer.queueId, text, deliveries);
      if (consumer.noAck) {
        message.inFlight = false;
        message.settled = "lazy";
      }
    } catch (error) {
      this.#error ??= error as Error;
    }
  }

  #settleSome(): void {
    const busy = this.#consumers.filter((consumer) => consumer.inFlight.length > 0);
    if (busy.length === 0) return;
    const consumer = this.#random.pick(busy);
    const count = this.#random.between(1, consumer.inFlight.length);
    const from = this.#random.chance(0.7) ? 0 : this.#random.below(consumer.inFlight.length - count + 1);
    for (const { sequence, text } of consumer.inFlight.splice(from, count)) {
      this.#shard.settle(consumer.queueId, 0, sequence, sequence, this.#random.pick([0, 0, 0, 1]));
      const message = this.#model.queues.get(consumer.queueId)?.messages.get(text);
      if (message !== undefined) {
        message.settled = "lazy";
        message.inFlight = false;
      }
    }
    consumer.credit += count;
    consumer.handle!.resume();
  }

  #requeueSome(): void {
    const busy = this.#consumers.filter((consumer) => consumer.inFlight.length > 0);
    if (busy.length === 0) return;
    const consumer = this.#random.pick(busy);
    const at = this.#random.below(consumer.inFlight.length);
    const [one] = consumer.inFlight.splice(at, 1);
    this.#requeue(consumer, one!);
    consumer.credit++;
    consumer.handle!.resume();
  }

  #requeue(consumer: SimConsumer, one: { readonly sequence: number; readonly text: string }): void {
    const message = this.#model.queues.get(consumer.queueId)?.messages.get(one.text);
    if (message !== undefined) message.inFlight = false;
    this.#shard.requeue(consumer.queueId, 0, one.sequence, "client");
  }

  #addConsumer(): void {
    const ids = [...this.#model.queues.keys()];
    if (ids.length === 0 || this.#consumers.length >= 8) return;
    const noAck = this.#random.chance(0.15);
    const consumer = new SimConsumer(
      this.#random.pick(ids),
      this.#random.between(1, 20),
      noAck,
      (at, text, deliveries) => this.#onDelivery(at, text, deliveries),
    );
    this.#consumers.push(consumer);
    consumer.handle = this.#shard.consume(consumer.queueId, consumer, { noAck, exclusive: false });
  }

  #cancelConsumer(): void {
    if (this.#consumers.length === 0) return;
    const [consumer] = this.#consumers.splice(this.#random.below(this.#consumers.length), 1);
    consumer!.handle!.cancel();
    for (const one of consumer!.inFlight.splice(0)) this.#requeue(consumer!, one);
  }

  #createQueue(): void {
    if (this.#model.queues.size >= 5) return;
    const queueId = this.#nextQueueId++;
    this.#model.queues.set(queueId, new ModelQueue());
    this.#shard.createQueue(queueId, {
      ...PLAIN_SETTINGS,
      durable: true,
      deliverAfterCommit: this.#random.chance(0.3),
    });
  }

  #deleteQueue(): void {
    const ids = [...this.#model.queues.keys()];
    if (ids.length < 3) return;
    const queueId = this.#random.pick(ids);
    this.#shard.deleteQueue(queueId);
    this.#model.queues.delete(queueId);
    this.#model.deleted.add(queueId);
    this.#consumers = this.#consumers.filter((consumer) => {
      if (consumer.queueId === queueId && !consumer.isCancelled) throw new Error("a consumer was not told");
      return consumer.queueId !== queueId;
    });
  }

  #purge(): void {
    const ids = [...this.#model.queues.keys()];
    if (ids.length === 0 || this.#random.chance(0.5)) return;
    const queueId = this.#random.pick(ids);
    const purged = this.#shard.purge(queueId);
    let expected = 0;
    for (const message of this.#model.queues.get(queueId)!.messages.values()) {
      if (message.settled !== "no" || message.inFlight) continue;
      message.settled = "lazy";
      expected++;
    }
    if (purged !== expected) throw new Error(`purged ${purged} of ${expected}`);
  }

  /** A commit that covers everything applied so far. */
  #awaitDurable(): void {
    const open = this.#open;
    const model = this.#model;
    const settled: (() => void)[] = [];
    for (const queue of model.queues.values()) {
      settled.push(() => {
        queue.created = "durable";
      });
      for (const message of queue.messages.values()) {
        const { deliveries } = message;
        const wasSettled = message.settled !== "no";
        settled.push(() => {
          if (wasSettled) message.settled = "durable";
          message.durableDeliveries = Math.max(message.durableDeliveries, deliveries);
        });
      }
    }
    const deleted = [...model.deleted];
    this.#shard.whenCommitted(() => {
      if (this.#open !== open) return;
      for (const apply of settled) apply();
      for (const queueId of deleted) model.deleted.delete(queueId);
    });
  }

  /** Ends this process one way or another, and starts the next one on what is left. */
  async #restart(how: "crash" | "kill" | "quiet" | "close"): Promise<void> {
    this.#restarts++;
    this.#note(how);
    this.#snapshots += this.#open!.snapshotter.taken;
    this.#cleaned += this.#open!.cleaner.cleanedExtents;
    let before: string | undefined;
    const locations = how !== "close"; // the cleaner may go on until the end of a close
    if (how === "close") for (const consumer of this.#consumers) consumer.handle!.cancel();
    if (how === "quiet" || how === "close") before = await this.#quiesce(locations);
    if (how === "close" && before !== undefined) await this.#close();
    this.#disk = how === "crash" ? this.#disk.crash() : this.#disk.kill();
    this.#open = undefined;
    this.#consumers = [];
    this.#unconfirmed = [];
    await this.#openShard();
    await this.#checkRestart(before, locations);
  }

  /** A close that meets a failing disk says so; what was durable before must be there all the same. */
  async #close(): Promise<void> {
    try {
      await this.#clock.resolve(this.#open!.close());
    } catch (error) {
      if (!(error instanceof StorageError) || error.kind !== "io") throw error;
    }
  }

  /** Commits everything; returns the state that the next process must find, or nothing when the log failed. */
  async #quiesce(locations: boolean): Promise<string | undefined> {
    const shard = this.#shard;
    for (let tries = 0; tries < 1000; tries++) {
      let committed = false;
      shard.whenCommitted(() => {
        committed = true;
      });
      await this.#clock.runUntil(() => committed || shard.failure !== undefined);
      if (shard.failure !== undefined) return undefined;
      shard.journal.flush();
      if (shard.journal.lastPosition > shard.committed) continue;
      this.#model.everythingDurable();
      checkCounters(shard);
      return describeShard(shard, { afterRestart: true, locations });
    }
    throw new Error("the shard never comes to rest");
  }

  async #checkRestart(before: string | undefined, locations: boolean): Promise<void> {
    const shard = this.#shard;
    checkCounters(shard);
    const after = describeShard(shard, { afterRestart: false, locations });
    if (before !== undefined) sameState(before, after);
    this.#note(after);
    const queues = await this.#clock.resolve(readMessages(shard));
    const deletedAgain: number[] = [];
    for (const [queueId, found] of queues) {
      if (this.#model.queues.has(queueId)) this.#model.restarted(queueId, found);
      else if (this.#model.deleted.has(queueId)) deletedAgain.push(queueId);
      else throw new Error(`queue ${queueId} is there, which nobody created`);
    }
    for (const [queueId, queue] of this.#model.queues) {
      if (queues.has(queueId)) continue;
      if (queue.created === "durable") throw new Error(`queue ${queueId} is lost`);
      if ([...queue.messages.values()].some((message) => message.confirmed))
        throw new Error(`queue ${queueId} is lost`);
      this.#model.queues.delete(queueId);
    }
    for (const queue of this.#model.queues.values()) queue.created = "durable";
    this.#model.deleted.clear();
    for (const queueId of deletedAgain) {
      shard.deleteQueue(queueId);
      this.#model.deleted.add(queueId);
    }
  }

  /** Drains every queue, looks that space comes back, and restarts a last time. */
  async #end(): Promise<void> {
    if (this.#shard.failure !== undefined) await this.#restart("kill");
    this.#disk.setFaults({});
    for (const queueId of this.#model.queues.keys()) {
      const consumer = new SimConsumer(queueId, Number.POSITIVE_INFINITY, true, (at, text, deliveries) =>
        this.#onDelivery(at, text, deliveries),
      );
      consumer.handle = this.#shard.consume(queueId, consumer, { noAck: true, exclusive: false });
    }
    for (const consumer of this.#consumers) {
      for (const one of consumer.inFlight.splice(0)) this.#requeue(consumer, one);
      consumer.handle!.cancel();
    }
    await this.#clock.advance(2000);
    if (this.#error !== undefined) throw this.#error;
    for (const [queueId, queue] of this.#model.queues) {
      const left = [...queue.messages.values()].filter((message) => message.settled === "no");
      if (left.length > 0)
        throw new Error(`queue ${queueId} did not deliver message ${Number.parseInt(left[0]!.text, 10)}`);
    }
    if (this.#shard.failure !== undefined)
      throw new Error(`the log failed without a fault: ${this.#shard.failure.message}`);
    this.#disk.setCapacity(Number.POSITIVE_INFINITY);
    if (this.#spaceIsLow) await this.#spaceComesBack();
    await this.#restart("quiet");
  }

  async #spaceComesBack(): Promise<void> {
    for (let round = 0; round < 20 && this.#spaceIsLow; round++) {
      await this.#clock.resolve(this.#open!.snapshotter.take());
      await this.#clock.advance(1500);
    }
    if (this.#spaceIsLow) throw new Error("there is space again, and publishers are still blocked");
  }
}
