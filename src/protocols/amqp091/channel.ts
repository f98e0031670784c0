// One AMQP channel: its consumers, the deliveries that wait for acks, the publishes that wait for
// confirms, and the content that is being assembled.
//
//   channel.open -> open -> channel.close / close-ok -> gone
//                     \-> an error: `closing`, everything is ignored until close-ok -> gone
//
// Credit: a consumer takes deliveries while it is below its own prefetch (basic.qos global=false), the
// channel is below the shared one (global=true) and below LIMITS.unackedPerChannelMax.

import { assert } from "../../assert.ts";
import { LIMITS } from "../../limits.ts";
import { SETTLE_REJECTED } from "../../model/delivery.ts";
import type { ReturnCause } from "../../broker/facade.ts";
import { CONSUMER_TICK_MS, type ChannelHost } from "./channel-host.ts";
import { Confirms } from "./confirms.ts";
import { ContentAssembly } from "./content.ts";
import { ChannelConsumer, type ConsumerWishes } from "./deliver.ts";
import type { IncomingMessage } from "../../model/message.ts";
import type { ReplyConsumer } from "./direct-replies.ts";
import { channelError } from "./errors.ts";
import { encodeMethod } from "./methods.ts";
import { FRAME_METHOD } from "./spec.ts";
import { Transaction, type SettleKind } from "./transaction.ts";
import { Unacked } from "./unacked.ts";

/** The consumer number of messages taken with basic.get: they count against no prefetch. */
export const NO_CONSUMER = -1;

export class Channel {
  readonly number: number;
  readonly host: ChannelHost;
  /** An error was sent; only channel.close and close-ok count now. */
  closing = false;
  readonly content = new ContentAssembly();
  /** Set by confirm.select. */
  confirms: Confirms | undefined = undefined;
  /** Set by tx.select. */
  transaction: Transaction | undefined = undefined;
  /** Set by basic.consume on the reply queue. */
  replyConsumer: ReplyConsumer | undefined = undefined;
  /** Prefetch of consumers to come; 0: none. */
  prefetch = 0;
  /** What an empty queue name stands for. */
  lastQueue = "";
  /** In the door's list of channels that wait for a commit. */
  awaitsCommit = false;
  /** In the connection's list of channels with confirms to send. */
  confirmQueued = false;
  /** In the connection's list of channels whose consumers may have credit again. */
  wakeQueued = false;
  readonly consumers = new Map<string, ChannelConsumer>();
  private readonly unacked = new Unacked((consumer) => this.settled(consumer));
  /** Consumers by number; a number is free again when nothing in flight names it. */
  private readonly numbered: (ChannelConsumer | undefined)[] = [];
  private readonly freeNumbers: number[] = [];
  private waiting: ChannelConsumer[] = [];
  /** Prefetch that all consumers of the channel share; 0: none. */
  private sharedPrefetch = 0;
  private inFlight = 0;
  private deliveryTag = 0;
  /** The shortest time that any of the channel's deliveries may take, ms. */
  private timeoutMinMs = Infinity;
  /** The channel ends because a delivery has waited too long for its ack. */
  private timedOut = false;

  constructor(number: number, host: ChannelHost) {
    this.number = number;
    this.host = host;
  }

  // Deliveries

  nextDeliveryTag(): number {
    return ++this.deliveryTag;
  }

  /** True when the channel as a whole may hold one more unacked delivery. */
  get hasCredit(): boolean {
    const shared = this.sharedPrefetch === 0 || this.inFlight < this.sharedPrefetch;
    return shared && this.unacked.count < LIMITS.unackedPerChannelMax;
  }

  /** A delivery to a consumer left and waits for its ack. */
  delivered(tag: number, queueId: number, lane: number, sequence: number, consumer: ChannelConsumer): void {
    this.unacked.add(tag, queueId, lane, sequence, consumer.number, this.host.tick);
    this.inFlight++;
    if (this.sharedPrefetch !== 0 && this.inFlight >= this.sharedPrefetch) this.pauseAll();
  }

  /** A message taken with basic.get waits for its ack. */
  deliveredToGet(tag: number, queueId: number, lane: number, sequence: number): void {
    this.unacked.add(tag, queueId, lane, sequence, NO_CONSUMER, this.host.tick);
    this.noteTimeout(this.host.broker.consumerTimeoutMs(queueId));
  }

  /** Deliveries of this channel may have to be settled within `timeoutMs`. */
  noteTimeout(timeoutMs: number | undefined): void {
    if (timeoutMs !== undefined) this.timeoutMinMs = Math.min(this.timeoutMinMs, timeoutMs);
  }

  /** Throws 406 when a delivery has waited longer for its ack than its consumer or queue allows. */
  checkTimeouts(): void {
    const { unacked, host } = this;
    if (unacked.count === 0 || unacked.oldestTick > this.overdueTick(this.timeoutMinMs)) return;
    let timeoutMs: number | undefined;
    const overdue = unacked.someOverdue(this.overdueTick(this.timeoutMinMs), (queueId, number, tick) => {
      timeoutMs = this.numbered[number]?.timeoutMs ?? host.broker.consumerTimeoutMs(queueId);
      return timeoutMs !== undefined && tick <= this.overdueTick(timeoutMs);
    });
    if (!overdue) return;
    this.timedOut = true;
    const text = `delivery acknowledgement on channel ${this.number} timed out. Timeout value used: ${timeoutMs} ms.`;
    throw channelError(
      "precondition-failed",
      `${text} This timeout value can be configured, see consumers doc guide to learn more`,
    );
  }

