// How the broker reaches a shard. One shard lives in this process today; the port speaks in ids and
// batches so that another process or node can stand behind it later.

import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import type { IncomingMessage } from "../model/message.ts";

/** What happens to messages that come back instead of being settled. */
export interface RetrySettings {
  /** Which returns are delayed: those that failed (a client that is gone, a timeout), those that a client asked for, or all. */
  readonly when: "all" | "failed" | "returned";
  /** Delay of the first retry, ms. */
  readonly minMs: number;
  readonly maxMs: number;
  /** Each further delay is so many times the one before; 0: it grows by `minMs` each time. */
  readonly multiplier: number;
  /** The delay is varied by up to this share of it, 0 to 1. */
  readonly jitter: number;
  /** A reject without requeue is an attempt that failed, too, instead of a dead letter at once. */
  readonly rejectsToo: boolean;
}

export interface DedupSettings {
  /** Header that names a message; "": its message-id. */
  readonly header: string;
  /** Names remembered at most. */
  readonly cacheMax: number;
  /** How long a name is remembered, ms; undefined: until newer ones push it out. */
  readonly windowMs: number | undefined;
}

/**
 * What a queue does with its messages: decided by the broker from arguments and policies, kept in the meta
 * log, told to the shard when the queue is made, when the broker starts, and when a policy changes.
 */
export interface QueueSettings {
  /** Messages may be persistent; the queue itself survives a restart. */
  readonly durable: boolean;
  /** Deliver a message only when its commit is durable (quorum-type queues). */
  readonly deliverAfterCommit: boolean;
  /** 0: messages have no priority; else they have 0 to this, higher first. */
  readonly priorityMax: number;
  /** A message that is not delivered by then is expired; 0: unless it is delivered at once. */
  readonly messageTtlMs: number | undefined;
  /** Limits of the messages that are ready. */
  readonly lengthMax: number | undefined;
  readonly bytesMax: number | undefined;
  readonly overflow: "drop-head" | "reject-publish" | "reject-publish-dlx";
  /** Messages that are rejected, expired or dropped go to the router of dead letters. */
  readonly deadLetters: boolean;
  /** A message that came back more often is a dead letter; undefined: no limit. */
  readonly deliveryLimit: number | undefined;
  readonly retry: RetrySettings | undefined;
  readonly singleActiveConsumer: boolean;
  /** A delivery that is not settled by then costs the consumer its channel. */
  readonly consumerTimeoutMs: number | undefined;
  /** A queue that is not used for so long is deleted. */
  readonly expiresMs: number | undefined;
  readonly dedup: DedupSettings | undefined;
  /** Messages of one group (header x-message-group) are delivered one after the other. */
  readonly groups: boolean;
}

/** A durable queue without any special wish. */
export const PLAIN_SETTINGS: QueueSettings = {
  durable: true,
  deliverAfterCommit: false,
  priorityMax: 0,
  messageTtlMs: undefined,
  lengthMax: undefined,
  bytesMax: undefined,
  overflow: "drop-head",
  deadLetters: false,
  deliveryLimit: undefined,
  retry: undefined,
  singleActiveConsumer: false,
  consumerTimeoutMs: undefined,
  expiresMs: undefined,
  dedup: undefined,
  groups: false,
};

/** Lifetime counters of one queue since the start of the process. */
export interface QueueCounters {
  published: number;
  delivered: number;
  redelivered: number;
  acked: number;
  /** Messages that came back to be delivered again. */
  returned: number;
  expired: number;
  deadLettered: number;
  /** Messages that are gone for another reason: purged, too many, rejected without a dead-letter exchange. */
  dropped: number;
  /** Publishes that a full queue refused. */
  refused: number;
  /** Publishes that were duplicates. */
  deduplicated: number;
}

export function newQueueCounters(): QueueCounters {
  return {
    published: 0,
    delivered: 0,
    redelivered: 0,
    acked: 0,
    returned: 0,
    expired: 0,
    deadLettered: 0,
    dropped: 0,
    refused: 0,
    deduplicated: 0,
  };
}

export interface QueueCounts {
  readonly ready: number;
  readonly inFlight: number;
  /** Messages that wait for their time; not part of `ready`. */
  readonly delayed: number;
  readonly consumers: number;
  /** Bytes of the stored records of ready, delayed and in-flight messages. */
  readonly bytes: number;
  /** Bytes of those that are ready. */
  readonly readyBytes: number;
  readonly counters: Readonly<QueueCounters>;
}

/** Why a message is a dead letter, in RabbitMQ's words. */
export type DeathReason = "rejected" | "expired" | "maxlen" | "delivery_limit";

