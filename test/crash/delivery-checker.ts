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
  /** Kills before the last delivery. */
  seenInEpoch: number;
  /** Deliveries since the broker was last started: a kill may erase the youngest of them. */
  seen: Seen[];
  /** What follows from the deliveries of earlier lives. */
  remembered: Remembered;
}

interface Remembered {
  /** There was a delivery: the next one must be marked redelivered. */
  readonly mark: boolean;
  /** Least x-delivery-count of the next one. */
  readonly countFloor: number;
}

const NOTHING_REMEMBERED: Remembered = { mark: false, countFloor: 0 };

interface Seen {
  readonly atMs: number;
  /** Least x-delivery-count of any later delivery, if this one is remembered. */
  readonly countFloor: number;
}

interface TrackedQueue {
  readonly name: string;
  readonly countsDeliveries: boolean;
  readonly messages: Map<number, Tracked>;
  /**
   * By publisher and sequence: 1 + the ms that its channel lived on after the ack, where the message was
   * acked for certain; GONE where a drain proved it gone; 0 elsewhere.
   */
  readonly finished: Map<number, Uint16Array>;
}

const GONE = 0xffff;

function describeUnexpected(mark: number | undefined): string {
  if (mark === undefined || mark === 0) return "was never published here";
  if (mark === GONE) return "came back although the queue had been drained";
  return `came back ${mark - 1} ms of life after its ack`;
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
  /** The longest time before a kill at which an ack was still forgotten, ms. */
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
        seenInEpoch: 0,
        seen: [],
        remembered: NOTHING_REMEMBERED,
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
      this.#violate(queue, delivery, describeUnexpected(queue.finished.get(delivery.publisher)?.[delivery.sequence]));
      return;
    }
    this.#checkNotOpenOrAcked(queue, tracked, delivery);
    const remembered = this.#remembered(tracked);
    this.#checkMarked(queue, delivery, remembered);
    this.#checkOrder(queue, channel, delivery);
    if (queue.countsDeliveries) this.#checkCount(queue, delivery, remembered);
    // A quorum queue delivers what is committed; what is seen after a restart was committed before.
    const committed = queue.countsDeliveries || channel.epoch > tracked.epoch;
    if (committed) this.#require(tracked.publication);
    tracked.openOn = channel;
    tracked.ackedAtMs = undefined;
    tracked.ackedOn = undefined;
    tracked.seenInEpoch = this.#killsMs.length;
    tracked.seen.push({ atMs: delivery.atMs, countFloor: (delivery.deliveryCount ?? 0) + 1 });
  }

  /** Call before the ack is handed to the socket; it counts as on its way until ackSent. */
  acked(channel: CheckedChannel, id: MessageId): void {
    this.counts.acked++;
    const tracked = this.#queue(channel.queue).messages.get(keyOf(id));
    if (tracked === undefined) return;
    tracked.openOn = undefined;
    tracked.ackedAtMs = Number.POSITIVE_INFINITY;
    tracked.ackedOn = channel;
  }

  /** The ack has left this process. */
  ackSent(channel: CheckedChannel, id: MessageId, atMs: number): void {
    const tracked = this.#queue(channel.queue).messages.get(keyOf(id));
    if (tracked?.ackedOn === channel && tracked.ackedAtMs === Number.POSITIVE_INFINITY) tracked.ackedAtMs = atMs;
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
        const seen = tracked.seen.length === 0 ? "never delivered" : "delivered, never acked";
        if (tracked.required)
          this.#violate(queue, tracked.publication, `is lost: promised, ${seen}, and the queue is empty`);
        this.#finish(queue, key, GONE);
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
        const heldMs = heldUntilMs - ackedAtMs;
        if (heldMs > this.#slackMs) this.#finish(queue, key, Math.min(GONE - 1, 1 + Math.floor(heldMs)));
      }
    }
  }

  #finish(queue: TrackedQueue, key: number, mark: number): void {
    const publisher = Math.floor(key / 0x1_0000_0000);
    const sequence = key % 0x1_0000_0000;
    let finished = queue.finished.get(publisher) ?? new Uint16Array(1024);
    if (sequence >= finished.length) {
      const grown = new Uint16Array(Math.max(finished.length * 2, sequence + 1));
      grown.set(finished);
      finished = grown;
    }
    finished[sequence] = mark;
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
    const agoMs = Math.max(0, ackedOn.cutAtMs - ackedAtMs);
    if (agoMs > this.#slackMs) this.#violate(queue, delivery, `came back ${agoMs.toFixed(0)} ms of life after its ack`);
    else this.#noteForgotten(agoMs);
  }

  /**
   * What the broker must remember of earlier deliveries: all of this life, and of an earlier life those
   * that a kill could not erase. Deliveries before the last kill are judged for good here.
   */
  #remembered(tracked: Tracked): Remembered {
    const killMs = this.#killsMs[tracked.seenInEpoch];
    if (killMs === undefined) {
      const last = tracked.seen.at(-1);
      return last === undefined ? tracked.remembered : { mark: true, countFloor: last.countFloor };
    }
    for (const { atMs, countFloor } of tracked.seen) {
      if (killMs - atMs > this.#slackMs) tracked.remembered = { mark: true, countFloor };
    }
    tracked.seen = [];
    return tracked.remembered;
  }

  #checkMarked(queue: TrackedQueue, delivery: Delivery, remembered: Remembered): void {
    if (remembered.mark && !delivery.redelivered) this.#violate(queue, delivery, "is not marked redelivered");
  }

  #checkOrder(queue: TrackedQueue, channel: CheckedChannel, delivery: Delivery): void {
    if (delivery.redelivered) return;
    const last = channel.lastFirst.get(delivery.publisher) ?? 0;
    if (delivery.sequence <= last) this.#violate(queue, delivery, `was first delivered after ${last} of its publisher`);
    channel.lastFirst.set(delivery.publisher, delivery.sequence);
  }

  #checkCount(queue: TrackedQueue, delivery: Delivery, remembered: Remembered): void {
    const count = delivery.deliveryCount ?? 0;
    if (count >= remembered.countFloor) return;
    this.#violate(queue, delivery, `has delivery count ${count}, at least ${remembered.countFloor} was due`);
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
