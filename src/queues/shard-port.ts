// How the broker reaches a shard. One shard lives in this process today; the port speaks in ids and
// batches so that another process or node can stand behind it later.

import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import type { IncomingMessage } from "../model/message.ts";

/** Settings of a queue that its state machine needs; decided by the broker, kept in the meta log. */
export interface QueueSettings {
  /** Messages may be persistent; the queue itself survives a restart. */
  readonly durable: boolean;
  /** Deliver a message only when its commit is durable (quorum-type queues). */
  readonly deliverAfterCommit: boolean;
}

export interface QueueCounts {
  readonly ready: number;
  readonly inFlight: number;
  readonly consumers: number;
  /** Bytes of the stored records of ready and in-flight messages. */
  readonly bytes: number;
}

/** Lifetime counters of a shard, for metrics; monotonic. */
export interface ShardCounters {
  published: number;
  delivered: number;
  redelivered: number;
  acked: number;
  requeued: number;
  purged: number;
  dropped: number;
}

export type SettleReason = 0 | 1 | 2 | 3;

export interface ShardPort {
  /** Log position that the entry now being filled will get; what is published now commits with it. */
  readonly openPosition: number;
  /** The durable watermark of the shard's log. */
  readonly committed: number;
  /** Publishers must pause: uncommitted bytes are above the limit. `onFlow` tells when it changes. */
  readonly congested: boolean;
  readonly counters: Readonly<ShardCounters>;

  createQueue(queueId: number, settings: QueueSettings): void;
  /** Drops the queue with its messages; its consumers are cancelled. Returns the ready messages dropped. */
  deleteQueue(queueId: number): number;
  hasQueue(queueId: number): boolean;
  queueIds(): IterableIterator<number>;
  counts(queueId: number): QueueCounts;
  /** Drops the ready messages; returns their number. */
  purge(queueId: number): number;

  /**
   * Enqueues `message` on each of `queueIds` (all or nothing: one entry). Returns the position whose
   * commit makes it durable, or 0 when nothing needs to be waited for (not persistent, or no durable queue).
   */
  publish(message: IncomingMessage, queueIds: readonly number[]): number;

  consume(queueId: number, sink: DeliverySink, options: ConsumeOptions): Consumer;
  /**
   * Takes one message for basic.get and calls `done(true)` after sink.deliver, or `done(false)` when the
   * queue is empty. May complete later (the body is read from disk).
   */
  take(queueId: number, noAck: boolean, sink: DeliverySink, done: (found: boolean) => void): void;

  /** Settles the in-flight messages with sequences first..last (inclusive, all of them in flight). Lazy. */
  settle(queueId: number, lane: number, first: number, last: number, reason: SettleReason): void;
  /** Puts an in-flight message back at its original place. Lazy. */
  requeue(queueId: number, lane: number, sequence: number): void;

  /** Calls `done` once everything appended so far is durable (at once when it already is). */
  whenCommitted(done: () => void): void;
}
