// The life of one queue with features and of the queue of its dead letters, on a disk that loses power.
// Whatever the settings, a confirmed message is in exactly one place: in the queue, among the dead letters,
// or settled by a consumer. Nothing is delivered that may not be: an expired message, one of a group whose
// turn it is not, a duplicate, more attempts than allowed. What is recovered equals what was live.

import assert from "node:assert/strict";
import { openLocalLogStore } from "../../src/log/local/store.ts";
import { SETTLE_ACKED, SETTLE_REJECTED } from "../../src/model/delivery.ts";
import type { Consumer, DeliverySink } from "../../src/model/delivery.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { encodeTable } from "../../src/model/field-table.ts";
import type { IncomingMessage } from "../../src/model/message.ts";
import { FLAG_HEADERS } from "../../src/model/properties.ts";
import type { Logger } from "../../src/ports/logger.ts";
import { type OpenShard, openShard } from "../../src/queues/open-shard.ts";
import { PLAIN_SETTINGS, type QueueSettings, REFUSED } from "../../src/queues/shard-port.ts";
import { messageOf, textOf } from "../unit/shard-world.ts";
import { Prng } from "./prng.ts";
import { SimClock } from "./sim-clock.ts";
import { SimDisk } from "./sim-disk.ts";
import { describeRows, readAllTexts } from "./shard-state-view.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
const QUEUE = 1;
const DEAD = 2;

interface Sent {
  readonly text: string;
  readonly group: string | undefined;
  readonly expiresAtMs: number;
  confirmed: boolean;
  /** A consumer settled it; it may come back after a crash, it need not be anywhere. */
  isGone: boolean;
}

export interface FeatureResult {
  readonly published: number;
  readonly delivered: number;
  readonly deadLettered: number;
  readonly restarts: number;
}

interface Delivery {
  readonly lane: number;
  readonly sequence: number;
  readonly text: string;
}

export class FeatureSim {
  readonly #seed: number;
  readonly #random: Prng;
  readonly #clock = new SimClock();
  readonly #settings: QueueSettings;
  readonly #sent = new Map<string, Sent>();
  /** Deduplication: name -> text of the original. */
  readonly #named = new Map<string, string>();
  #disk: SimDisk;
  #open: OpenShard | undefined = undefined;
  #consumer: Consumer | undefined = undefined;
  #held: Delivery[] = [];
  #credit = 0;
  #unconfirmed: { readonly position: number; readonly sent: Sent }[] = [];
  #failure: Error | undefined = undefined;
  #counts = { published: 0, delivered: 0, deadLettered: 0, restarts: 0 };

