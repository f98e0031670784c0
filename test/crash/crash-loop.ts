// Start, load, kill -9, repeat. The clients report to the checker; every few cycles the queues are
// drained, and what was promised and never came counts as lost.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { connect } from "amqplib";
import { CrashBroker } from "./crash-broker.ts";
import { CrashConsumer } from "./crash-consumer.ts";
import { CrashPublisher } from "./crash-publisher.ts";
import type { Target } from "./crash-publisher.ts";
import { DeliveryChecker } from "./delivery-checker.ts";
import { SeededRandom } from "./random.ts";

const CLASSIC = "crash.classic";
const QUORUM = "crash.quorum";
const FANOUT = "crash.fanout";
const FANOUT_QUEUES = ["crash.fanout.1", "crash.fanout.2", "crash.fanout.quorum"];
const QUEUES: readonly { readonly name: string; readonly quorum: boolean }[] = [
  { name: CLASSIC, quorum: false },
  { name: QUORUM, quorum: true },
  ...FANOUT_QUEUES.map((name) => ({ name, quorum: name.endsWith("quorum") })),
];
const TARGETS: readonly Target[] = [
  { exchange: "", routingKey: CLASSIC, queues: [CLASSIC] },
  { exchange: "", routingKey: QUORUM, queues: [QUORUM] },
  { exchange: FANOUT, routingKey: "", queues: FANOUT_QUEUES },
];

const PUBLISHERS = 4;
const CONSUMERS_PER_QUEUE = 2;
const OWED_MAX = 20_000;
const LIFE_MS = { min: 150, max: 1500 };
const CONSUMER_LIFE_MS_MAX = 400;
const DRAIN_TIMEOUT_MS = 60_000;
/** A queue counts as drained when nothing came for so long and it is empty. */
const DRAIN_QUIET_MS = 200;
const KILL_DURING_START_SHARE = 0.2;
const KILL_DURING_START_MS_MAX = 250;
const GRACEFUL_SHARE = 0.1;

export interface CrashLoopOptions {
  readonly seed: number;
  readonly cycles: number;
  /** How long before a kill marks and acks may still be forgotten, ms. */
  readonly slackMs: number;
  /** Drain and check for losses after every so many cycles. */
  readonly drainEvery: number;
  readonly report: (line: string) => void;
  readonly brokerFlags?: readonly string[];
  readonly brokerCommand?: readonly string[];
  /** Tells the checker of a confirmed message that is never sent: the loop must report it as lost. */
  readonly plantLoss?: boolean;
}

export interface CrashLoopResult {
  readonly violations: readonly string[];
  readonly counts: DeliveryChecker["counts"];
  readonly worstForgottenMs: number;
  readonly worstStartMs: number;
}

class CrashLoop {
  readonly #options: CrashLoopOptions;
  readonly #random: SeededRandom;
  readonly #checker: DeliveryChecker;
  readonly #broker: CrashBroker;
  readonly #publishers: CrashPublisher[];
  readonly #failures: string[] = [];
  #consumers: CrashConsumer[] = [];
  #alive = false;
  #owed = 0;
  #worstStartMs = 0;

