// What the broker promised, and whether it kept it. The clients report what they did and saw; the
// checker knows nothing of sockets or files. It holds these guarantees over kills of the broker:
//   - a confirmed persistent message is delivered until it is acked;
//   - so is a message that a quorum queue delivered or that was seen after a restart, in each of its queues;
//   - nothing is delivered that was not published, and nothing twice at the same time;
//   - a message acked before the last moments of its channel or of the broker does not come back;
//   - first deliveries on a channel keep the order of each publisher;
//   - a repeated delivery is marked, and counted where the queue counts, unless the earlier one fell
//     into the last moments before a kill.
// "The last moments" are `slackMs`: marks and acks reach the disk lazily, at most 10 ms later.

import type { MessageId } from "./message-body.ts";

const VIOLATIONS_MAX = 50;

export interface CheckedChannel {
  readonly queue: string;
  /** Kills of the broker before this channel was opened. */
  readonly epoch: number;
  /** When the client, the harness or a kill ended it. */
  cutAtMs: number | undefined;
  /** Highest sequence of a first delivery, by publisher. */
  readonly lastFirst: Map<number, number>;
}

export interface Delivery extends MessageId {
  readonly redelivered: boolean;
  /** The x-delivery-count header; undefined when there is none. */
  readonly deliveryCount: number | undefined;
  readonly atMs: number;
}

export interface Publication extends MessageId {
  readonly queues: readonly string[];
  readonly persistent: boolean;
}

/** One message in one queue. */
interface Tracked {
  readonly publication: Publication;
  readonly epoch: number;
  /** It must stay until it is acked. */
  required: boolean;
  ackedAtMs: number | undefined;
  ackedOn: CheckedChannel | undefined;
  openOn: CheckedChannel | undefined;
  deliveredAtMs: number | undefined;
  mustBeMarked: boolean;
  /** Least x-delivery-count of the next delivery, and what it rises to once the last delivery is logged. */
  countFloor: number;
  countFloorIfLogged: number;
}

interface TrackedQueue {
  readonly name: string;
  readonly countsDeliveries: boolean;
  readonly messages: Map<number, Tracked>;
  /** By publisher: 1 where the message was acked for certain or proved gone by a drain. */
  readonly finished: Map<number, Uint8Array>;
}

function keyOf(id: MessageId): number {
  return id.publisher * 0x1_0000_0000 + id.sequence;
}

function nameOf(id: MessageId): string {
  return `${id.publisher}:${id.sequence}`;
}

export class DeliveryChecker {
  readonly violations: string[] = [];
  readonly counts = { published: 0, confirmed: 0, delivered: 0, redelivered: 0, acked: 0 };
  /** The longest time before a kill at which a delivery or an ack was still forgotten, ms. */
  worstForgottenMs = 0;
  readonly #slackMs: number;
  readonly #queues = new Map<string, TrackedQueue>();
  readonly #channels = new Set<CheckedChannel>();
  readonly #killsMs: number[] = [];

  constructor(options: { readonly slackMs: number }) {
    this.#slackMs = options.slackMs;
  }

  addQueue(name: string, options: { readonly countsDeliveries: boolean }): void {
    this.#queues.set(name, { name, ...options, messages: new Map(), finished: new Map() });
  }