  constructor({ seed }: { readonly seed: number }) {
    this.#seed = seed;
    this.#random = new Prng(seed);
    this.#settings = settingsOf(this.#random.fork());
    this.#disk = new SimDisk({
      random: this.#random.fork(),
      schedule: (delayMs, run) => void this.#clock.after(delayMs, run),
    });
  }

  /** Lives the life. Throws an error that names the seed when a check fails. */
  async run(): Promise<FeatureResult> {
    try {
      await this.#start();
      this.#open!.shard.createQueue(QUEUE, this.#settings);
      this.#open!.shard.createQueue(DEAD, PLAIN_SETTINGS);
      this.#configure();
      await this.#committed();
      for (let i = 0; i < 250; i++) await this.#step();
      await this.#restart("quiet");
    } catch (error) {
      const settings = JSON.stringify(this.#settings);
      throw new Error(`seed ${this.#seed}: ${(error as Error).message} (${settings})`, { cause: error });
    }
    return this.#counts;
  }

  async #start(): Promise<void> {
    const options = { segmentBytes: 8192, maxEntryBytes: 1024 * 1024 };
    const store = await this.#clock.resolve(
      openLocalLogStore({ disk: this.#disk, clock: this.#clock, logger: silent, root: "data", options }),
    );
    this.#open = await this.#clock.resolve(
      openShard({
        store,
        clock: this.#clock,
        turn: this.#clock,
        logger: silent,
        random: this.#random,
        parameters: SMALL,
        events: {
          onCommitted: () => this.#confirm(),
          onFlow: () => undefined,
          onSpace: () => undefined,
          onFailed: () => undefined,
        },
      }),
    );
  }

  /** As the broker does after a start: settings first, then the router. */
  #configure(): void {
    const { shard } = this.#open!;
    for (const [queueId, settings] of [
      [QUEUE, this.#settings],
      [DEAD, PLAIN_SETTINGS],
    ] as const) {
      if (shard.hasQueue(queueId)) shard.configureQueue(queueId, settings);
    }
    shard.setDeadLetterRouter({
      route: (death) => {
        this.#counts.deadLettered++;
        return { message: messageOf(textOf(death.bytes, death.start, death.size), true), queueIds: [DEAD] };
      },
    });
  }

  #confirm(): void {
    const committed = this.#open?.shard.committed ?? 0;
    while (this.#unconfirmed.length > 0 && this.#unconfirmed[0]!.position <= committed) {
      this.#unconfirmed.shift()!.sent.confirmed = true;
    }
  }

  async #step(): Promise<void> {
    const random = this.#random;
    if (this.#open!.shard.failure !== undefined) await this.#restart("kill");
    else if (random.chance(0.03)) await this.#restart(random.pick(["crash", "crash", "kill", "quiet"]));
    const dice = random.below(100);
    if (dice < 45) for (let n = random.between(1, 6); n > 0; n--) this.#publish();
    else if (dice < 75) this.#settle();
    else if (dice < 85) this.#comeBack();
    else if (dice < 92) this.#changeConsumer();
    else if (dice < 96) void this.#open!.snapshotter.take();
    await this.#clock.advance(random.chance(0.2) ? random.between(1, 60) : random.below(100) / 50);
    if (this.#failure !== undefined) throw this.#failure;
  }

  #publish(): void {
    const random = this.#random;
    const text = `${this.#counts.published++}:`.padEnd(random.below(150), "x");
    const message = messageOf(text, true);
    const group = this.#settings.groups && random.chance(0.8) ? `g${random.below(3)}` : undefined;
    const name = this.#settings.dedup !== undefined && random.chance(0.7) ? `n${random.below(40)}` : undefined;
    addHeaders(message, group, name);
    message.priority = random.below(7);
    if (random.chance(0.2)) message.expirationMs = random.between(0, 80);
    if (random.chance(0.1)) message.delayMs = random.between(1, 80);
    const lifeMs = message.expirationMs < 0 ? Number.POSITIVE_INFINITY : message.expirationMs;
    const expiresAtMs = this.#nowMs() + message.delayMs + Math.min(lifeMs, this.#settings.messageTtlMs ?? lifeMs);
    const { deduplicated } = this.#open!.shard.counts(QUEUE).counters;
    // A message without lifetime is delivered before the publish returns.
    const fresh: Sent = { text, group, expiresAtMs, confirmed: false, isGone: false };
    this.#sent.set(text, fresh);
    let position: number;
    try {
      position = this.#open!.shard.publish(message, [QUEUE]);
    } catch (error) {
      if (error instanceof BrokerError) return; // the log failed in this very turn
      throw error;
    }
    if (position === REFUSED) {
      this.#sent.delete(text);
      return;
    }
    const isDuplicate = this.#open!.shard.counts(QUEUE).counters.deduplicated > deduplicated;
    const original = isDuplicate ? this.#sent.get(this.#named.get(name ?? "") ?? "") : undefined;
    if (isDuplicate && original === undefined) throw new Error(`${name} was said to be a duplicate and is none`);
    const sent = original ?? fresh;
    if (isDuplicate) this.#sent.delete(text);
    if (!isDuplicate && name !== undefined) this.#named.set(name, text);
    if (position <= this.#open!.shard.committed) sent.confirmed = true;
    else this.#unconfirmed.push({ position, sent });
  }

  #nowMs(): number {
    return this.#clock.wallMs();
  }

  #settle(): void {
    const count = Math.min(this.#held.length, this.#random.between(1, 4));
    for (const { lane, sequence, text } of this.#held.splice(0, count)) {
      const reason = this.#random.pick([SETTLE_ACKED, SETTLE_ACKED, SETTLE_ACKED, SETTLE_REJECTED] as const);
      this.#open!.shard.settle(QUEUE, lane, sequence, sequence, reason);
      if (reason === SETTLE_ACKED) this.#sent.get(text)!.isGone = true;
    }
    this.#give(count);
  }

  #comeBack(): void {
    const [one] = this.#held.splice(this.#random.below(this.#held.length || 1), 1);
    if (one === undefined) return;
    this.#open!.shard.requeue(QUEUE, one.lane, one.sequence, this.#random.pick(["client", "closed", "timeout"]));
    this.#give(1);
  }

  #give(credit: number): void {
    this.#credit += credit;
    if (this.#credit > 0) this.#consumer?.resume();
  }

  #changeConsumer(): void {
    this.#consumer?.cancel();
    for (const { lane, sequence } of this.#held.splice(0)) {
      this.#open!.shard.requeue(QUEUE, lane, sequence, "closed");
    }
    this.#consumer = undefined;
    if (this.#random.chance(0.3)) return;
    this.#credit = this.#random.between(1, 10);
    const life = this.#open;
    const sink: DeliverySink = {
      deliver: (bytes, start, size, _queueId, lane, sequence, deliveries) => {
        // A process that was killed does not know it here; nobody hears it.
        if (life !== this.#open) return false;
        this.#delivered({ lane, sequence, text: textOf(bytes, start, size) }, deliveries);
        return --this.#credit > 0;
      },
      cancelled: () => undefined,
    };
    this.#consumer = this.#open!.shard.consume(QUEUE, sink, { noAck: false, exclusive: false });
  }

  #delivered(delivery: Delivery, deliveries: number): void {
    this.#counts.delivered++;
    try {
      const sent = this.#sent.get(delivery.text);
      assert.ok(sent !== undefined, `delivered ${delivery.text}, which was not accepted`);
      assert.ok(!sent.isGone, `delivered ${delivery.text}, which was settled`);
      // A message without lifetime has a moment to be on its way.
      assert.ok(sent.expiresAtMs + 101 > this.#nowMs(), `delivered ${delivery.text}, which has expired`);
      assert.ok(!this.#held.some(({ text }) => text === delivery.text), `delivered ${delivery.text} twice at a time`);
      const rival = this.#held.find(({ text }) => this.#sent.get(text)?.group === sent.group);
      assert.ok(sent.group === undefined || rival === undefined, `${delivery.text} and ${rival?.text} share a group`);
      if (this.#settings.retry?.when === "all" && this.#settings.deliveryLimit !== undefined) {
        // Restarts count as deliveries, not as failures.
        const most = this.#settings.deliveryLimit + this.#counts.restarts;
        assert.ok(deliveries <= most, `attempt ${deliveries + 1} of ${delivery.text}`);
      }
      this.#held.push(delivery);
    } catch (error) {
      this.#failure ??= error as Error;
    }
  }

  async #committed(): Promise<boolean> {
    const { shard } = this.#open!;
    for (let tries = 0; tries < 1000; tries++) {
      let done = false;
      shard.whenCommitted(() => {
        done = true;
      });
      await this.#clock.runUntil(() => done || shard.failure !== undefined);
      if (shard.failure !== undefined) return false;
      if (shard.journal.lastPosition <= shard.committed && !shard.isDeparting) return true;
      await this.#clock.advance(1);
    }
    throw new Error("the shard never comes to rest");
  }

  async #restart(how: "crash" | "kill" | "quiet"): Promise<void> {
    this.#counts.restarts++;
    const isQuiet = how === "quiet" && (await this.#committed());
    const nowMs = this.#nowMs();
    const before = isQuiet ? describeRows(this.#open!.shard, true, nowMs) : undefined;
    this.#disk = how === "crash" ? this.#disk.crash() : this.#disk.kill();
    this.#open = undefined;
    this.#consumer = undefined;
    this.#held = [];
    this.#unconfirmed = [];
    await this.#start();
    const { shard } = this.#open as unknown as OpenShard;
    if (before !== undefined) assert.equal(describeRows(shard, false, nowMs), before, "recovered equals live");
    await this.#checkPlaces(isQuiet);
    this.#configure();
  }

  /** Every confirmed message is in exactly one place. */
  async #checkPlaces(isQuiet: boolean): Promise<void> {
    const found = await this.#clock.resolve(readAllTexts(this.#open!.shard));
    const places = new Map<string, number>();
    for (const [queueId, texts] of found) {
      for (const text of texts) {
        assert.ok(!places.has(text), `${text} is in queues ${places.get(text)} and ${queueId}`);
        places.set(text, queueId);
      }
    }
    for (const sent of this.#sent.values()) {
      const isThere = places.has(sent.text);
      assert.ok(isThere || sent.isGone || !sent.confirmed, `${sent.text} was confirmed and is lost`);
      assert.ok(!isQuiet || !sent.isGone || !isThere, `${sent.text} was settled and is there`);
      if (!isThere && !sent.isGone) this.#forget(sent);
      // A settle of the last moment is undone by a crash.
      sent.isGone &&= !isThere;
      sent.confirmed ||= isThere;
    }
  }

  /** It was never durable: neither is its name. */
  #forget({ text }: Sent): void {
    this.#sent.delete(text);
    for (const [name, original] of this.#named) if (original === text) this.#named.delete(name);
  }
}

