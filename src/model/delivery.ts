// The vocabulary between a queue and a door that consumes from it.

/** Names one message of a shard: which queue, which lane (priority), which place in the lane. */
export interface MessageRef {
  readonly queueId: number;
  readonly lane: number;
  readonly sequence: number;
}

/**
 * What a door implements to receive messages; one per consumer. Called only inside a turn. Must
 * copy what it needs: `bytes` belongs to the queue and is reused later.
 */
export interface DeliverySink {
  /**
   * One message. The record (model/message.ts) is bytes[start, start + size). `deliveries` counts
   * the earlier deliveries of this message (0: first time; above 0: redelivered).
   * Returns false when the sink can take no more for now; it then calls `Consumer.resume`.
   */
  deliver(
    bytes: Buffer,
    start: number,
    size: number,
    queueId: number,
    lane: number,
    sequence: number,
    deliveries: number,
  ): boolean;
  /** The queue was deleted under the consumer: no more deliveries will come. */
  cancelled(): void;
}

/** A consumer as the queue hands it back to the door. */
export interface Consumer {
  readonly queueId: number;
  /** False while another consumer of a queue with a single active consumer has its turn. */
  readonly isActive: boolean;
  /** The sink can take messages again. Idempotent and cheap. */
  resume(): void;
  /**
   * No deliveries until `resume`. For credit that consumers share: one sink uses up the last of it and
   * the others must not be offered a message either. Idempotent; may be called inside `deliver`.
   */
  pause(): void;
  /** No more deliveries. Messages in flight stay in flight until settled or returned. */
  cancel(): void;
}

export interface ConsumeOptions {
  /** Settled as soon as it is sent (AMQP no-ack). */
  readonly noAck: boolean;
  /** Refuse other consumers. */
  readonly exclusive: boolean;
  /** Consumers with a higher one get messages first, as long as they can take some; default 0. */
  readonly priority?: number;
  /** Overrides the queue's consumer timeout, ms. */
  readonly consumerTimeoutMs?: number | undefined;
}

/** Why a message left its queue. */
export const SETTLE_ACKED = 0;
export const SETTLE_REJECTED = 1;
export const SETTLE_EXPIRED = 2;
export const SETTLE_PURGED = 3;
/** The queue was too long. */
export const SETTLE_MAXLEN = 4;
/** It came back too often. */
export const SETTLE_DELIVERY_LIMIT = 5;
