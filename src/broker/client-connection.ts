// A client's connection as the broker keeps it for the management interface: who is there, what it
// does, and how to end it. A door implements it; everything but `close` is only looked at.

import type { FieldTable } from "../model/field-table.ts";

export interface ClientConnection {
  /** As RabbitMQ names it: "AMQP 0-9-1". */
  readonly protocol: string;
  readonly peerHost: string;
  readonly peerPort: number;
  readonly host: string;
  readonly port: number;
  readonly encrypted: boolean;
  readonly clientProperties: FieldTable;
  /** Unix time, ms. */
  readonly connectedAtMs: number;
  readonly channelMax: number;
  readonly frameBytesMax: number;
  /** 0: no heartbeats. */
  readonly heartbeatS: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  channels(): readonly ChannelView[];
  /** Ends the connection from this side, with the protocol's word for it (AMQP: 320 CONNECTION_FORCED). */
  close(reason: string): void;
}

export interface ChannelView {
  readonly number: number;
  /** Of consumers that come later; 0: no limit. */
  readonly prefetch: number;
  /** Shared by the channel; 0: no limit. */
  readonly globalPrefetch: number;
  readonly unacked: number;
  readonly unconfirmed: number;
  readonly confirm: boolean;
  readonly transactional: boolean;
  readonly consumers: readonly ConsumerView[];
}

export interface ConsumerView {
  readonly tag: string;
  readonly queueId: number;
  readonly noAck: boolean;
  readonly exclusive: boolean;
  readonly prefetch: number;
  readonly priority: number;
  readonly arguments: FieldTable;
  /** False while another consumer of a single-active-consumer queue has its turn. */
  readonly active: boolean;
}
