// What a channel needs of its connection.

import type { BrokerFacade, Session } from "../../broker/facade.ts";
import type { Random } from "../../ports/clock.ts";
import type { Channel } from "./channel.ts";
import type { Outbox } from "./outbox.ts";
import type { Settles } from "./settles.ts";
import type { MethodFields, MethodName } from "./spec.ts";

export interface ChannelHost {
  readonly broker: BrokerFacade;
  readonly session: Session;
  readonly random: Random;
  readonly outbox: Outbox;
  readonly settles: Settles;
  /** The client wants basic.cancel when a queue goes away under a consumer. */
  readonly tellsCancels: boolean;
  /** The peer may be sent more deliveries: its unsent bytes are below the limit. */
  readonly hasRoom: boolean;
  /** A delivery filled the socket: wake the channels' consumers when there is room again. */
  stalled(): void;
  send<N extends MethodName>(channel: number, name: N, fields: MethodFields<N>): void;
  /** Stops parsing until what was changed so far is durable, then runs `answer`. */
  afterCommit(answer: () => void): void;
  /** Stops parsing until `release` is called; frames behind a pending basic.get wait for its answer. */
  holdForGet(): () => void;
  /** The channel's confirms wait for a commit. */
  awaitCommit(channel: Channel): void;
  /** The channel has confirms to send at the end of this turn. */
  confirmLater(channel: Channel): void;
  /** The channel's waiting consumers may have credit again: look at the end of this chunk. */
  wakeLater(channel: Channel): void;
}