  constructor(options: CrashLoopOptions, broker: CrashBroker) {
    this.#options = options;
    this.#broker = broker;
    this.#random = new SeededRandom(options.seed);
    this.#checker = new DeliveryChecker({ slackMs: options.slackMs });
    for (const queue of QUEUES) this.#checker.addQueue(queue.name, { countsDeliveries: queue.quorum });
    this.#publishers = Array.from({ length: PUBLISHERS }, (_, publisher) => {
      return new CrashPublisher({
        publisher,
        port: broker.port,
        targets: TARGETS,
        checker: this.#checker,
        random: this.#random.fork(),
        isFull: () => this.#owed > OWED_MAX,
        onRefused: (reason) => this.#refused(reason),
      });
    });
  }

  get violations(): string[] {
    return [...this.#failures, ...this.#checker.violations];
  }

  result(): CrashLoopResult {
    const { counts, worstForgottenMs } = this.#checker;
    return { violations: this.violations, counts, worstForgottenMs, worstStartMs: this.#worstStartMs };
  }

  async run(): Promise<void> {
    await this.#start();
    await this.#declare();
    if (this.#options.plantLoss === true) {
      const planted = { publisher: PUBLISHERS, sequence: 1, queues: [CLASSIC], persistent: true };
      this.#checker.published(planted);
      this.#checker.confirmed(planted);
    }
    for (let cycle = 1; cycle <= this.#options.cycles && this.violations.length === 0; cycle++) {
      if (!this.#alive) await this.#restart();
      await this.#load();
      const draining = cycle % this.#options.drainEvery === 0 || cycle === this.#options.cycles;
      if (draining) await this.#drain();
      const manner = await this.#end();
      this.#checker.prune(performance.now());
      this.#reportCycle(cycle, `${draining ? "drained, " : ""}${manner}`);
    }
  }

  async #start(): Promise<void> {
    const startMs = await this.#broker.start();
    this.#worstStartMs = Math.max(this.#worstStartMs, startMs);
    this.#alive = true;
  }

  /** Sometimes kills the broker while it recovers, then lets it come up. */
  async #restart(): Promise<void> {
    while (this.#random.chance(KILL_DURING_START_SHARE)) {
      this.#broker.launch();
      await after(this.#random.between(0, KILL_DURING_START_MS_MAX));
      this.#checker.brokerKilled(performance.now());
      await this.#broker.kill();
    }
    await this.#start();
  }

  async #declare(): Promise<void> {
    const connection = await connect(`amqp://guest:guest@127.0.0.1:${this.#broker.port}?heartbeat=0`);
    const channel = await connection.createChannel();
    for (const { name, quorum } of QUEUES) {
      await channel.assertQueue(name, { durable: true, arguments: quorum ? { "x-queue-type": "quorum" } : {} });
    }
    await channel.assertExchange(FANOUT, "fanout", { durable: true });
    for (const name of FANOUT_QUEUES) await channel.bindQueue(name, FANOUT, "");
    await connection.close();
  }

  /** Lets publishers and consumers work for a while; consumers die and are replaced. */
  async #load(): Promise<void> {
    this.#consumers = [];
    for (const { name } of QUEUES) {
      for (let i = 0; i < CONSUMERS_PER_QUEUE; i++) this.#consumers.push(await this.#openConsumer(name));
    }
    for (const publisher of this.#publishers) await publisher.start();
    const endMs = performance.now() + this.#random.between(LIFE_MS.min, LIFE_MS.max);
    for (;;) {
      const leftMs = endMs - performance.now();
      this.#owed = this.#checker.owed();
      if (leftMs <= 0) return;
      const pauseMs = this.#random.between(1, CONSUMER_LIFE_MS_MAX);
      await after(Math.min(leftMs, pauseMs));
      if (pauseMs < leftMs) await this.#replaceConsumer();
    }
  }

  #openConsumer(queue: string): Promise<CrashConsumer> {
    return CrashConsumer.open({
      queue,
      port: this.#broker.port,
      checker: this.#checker,
      random: this.#random.fork(),
      onRefused: (reason) => this.#refused(reason),
    });
  }

  async #replaceConsumer(): Promise<void> {
    const index = this.#random.between(0, this.#consumers.length - 1);
    const victim = this.#consumers[index] as CrashConsumer;
    await victim.die();
    this.#consumers[index] = await this.#openConsumer(victim.queue);
  }

  /** Stops publishing, acks everything, and waits until the queues are empty and quiet. */
  async #drain(): Promise<void> {
    for (const publisher of this.#publishers) await publisher.quiesce();
    for (const consumer of this.#consumers) consumer.beGentle();
    const deadlineMs = performance.now() + DRAIN_TIMEOUT_MS;
    const connection = await connect(`amqp://guest:guest@127.0.0.1:${this.#broker.port}?heartbeat=0`);
    const channel = await connection.createChannel();
    for (;;) {
      let ready = 0;
      for (const { name } of QUEUES) ready += (await channel.checkQueue(name)).messageCount;
      const unsettled = this.#consumers.reduce((sum, consumer) => sum + consumer.unsettled, 0);
      const lastMs = Math.max(...this.#consumers.map((consumer) => consumer.lastDeliveryMs));
      if (ready === 0 && unsettled === 0 && performance.now() - lastMs > DRAIN_QUIET_MS) break;
      if (performance.now() > deadlineMs) {
        this.#failures.push(`the queues did not drain: ${ready} ready, ${unsettled} unsettled`);
        break;
      }
      await after(20);
    }
    await connection.close();
    this.#checker.drained();
  }

  /** Ends the broker, nearly always by kill -9. */
  async #end(): Promise<string> {
    const graceful = this.#random.chance(GRACEFUL_SHARE);
    this.#alive = false;
    this.#checker.brokerKilled(performance.now());
    if (graceful) await this.#broker.stop();
    else if (this.#broker.ended === undefined) await this.#broker.kill();
    else this.#failures.push(`the broker ended by itself (${this.#broker.ended}): ${this.#broker.output.trim()}`);
    for (const publisher of this.#publishers) await publisher.lost();
    return graceful ? "stopped" : "killed";
  }

  #refused(reason: string): void {
    if (this.#alive) this.#failures.push(`the broker refused: ${reason}`);
  }

  #reportCycle(cycle: number, how: string): void {
    const { published, confirmed, delivered, redelivered, acked } = this.#checker.counts;
    const messages = `${published} published, ${confirmed} confirmed, ${delivered} delivered (${redelivered} again)`;
    const forgotten = `acks forgotten up to ${this.#checker.worstForgottenMs.toFixed(1)} ms before a kill`;
    const line = `${messages}, ${acked} acked; ${forgotten}; slowest start ${this.#worstStartMs.toFixed(0)} ms`;
    this.#options.report(`cycle ${cycle}/${this.#options.cycles} ${how}: ${line}`);
  }
}

/** Runs the loop on a data folder of its own, which is kept when a guarantee was broken. */
export async function runCrashLoop(options: CrashLoopOptions): Promise<CrashLoopResult> {
  const dataDir = mkdtempSync(join(tmpdir(), "quayside-crash-"));
  const { brokerFlags, brokerCommand } = options;
  const broker = await CrashBroker.create({
    dataDir,
    ...(brokerFlags === undefined ? {} : { flags: brokerFlags }),
    ...(brokerCommand === undefined ? {} : { command: brokerCommand }),
  });
  const loop = new CrashLoop(options, broker);
  try {
    await loop.run();
  } finally {
    await broker.kill();
    if (loop.violations.length === 0 || options.plantLoss === true) rmSync(dataDir, { recursive: true, force: true });
    else options.report(`seed ${options.seed}: the data folder is kept in ${dataDir}`);
  }
  return loop.result();
}
