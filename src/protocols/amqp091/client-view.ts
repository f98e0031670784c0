// A connection and its channels as the management interface sees them (broker/client-connection.ts).

import type { ChannelView, ClientConnection } from "../../broker/facade.ts";
import type { FieldTable } from "../../model/field-table.ts";
import type { ByteSocket } from "../../ports/net.ts";
import type { Channel } from "./channel.ts";
import type { Tuning } from "./handshake.ts";

/** What is looked at in a connection. */
export interface ViewedConnection {
  readonly clientProperties: FieldTable;
  readonly connectedAtMs: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly tuning: Tuning;
  channelViews(): readonly ChannelView[];
  force(reason: string): void;
}

export class ClientView implements ClientConnection {
  readonly protocol = "AMQP 0-9-1";
  readonly peerHost: string;
  readonly peerPort: number;
  readonly host: string;
  readonly port: number;
  readonly encrypted: boolean;
  readonly connectedAtMs: number;
  private readonly connection: ViewedConnection;

  constructor(connection: ViewedConnection, socket: ByteSocket) {
    this.connection = connection;
    this.peerHost = socket.remoteAddress;
    this.peerPort = socket.remotePort;
    this.host = socket.localAddress;
    this.port = socket.localPort;
    this.encrypted = socket.encrypted;
    this.connectedAtMs = connection.connectedAtMs;
  }

  get clientProperties(): FieldTable {
    return this.connection.clientProperties;
  }

  get channelMax(): number {
    return this.connection.tuning.channelMax;
  }

  get frameBytesMax(): number {
    return this.connection.tuning.frameBytesMax;
  }

  get heartbeatS(): number {
    return this.connection.tuning.heartbeatS;
  }

  get receivedBytes(): number {
    return this.connection.receivedBytes;
  }

  get sentBytes(): number {
    return this.connection.sentBytes;
  }

  channels(): readonly ChannelView[] {
    return this.connection.channelViews();
  }

  close(reason: string): void {
    this.connection.force(reason);
  }
}

export function viewOf(channel: Channel): ChannelView {
  return {
    number: channel.number,
    prefetch: channel.prefetch,
    globalPrefetch: channel.globalPrefetch,
    unacked: channel.unackedCount,
    unconfirmed: channel.confirms?.unanswered ?? 0,
    confirm: channel.confirms !== undefined,
    transactional: channel.transaction !== undefined,
    consumers: [...channel.consumers.values()].flatMap((consumer) => {
      const { handle, tag, noAck, prefetch, exclusive, priority } = consumer;
      if (handle === undefined) return [];
      const { queueId, isActive: active } = handle;
      return [{ tag, queueId, noAck, exclusive, prefetch, priority, arguments: consumer.arguments, active }];
    }),
  };
}