  /** Deliveries of this tick and those before are older than `timeoutMs`. */
  private overdueTick(timeoutMs: number): number {
    return this.host.tick - 1 - Math.ceil(timeoutMs / CONSUMER_TICK_MS);
  }

  /** `consumer` takes no more until `wake` finds it able to. */
  waits(consumer: ChannelConsumer): void {
    if (consumer.waiting) return;
    consumer.waiting = true;
    this.waiting.push(consumer);
  }

  /** Resumes the consumers that have credit and room again. */
  wake(): void {
    if (this.waiting.length === 0) return;
    const candidates = this.waiting;
    this.waiting = [];
    for (const consumer of candidates) {
      consumer.waiting = false;
      if (this.consumers.get(consumer.tag) !== consumer) continue;
      if (consumer.hasCredit && this.host.hasRoom) consumer.handle?.resume();
      else this.waits(consumer);
    }
  }

  get globalPrefetch(): number {
    return this.sharedPrefetch;
  }

  get unackedCount(): number {
    return this.unacked.count;
  }

  /** basic.qos with global: concerns the consumers that are there as well; 0 is no limit. */
  sharePrefetch(count: number): void {
    this.sharedPrefetch = count;
    if (!this.hasCredit) this.pauseAll();
    this.wake();
  }

  /** The shared credit is used up: the queues must not offer the other consumers anything either. */
  private pauseAll(): void {
    for (const consumer of this.consumers.values()) {
      if (consumer.noAck || consumer.waiting) continue;
      consumer.handle?.pause();
      this.waits(consumer);
    }
  }

  // Consumers

  /** Throws "resource-limit" wording 406 above LIMITS.consumersPerChannelMax. */
  addConsumer(tag: string, wishes: ConsumerWishes): ChannelConsumer {
    if (this.consumers.size >= LIMITS.consumersPerChannelMax) {
      throw channelError("precondition-failed", `the channel has ${this.consumers.size} consumers, which is the limit`);
    }
    const number = this.freeNumbers.pop() ?? this.numbered.length;
    const consumer = new ChannelConsumer(this, tag, number, { ...wishes, prefetch: this.prefetch });
    this.numbered[number] = consumer;
    this.consumers.set(tag, consumer);
    return consumer;
  }

  /** Forgets a consumer; its unacked deliveries stay. */
  removeConsumer(consumer: ChannelConsumer): void {
    this.consumers.delete(consumer.tag);
    consumer.handle?.cancel();
    this.freeNumber(consumer);
  }

  /** The queue went away under a consumer. */
  consumerCancelled(consumer: ChannelConsumer): void {
    if (this.consumers.get(consumer.tag) !== consumer) return;
    this.consumers.delete(consumer.tag);
    this.freeNumber(consumer);
    if (!this.host.tellsCancels) return;
    // Like the answer to the deletion itself, this is said when it is durable: they come together.
    this.host.broker.whenMetaCommitted(() => {
      if (!this.closing) this.host.send(this.number, "basic.cancel", { consumerTag: consumer.tag, nowait: true });
    });
  }

  private freeNumber(consumer: ChannelConsumer): void {
    if (consumer.inFlight > 0 || this.consumers.get(consumer.tag) === consumer) return;
    if (this.numbered[consumer.number] !== consumer) return;
    this.numbered[consumer.number] = undefined;
    this.freeNumbers.push(consumer.number);
  }

  // Acks

  /** basic.ack. Throws 406 for a tag that waits for no ack. */
  ack(tag: number, multiple: boolean): void {
    if (this.transaction !== undefined) {
      this.keepSettle(this.transaction, tag, multiple, "ack");
      return;
    }
    const { settles } = this.host;
    const known = multiple ? this.unacked.takeUpTo(tag, settles.add) : this.unacked.takeOne(tag, settles.add);
    if (!known) throw unknownTag(tag);
  }

  /** basic.nack and basic.reject. Throws 406 for a tag that waits for no ack. */
  nack(tag: number, multiple: boolean, requeue: boolean): void {
    if (this.transaction !== undefined) {
      this.keepSettle(this.transaction, tag, multiple, requeue ? "requeue" : "reject");
      return;
    }
    const visit = requeue ? this.requeueRun : this.rejectRun;
    const known = multiple ? this.unacked.takeUpTo(tag, visit) : this.unacked.takeOne(tag, visit);
    if (!known) throw unknownTag(tag);
  }

  private keepSettle(transaction: Transaction, tag: number, multiple: boolean, kind: SettleKind): void {
    const known = this.unacked.hold(tag, multiple, (held) => transaction.keepSettle(held, kind));
    if (!known) throw unknownTag(tag);
  }

