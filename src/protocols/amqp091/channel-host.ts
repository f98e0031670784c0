// What a channel needs of its connection.

import type { BrokerFacade, Session } from "../../broker/facade.ts";
import type { Random } from "../../ports/clock.ts";
import type { Channel } from "./channel.ts";
import type { DirectReplies } from "./direct-replies.ts";
import type { Outbox } from "./outbox.ts";
import type { Settles } from "./settles.ts";
import type { MethodFields, MethodName } from "./spec.ts";
import type { KeptPublish, TransactionBudget } from "./transaction.ts";

/** How finely the time of deliveries is known, ms. */
export const CONSUMER_TICK_MS = 1000;

export interface ChannelHost {
  readonly broker: BrokerFacade;
  readonly session: Session;
  readonly random: Random;
  readonly outbox: Outbox;
  readonly settles: Settles;
  readonly replies: DirectReplies;
  readonly transactions: TransactionBudget;
  /** Counts up every CONSUMER_TICK_MS. */
  readonly tick: number;
  /** The client wants basic.cancel when a queue goes away under a consumer. */
  readonly tellsCancels: boolean;
  /** The peer may be sent more deliveries: its unsent bytes are below the limit. */
  readonly hasRoom: boolean;
  /** A delivery filled the socket: wake the channels' consumers when there is room again. */
  stalled(): void;
  send<N extends MethodName>(channel: number, name: N, fields: MethodFields<N>): void;
  /** Stops parsing until what was changed so far is durable, then runs `answer`. */
  afterCommit(answer: () => void): void;
  /** Like `afterCommit`, for messages that were published and settled. */
  afterStored(answer: () => void): void;
  /** Stops parsing until `release` is called; frames behind a pending basic.get wait for its answer. */
  holdForGet(): () => void;
  /** Publishes what a transaction kept (PublishPath.commit). */
  publishKept(channel: Channel, kept: readonly KeptPublish[]): void;
  /** The channel's confirms wait for a commit. */
  awaitCommit(channel: Channel): void;
  /** The channel has confirms to send at the end of this turn. */
  confirmLater(channel: Channel): void;
  /** The channel's waiting consumers may have credit again: look at the end of this chunk. */
  wakeLater(channel: Channel): void;
}
