// Direct reply-to: a client consumes from "amq.rabbitmq.reply-to", which is no queue, and gets an address
// of its own; what is published to that address by way of the default exchange goes straight to it.
// Nothing is stored: a reply to a channel that has gone, or that does not read, is dropped.
//
// An address is a secret of 128 random bits. Whoever got it in a request may answer, in the same vhost.

import type { IncomingMessage } from "../../model/message.ts";
import type { Random } from "../../ports/clock.ts";
import type { Channel } from "./channel.ts";

export const REPLY_QUEUE = "amq.rabbitmq.reply-to";
const ADDRESS_PREFIX = `${REPLY_QUEUE}.`;
const SECRET_BYTES = 16;

/** A channel's consumer of replies. */
export interface ReplyConsumer {
  readonly tag: string;
  readonly address: string;
}

export function isReplyAddress(routingKey: string): boolean {
  return routingKey.startsWith(ADDRESS_PREFIX);
}

/** Who can be answered, of all connections of a door. */
export class DirectReplies {
  private readonly channels = new Map<string, Channel>();

  /** Addresses in use. */
  get count(): number {
    return this.channels.size;
  }

  /** Gives `channel` an address. */
  open(channel: Channel, random: Random): string {
    const address = ADDRESS_PREFIX + Buffer.from(random.bytes(SECRET_BYTES)).toString("base64url");
    this.channels.set(address, channel);
    return address;
  }

  close(address: string): void {
    this.channels.delete(address);
  }

  /** True when a reply to `address` would arrive. */
  reaches(address: string, vhost: string): boolean {
    return this.channels.get(address)?.host.session.vhost === vhost;
  }

  /** Sends a reply; false when nobody is there who can take it. */
  send(message: IncomingMessage, address: string, vhost: string): boolean {
    const channel = this.channels.get(address);
    if (channel === undefined || channel.host.session.vhost !== vhost || !channel.host.hasRoom) return false;
    channel.deliverReply(message, address);
    return true;
  }
}