  /** Call before the message is handed to the socket. */
  published(publication: Publication): void {
    this.counts.published++;
    for (const name of publication.queues) {
      this.#queue(name).messages.set(keyOf(publication), {
        publication,
        epoch: this.#killsMs.length,
        required: false,
        ackedAtMs: undefined,
        ackedOn: undefined,
        openOn: undefined,
        deliveredAtMs: undefined,
        mustBeMarked: false,
        countFloor: 0,
        countFloorIfLogged: 0,
      });
    }
  }

  confirmed(publication: Publication): void {
    this.counts.confirmed++;
    this.#require(publication);
  }

  channelOpened(queue: string): CheckedChannel {
    const channel = { queue, epoch: this.#killsMs.length, cutAtMs: undefined, lastFirst: new Map<number, number>() };
    this.#channels.add(channel);
    return channel;
  }

  /** Call before the client ends the channel or its connection. */
  channelCut(channel: CheckedChannel, atMs: number): void {
    channel.cutAtMs ??= atMs;
    this.#channels.delete(channel);
  }

  /** Call directly before the kill. */
  brokerKilled(atMs: number): void {
    this.#killsMs.push(atMs);
    for (const channel of this.#channels) this.channelCut(channel, atMs);
  }

  delivered(channel: CheckedChannel, delivery: Delivery): void {
    this.counts.delivered++;
    if (delivery.redelivered) this.counts.redelivered++;
    const queue = this.#queue(channel.queue);
    const tracked = queue.messages.get(keyOf(delivery));
    if (tracked === undefined) {
      const known = queue.finished.get(delivery.publisher)?.[delivery.sequence] === 1;
      this.#violate(queue, delivery, known ? "came back after it was settled for good" : "was never published here");
      return;
    }
    this.#checkNotOpenOrAcked(queue, tracked, delivery);
    this.#checkMarked(queue, tracked, delivery);
    this.#checkOrder(queue, channel, delivery);
    if (queue.countsDeliveries) this.#checkCount(queue, tracked, delivery);
    // A quorum queue delivers what is committed; what is seen after a restart was committed before.
    const committed = queue.countsDeliveries || channel.epoch > tracked.epoch;
    if (committed) this.#require(tracked.publication);
    tracked.openOn = channel;
    tracked.ackedAtMs = undefined;
    tracked.ackedOn = undefined;
    tracked.deliveredAtMs = delivery.atMs;
  }

  /** Call before the ack is handed to the socket. */
  acked(channel: CheckedChannel, id: MessageId, atMs: number): void {
    this.counts.acked++;
    const tracked = this.#queue(channel.queue).messages.get(keyOf(id));
    if (tracked === undefined) return;
    tracked.openOn = undefined;
    tracked.ackedAtMs = atMs;
    tracked.ackedOn = channel;
  }

  /** The client returned the message to the queue. */
  returned(channel: CheckedChannel, id: MessageId): void {
    const tracked = this.#queue(channel.queue).messages.get(keyOf(id));
    if (tracked !== undefined) tracked.openOn = undefined;
  }

  /** Messages that must still be delivered or acked, over all queues. */
  owed(): number {
    let owed = 0;
    for (const queue of this.#queues.values()) {
      for (const tracked of queue.messages.values()) {
        if (tracked.required && tracked.ackedAtMs === undefined) owed++;
      }
    }
    return owed;
  }

  /** Messages known to the model and not settled for good; what the harness must hold in memory. */
  tracked(): number {
    let count = 0;
    for (const queue of this.#queues.values()) count += queue.messages.size;
    return count;
  }

  /** The queues are empty and nothing is unacked: what was owed and never came is lost. */
  drained(): void {
    for (const queue of this.#queues.values()) {
      for (const [key, tracked] of queue.messages) {
        if (tracked.ackedAtMs !== undefined) continue;
        const seen = tracked.deliveredAtMs === undefined ? "never delivered" : "delivered, never acked";
        if (tracked.required) this.#violate(queue, tracked.publication, `is lost: promised, ${seen}, and the queue is empty`);
        this.#finish(queue, key, tracked);
      }
    }
  }

  /** Forgets messages whose ack is certain. They are violations from now on when they appear. */
  prune(nowMs: number): void {
    for (const queue of this.#queues.values()) {
      for (const [key, tracked] of queue.messages) {
        const { ackedAtMs, ackedOn } = tracked;
        if (ackedAtMs === undefined || ackedOn === undefined) continue;
        const heldUntilMs = ackedOn.cutAtMs ?? nowMs;
        if (heldUntilMs - ackedAtMs > this.#slackMs) this.#finish(queue, key, tracked);
      }
    }
  }

  #finish(queue: TrackedQueue, key: number, tracked: Tracked): void {
    const { publisher, sequence } = tracked.publication;
    let finished = queue.finished.get(publisher) ?? new Uint8Array(1024);
    if (sequence >= finished.length) {
      const grown = new Uint8Array(Math.max(finished.length * 2, sequence + 1));
      grown.set(finished);
      finished = grown;
    }
    finished[sequence] = 1;
    queue.finished.set(publisher, finished);
    queue.messages.delete(key);
  }

  #require(publication: Publication): void {
    if (!publication.persistent) return;
    for (const name of publication.queues) {
      const tracked = this.#queue(name).messages.get(keyOf(publication));
      if (tracked !== undefined) tracked.required = true;
    }
  }

  #checkNotOpenOrAcked(queue: TrackedQueue, tracked: Tracked, delivery: Delivery): void {
    if (tracked.openOn !== undefined && tracked.openOn.cutAtMs === undefined) {
      this.#violate(queue, delivery, "was delivered again while another consumer held it");
    }
    const { ackedAtMs, ackedOn } = tracked;
    if (ackedAtMs === undefined || ackedOn === undefined) return;
    if (ackedOn.cutAtMs === undefined) {
      this.#violate(queue, delivery, "was delivered again after its ack, without any loss of connection");
      return;
    }
    const agoMs = ackedOn.cutAtMs - ackedAtMs;
    if (agoMs > this.#slackMs) this.#violate(queue, delivery, `came back ${agoMs.toFixed(0)} ms of life after its ack`);
    else this.#noteForgotten(agoMs);
  }

  #checkMarked(queue: TrackedQueue, tracked: Tracked, delivery: Delivery): void {
    const earlierMs = tracked.deliveredAtMs;
    if (earlierMs === undefined) return;
    if (this.#wasLogged(earlierMs)) tracked.mustBeMarked = true;
    if (delivery.redelivered) return;
    if (tracked.mustBeMarked) {
      const agoMs = (this.#killAfter(earlierMs) ?? delivery.atMs) - earlierMs;
      this.#violate(queue, delivery, `is not marked redelivered; last delivered ${agoMs.toFixed(0)} ms before the kill`);
    } else this.#noteForgotten((this.#killAfter(earlierMs) as number) - earlierMs);
  }

  #checkOrder(queue: TrackedQueue, channel: CheckedChannel, delivery: Delivery): void {
    if (delivery.redelivered) return;
    const last = channel.lastFirst.get(delivery.publisher) ?? 0;
    if (delivery.sequence <= last) this.#violate(queue, delivery, `was first delivered after ${last} of its publisher`);
    channel.lastFirst.set(delivery.publisher, delivery.sequence);
  }

  #checkCount(queue: TrackedQueue, tracked: Tracked, delivery: Delivery): void {
    if (tracked.deliveredAtMs !== undefined && this.#wasLogged(tracked.deliveredAtMs)) {
      tracked.countFloor = tracked.countFloorIfLogged;
    }
    const count = delivery.deliveryCount ?? 0;
    if (count < tracked.countFloor) {
      this.#violate(queue, delivery, `has delivery count ${count}, at least ${tracked.countFloor} was due`);
    }
    tracked.countFloorIfLogged = count + 1;
  }

  /** False when what happened at `atMs` fell into the last moments before a kill. */
  #wasLogged(atMs: number): boolean {
    const killMs = this.#killAfter(atMs);
    return killMs === undefined || killMs - atMs > this.#slackMs;
  }

  #killAfter(atMs: number): number | undefined {
    let found: number | undefined;
    for (let i = this.#killsMs.length - 1; i >= 0; i--) {
      const killMs = this.#killsMs[i] as number;
      if (killMs < atMs) break;
      found = killMs;
    }
    return found;
  }

  #noteForgotten(agoMs: number): void {
    this.worstForgottenMs = Math.max(this.worstForgottenMs, agoMs);
  }

  #queue(name: string): TrackedQueue {
    const queue = this.#queues.get(name);
    if (queue === undefined) throw new Error(`the checker knows no queue ${name}`);
    return queue;
  }

  #violate(queue: TrackedQueue, id: MessageId, what: string): void {
    if (this.violations.length < VIOLATIONS_MAX) this.violations.push(`${queue.name}: message ${nameOf(id)} ${what}`);
  }
}