const SMALL = {
  pageRows: 8,
  pageRowsFirst: 2,
  slabBytes: 4096,
  entryTargetBytes: 512,
  tailCacheBytes: 4096,
  lazyCommitMs: 10,
  readAheadBytes: 2048,
  readAheadTotalBytes: 8192,
  snapshotMinBytes: 4096,
  cleanerSlackBytes: 4096,
  transientSlabBytes: 1024,
  transientBytesMax: 16384,
};

/** Some features at a time; dead letters always, so that nothing may be lost. */
function settingsOf(random: Prng): QueueSettings {
  const some = <T>(share: number, value: T): T | undefined => (random.chance(share) ? value : undefined);
  const retry = {
    when: random.pick(["all", "failed", "returned"] as const),
    minMs: random.between(1, 20),
    maxMs: 100,
    multiplier: random.pick([0, 2]),
    jitter: random.pick([0, 0.5]),
    rejectsToo: random.chance(0.5),
  };
  return {
    ...PLAIN_SETTINGS,
    deadLetters: true,
    deliverAfterCommit: random.chance(0.3),
    priorityMax: some(0.4, 5) ?? 0,
    messageTtlMs: some(0.3, random.between(20, 200)),
    lengthMax: some(0.3, random.between(0, 20)),
    overflow: random.pick(["drop-head", "reject-publish", "reject-publish-dlx"]),
    deliveryLimit: some(0.5, random.between(0, 4)),
    retry: some(0.4, retry),
    groups: random.chance(0.25),
    dedup: some(0.3, { header: "k", cacheMax: 1000, windowMs: undefined }),
  };
}

function addHeaders(message: IncomingMessage, group: string | undefined, name: string | undefined): void {
  const headers = new Map<string, string>();
  if (group !== undefined) headers.set("x-message-group", group);
  if (name !== undefined) headers.set("k", name);
  const flags = Buffer.alloc(2);
  flags.writeUInt16BE(FLAG_HEADERS);
  message.properties = Buffer.concat([flags, encodeTable(headers)]);
  message.propertiesEnd = message.properties.length;
}