/** A message that leaves its queue as a dead letter. Its record (model/message.ts) is bytes[start, start + size). */
export interface Death {
  readonly queueId: number;
  readonly bytes: Buffer;
  readonly start: number;
  readonly size: number;
  readonly reason: DeathReason;
  /** Wall-clock time, ms. */
  readonly timeMs: number;
}

/** Where a dead letter goes, and as what. Valid until the next call. */
export interface DeadLetter {
  readonly message: IncomingMessage;
  readonly queueIds: readonly number[];
}

/** Decides where dead letters go: the broker's part. Undefined: nowhere, the message is dropped. */
export interface DeadLetterRouter {
  route(death: Death): DeadLetter | undefined;
}

/**
 * Why a message comes back: the client asked for it, its consumer or channel is gone, or it held the
 * message for too long.
 */
export type ReturnCause = "client" | "closed" | "timeout";

/** What `publish` answers when a full queue refused the message. */
export const REFUSED = -1;

/** Lifetime counters of a shard, for metrics; monotonic. */
export interface ShardCounters {
  published: number;
  delivered: number;
  redelivered: number;
  acked: number;
  requeued: number;
  purged: number;
  dropped: number;
  expired: number;
  deadLettered: number;
  refused: number;
  deduplicated: number;
}

/** Which messages to look at: how many, behind how many others, and how much of them. */
export interface PeekOptions {
  readonly skip: number;
  readonly count: number;
  /** The first message is there, however large it is. */
  readonly bytesMax: number;
}

/** A copy of a message that stays where it is. */
export interface Peeked {
  /** As model/message.ts lays it out. */
  readonly record: Buffer;
  readonly deliveries: number;
}

export type SettleReason = 0 | 1 | 2 | 3 | 4 | 5;

export interface ShardPort {
  /** Log position that the entry now being filled will get; what is published now commits with it. */
  readonly openPosition: number;
  /** The durable watermark of the shard's log. */
  readonly committed: number;
  /** Publishers must pause: uncommitted bytes are above the limit. `onFlow` tells when it changes. */
  readonly congested: boolean;
  /** Bytes that are not durable yet. */
  readonly backlogBytes: number;
  readonly counters: Readonly<ShardCounters>;

  createQueue(queueId: number, settings: QueueSettings): void;
  /** New settings of a queue that exists; `durable` and `deliverAfterCommit` do not change. O(1). */
  configureQueue(queueId: number, settings: QueueSettings): void;
  /**
   * All queues have their settings now, and dead letters go where `router` says (undefined: they are dropped).
   * Until this is called nothing expires: after a start, what is to be a dead letter must not just be dropped.
   */
  setDeadLetterRouter(router: DeadLetterRouter | undefined): void;
  /** Drops the queue with its messages; its consumers are cancelled. Returns the ready messages dropped. */
  deleteQueue(queueId: number): number;
  hasQueue(queueId: number): boolean;
  queueIds(): IterableIterator<number>;
  counts(queueId: number): QueueCounts;
  /** Drops the ready messages; returns their number. */
  purge(queueId: number): number;

  /**
   * Enqueues `message` on each of `queueIds` (all or nothing: one entry). Returns the position whose
   * commit makes it durable, 0 when nothing needs to be waited for (not persistent, or no durable queue), or
   * REFUSED when a full queue that rejects publishes is among them (the other queues have the message then).
   */
  publish(message: IncomingMessage, queueIds: readonly number[]): number;

  /**
   * Runs `work`, whose publishes and settles become one entry: durable all together or not at all. `bytes`
   * is their size, estimated from above; what is larger than an entry can be is not atomic.
   */
  atomically(bytes: number, work: () => void): void;

  consume(queueId: number, sink: DeliverySink, options: ConsumeOptions): Consumer;
  /**
   * Takes one message for basic.get and calls `done(true)` after sink.deliver, or `done(false)` when the
   * queue is empty. May complete later (the body is read from disk).
   */
  take(queueId: number, noAck: boolean, sink: DeliverySink, done: (found: boolean) => void): void;

  /**
   * The messages that are ready, in the order in which they would be delivered; nothing happens to them.
   * Rejects with "unavailable" when one cannot be read back.
   */
  peek(queueId: number, options: PeekOptions): Promise<readonly Peeked[]>;

  /** Settles the in-flight messages with sequences first..last (inclusive, all of them in flight). Lazy. */
  settle(queueId: number, lane: number, first: number, last: number, reason: SettleReason): void;
  /** Puts an in-flight message back at its original place, at once or after a delay. Lazy. */
  requeue(queueId: number, lane: number, sequence: number, cause: ReturnCause): void;

  /** Calls `done` once everything appended so far is durable (at once when it already is). */
  whenCommitted(done: () => void): void;
}