  /** basic.recover: all unacked deliveries go back to their queues. */
  requeueAll(): void {
    this.unacked.takeUpTo(0, this.requeueRun);
  }

  private readonly requeueRun = (queueId: number, lane: number, first: number, last: number): void => {
    this.requeueEach(queueId, lane, first, last, "client");
  };

  private readonly abandonRun = (queueId: number, lane: number, first: number, last: number): void => {
    this.requeueEach(queueId, lane, first, last, this.timedOut ? "timeout" : "closed");
  };

  private requeueEach(queueId: number, lane: number, first: number, last: number, cause: ReturnCause): void {
    const { broker } = this.host;
    for (let sequence = first; sequence <= last; sequence++) broker.requeue(queueId, lane, sequence, cause);
  }

  private readonly rejectRun = (queueId: number, lane: number, first: number, last: number): void => {
    this.host.broker.settle(queueId, lane, first, last, SETTLE_REJECTED);
  };

  private settled(number: number): void {
    if (this.waiting.length > 0) this.host.wakeLater(this);
    if (number === NO_CONSUMER) return;
    const consumer = this.numbered[number];
    assert(consumer !== undefined && consumer.inFlight > 0 && this.inFlight > 0, "a settled delivery has a consumer");
    consumer.inFlight--;
    this.inFlight--;
    if (consumer.inFlight === 0) this.freeNumber(consumer);
  }

  // Publishing

  /** confirm.select. Throws 406 on a transactional channel. */
  selectConfirms(): void {
    if (this.transaction !== undefined) {
      throw channelError("precondition-failed", "cannot switch from tx to confirm mode");
    }
    this.confirms ??= new Confirms();
  }

  /** tx.select. Throws 406 on a channel with confirms. */
  selectTransactions(): void {
    if (this.confirms !== undefined) {
      throw channelError("precondition-failed", "cannot switch from confirm to tx mode");
    }
    this.transaction ??= new Transaction(this.host.transactions);
  }

  /** Applies the acks of a transaction. */
  settleKept(transaction: Transaction): void {
    const { settles } = this.host;
    transaction.eachSettle((tag, kind) => {
      if (kind === "ack") {
        this.unacked.takeHeld(tag, settles.add);
        return;
      }
      settles.flush();
      this.unacked.takeHeld(tag, kind === "requeue" ? this.requeueRun : this.rejectRun);
    });
    settles.flush();
  }

  /** tx.rollback: publishes are forgotten, acked deliveries wait for an ack again. */
  rollBack(transaction: Transaction): void {
    transaction.clear();
    this.unacked.releaseHeld();
  }

  /** Counts one publish that waits for log position `position` (0: for nothing; negative: rejected). */
  notePublish(position: number): void {
    const { confirms, host } = this;
    if (confirms === undefined) return;
    confirms.note(position > 0 && position <= host.broker.committed ? 0 : position);
    if (confirms.ready) host.confirmLater(this);
    if (confirms.waiting) host.awaitCommit(this);
  }

  /** The log is durable up to position `committed`. */
  committed(committed: number): void {
    const { confirms, host } = this;
    if (confirms === undefined) return;
    confirms.advance(committed);
    if (confirms.ready) host.confirmLater(this);
    if (confirms.waiting) host.awaitCommit(this);
  }

  /** Sends the confirms that are due. */
  sendConfirms(): void {
    const { confirms, host } = this;
    if (this.closing || confirms === undefined) return;
    while (confirms.next()) {
      const { tag, multiple } = confirms;
      if (confirms.rejected) host.send(this.number, "basic.nack", { deliveryTag: tag, multiple, requeue: false });
      else host.outbox.ack(this.number, tag, multiple);
    }
  }

  // Replies

  /** Sends a reply to this channel's consumer of the reply queue. */
  deliverReply(message: IncomingMessage, address: string): void {
    const { host, replyConsumer } = this;
    if (replyConsumer === undefined) return;
    const fields = { consumerTag: replyConsumer.tag, deliveryTag: this.nextDeliveryTag(), redelivered: false };
    const method = encodeMethod("basic.deliver", { ...fields, exchange: "", routingKey: address });
    host.outbox.frame(FRAME_METHOD, this.number, method);
    host.outbox.messageContent(this.number, message);
  }

  endReplies(): void {
    if (this.replyConsumer !== undefined) this.host.replies.close(this.replyConsumer.address);
    this.replyConsumer = undefined;
  }

  // The end

  /** Ends consumers, returns what is unacked, drops what is unconfirmed. Idempotent. */
  shut(): void {
    this.closing = true;
    this.confirms = undefined;
    if (this.transaction !== undefined) this.rollBack(this.transaction);
    this.transaction = undefined;
    this.endReplies();
    this.content.reset();
    for (const consumer of this.consumers.values()) consumer.handle?.cancel();
    this.unacked.takeUpTo(0, this.abandonRun);
    this.consumers.clear();
    this.waiting = [];
  }
}

function unknownTag(tag: number): Error {
  return channelError("precondition-failed", `unknown delivery tag ${tag}`);
}
