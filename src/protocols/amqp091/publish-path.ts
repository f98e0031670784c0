// The way of a publish from the chunk to the broker. Hot: when all frames of a message lie in the
// chunk, it is handed over as ranges of the chunk, without a copy, an object or a string. Anything
// unusual (a message cut by the chunk's end, an error of any kind) is left to the frame-wise path,
// which says precisely what is wrong.

import type { BrokerFacade, Route } from "../../broker/facade.ts";
import { IncomingMessage } from "../../model/message.ts";
import { checkProperties, DELIVERY_MODE_PERSISTENT, propertyFlags } from "../../model/properties.ts";
import type { Channel } from "./channel.ts";
import type { ChannelHost } from "./channel-host.ts";
import { isReplyAddress } from "./direct-replies.ts";
import { channelError } from "./errors.ts";
import { MEANINGFUL_FLAGS, readMeaning } from "./message-meaning.ts";
import {
  CLASS_BASIC,
  FRAME_BODY,
  FRAME_END,
  FRAME_HEADER,
  FRAME_HEADER_BYTES,
  FRAME_OVERHEAD,
  FRAME_TOLERANCE,
  METHOD_BASIC_PUBLISH,
  REPLY_CODES,
} from "./spec.ts";
import type { KeptPublish } from "./transaction.ts";

const EMPTY = Buffer.alloc(0);
const ROUTES_CACHED_MAX = 1024;
/** The shortest whole message: method frame 7 + 9 + 1, header frame 7 + 14 + 1. */
const MESSAGE_BYTES_MIN = 39;
const NO_COPIES: readonly string[] = [];
/** The route to a direct reply-to address: straight to a channel. */
const TO_REPLY: Route = { version: 0, perMessage: true, queueIds: [], delayedQueueIds: [] };

/** What the path needs of the frame dispatch. */
export interface PublishHooks {
  /** The open channel, or undefined when it is not open or waits for content frames. */
  idleChannel(number: number): Channel | undefined;
  /** Tells the client; the channel or the connection ends. */
  failed(channel: number, error: unknown, classId: number, methodId: number): void;
  /** A publish was parsed: the connection counts as a publisher. */
  published(): void;
}

export class PublishPath {
  private readonly host: ChannelHost;
  private readonly hooks: PublishHooks;
  private readonly broker: BrokerFacade;
  private readonly message = new IncomingMessage();
  private readonly routes = new Map<string, Route>();
  private lastRoute: Route | undefined = undefined;
  private readonly lastEnvelope = Buffer.alloc(2 * 256);
  private lastEnvelopeSize = 0;

  constructor(host: ChannelHost, hooks: PublishHooks) {
    this.host = host;
    this.hooks = hooks;
    this.broker = host.broker;
  }

  /**
   * Publishes the whole message that begins with the basic.publish frame at `at`; returns the offset
   * behind it, or `at` when it is not whole and plain.
   */
  takeWhole(bytes: Buffer, at: number, end: number): number {
    if (end - at < MESSAGE_BYTES_MIN) return at;
    const envelopeStart = at + 13;
    const keyAt = envelopeStart + 1 + bytes[envelopeStart]!;
    if (keyAt >= end) return at;
    const envelopeEnd = keyAt + 1 + bytes[keyAt]!;
    const header = envelopeEnd + 2;
    if (end - header < 22) return at;
    if (readU32(bytes, at + 3) !== envelopeEnd + 1 - at - FRAME_HEADER_BYTES || bytes[header - 1] !== FRAME_END)
      return at;
    const flags = bytes[envelopeEnd]!;
    if (flags > 1 || !this.isHeader(bytes, at, header)) return at;
    const payloadMax = this.host.outbox.frameBytesMax - FRAME_OVERHEAD + FRAME_TOLERANCE;
    const headerSize = readU32(bytes, header + 3);
    const headerEnd = header + FRAME_HEADER_BYTES + headerSize;
    if (headerSize < 14 || headerSize > payloadMax || headerEnd >= end || bytes[headerEnd] !== FRAME_END) return at;
    const bodySize = readU32(bytes, header + 15);
    if (bodySize > this.broker.messageBytesMax) return at;
    const next = this.takeBody(bytes, at, headerEnd + 1, end, bodySize, payloadMax);
    if (next < 0) return at;
    const channel = this.hooks.idleChannel((bytes[at + 1]! << 8) | bytes[at + 2]!);
    if (channel === undefined) return at;
    const message = this.message;
    message.envelope = bytes;
    message.envelopeStart = envelopeStart;
    message.envelopeEnd = envelopeEnd;
    message.properties = bytes;
    message.propertiesStart = header + 19;
    message.propertiesEnd = headerEnd;
    message.bodySize = bodySize;
    try {
      this.publish(channel, flags === 1);
    } catch (error) {
      this.hooks.failed(channel.number, error, CLASS_BASIC, METHOD_BASIC_PUBLISH);
    }
    return next;
  }

  /** A content header of class basic on the channel of the frame at `at`, with a body below 4 GiB. */
  private isHeader(bytes: Buffer, at: number, header: number): boolean {
    return (
      bytes[header] === FRAME_HEADER &&
      bytes[header + 1] === bytes[at + 1] &&
      bytes[header + 2] === bytes[at + 2] &&
      bytes[header + 7] === 0 &&
      bytes[header + 8] === CLASS_BASIC &&
      readU32(bytes, header + 11) === 0
    );
  }

  /** Notes the ranges of the body frames from `from` on; returns the offset behind them, -1 if not whole. */
  private takeBody(bytes: Buffer, at: number, from: number, end: number, bodySize: number, payloadMax: number): number {
    const message = this.message;
    let count = 0;
    let received = 0;
    while (received < bodySize) {
      if (end - from < FRAME_OVERHEAD || bytes[from] !== FRAME_BODY) return -1;
      if (bytes[from + 1] !== bytes[at + 1] || bytes[from + 2] !== bytes[at + 2]) return -1;
      const size = readU32(bytes, from + 3);
      const start = from + FRAME_HEADER_BYTES;
      const stop = start + size;
      if (size > payloadMax || stop >= end || bytes[stop] !== FRAME_END) return -1;
      message.bodyParts[count] = bytes;
      message.bodyStarts[count] = start;
      message.bodyEnds[count] = stop;
      count++;
      received += size;
      from = stop + 1;
    }
    message.bodyCount = count;
    return received === bodySize ? from : -1;
  }

  /** Publishes a message that the channel has assembled. Throws AmqpError, BrokerError or DecodeError. */
  publishAssembled(channel: Channel): void {
    const content = channel.content;
    content.fill(this.message);
    const mandatory = content.mandatory;
    try {
      this.publish(channel, mandatory);
    } finally {
      content.reset();
    }
  }

  /** Lets go of the chunk. Called at its end: an idle connection must not keep it alive. */
  release(): void {
    const message = this.message;
    message.envelope = EMPTY;
    message.properties = EMPTY;
    message.bodyParts.length = 0;
    message.bodyStarts.length = 0;
    message.bodyEnds.length = 0;
    message.bodyCount = 0;
  }

  private publish(channel: Channel, mandatory: boolean): void {
    const message = this.message;
    const { properties, propertiesStart, propertiesEnd } = message;
    const mode = checkProperties(properties, propertiesStart, propertiesEnd);
    message.persistent = mode === DELIVERY_MODE_PERSISTENT;
    message.priority = 0;
    message.expirationMs = -1;
    message.delayMs = 0;
    const flags = propertyFlags(properties, propertiesStart) & MEANINGFUL_FLAGS;
    const copies = flags === 0 ? NO_COPIES : readMeaning(message, flags, channel);
    this.hooks.published();
    const route = copies.length === 0 ? this.route() : this.routeOf(message, copies);
    if (channel.transaction === undefined) this.dispatch(channel, message, route, mandatory);
    else channel.transaction.keepPublish(message, mandatory, copies);
  }

  /** Hands a message over; false when a full queue rejected it. */
  private dispatch(channel: Channel, message: IncomingMessage, route: Route, mandatory: boolean): boolean {
    let routed = route.queueIds.length > 0;
    let position = 0;
    if (route === TO_REPLY) routed = this.reply(message);
    else position = this.broker.publish(message, route);
    if (mandatory && !routed) this.returnUnroutable(channel, message);
    if (channel.confirms !== undefined) channel.notePublish(position);
    return position >= 0;
  }

  /**
   * tx.commit: publishes what the transaction kept. Every route is looked up before anything is published,
   * so what is refused (404) is refused whole. Throws 406 when full queues rejected a part.
   */
  commit(channel: Channel, kept: readonly KeptPublish[]): void {
    const routes = kept.map(({ message, copies }) => this.routeOf(message, copies));
    let rejected = 0;
    for (const [index, { message, mandatory }] of kept.entries()) {
      if (!this.dispatch(channel, message, routes[index]!, mandatory)) rejected++;
    }
    if (rejected > 0) throw channelError("precondition-failed", "partial tx completion");
  }

  private reply(message: IncomingMessage): boolean {
    const { envelope, envelopeStart, envelopeEnd } = message;
    const address = envelope.toString("utf8", envelopeStart + 2, envelopeEnd);
    return this.host.replies.send(message, address, this.host.session.vhost);
  }

  private route(): Route {
    const { envelope, envelopeStart, envelopeEnd } = this.message;
    const last = this.lastRoute;
    const version = this.broker.topologyVersion;
    if (last !== undefined && last.version === version && this.sameEnvelope(envelope, envelopeStart, envelopeEnd))
      return last;
    return this.lookUpRoute(version);
  }

  private sameEnvelope(bytes: Buffer, start: number, end: number): boolean {
    const size = end - start;
    if (size !== this.lastEnvelopeSize) return false;
    const last = this.lastEnvelope;
    for (let i = 0; i < size; i++) {
      if (bytes[start + i] !== last[i]) return false;
    }
    return true;
  }

  private lookUpRoute(version: number): Route {
    const message = this.message;
    const { envelope, envelopeStart, envelopeEnd } = message;
    const name = envelope.toString("latin1", envelopeStart, envelopeEnd);
    let route = this.routes.get(name);
    if (route === undefined || route.version !== version) {
      route = this.routeOf(message, NO_COPIES);
      // More than the key decides: every message asks again.
      if (route.perMessage) return route;
      if (this.routes.size >= ROUTES_CACHED_MAX) this.routes.clear();
      this.routes.set(name, route);
    }
    envelope.copy(this.lastEnvelope, 0, envelopeStart, envelopeEnd);
    this.lastEnvelopeSize = envelopeEnd - envelopeStart;
    this.lastRoute = route;
    return route;
  }

  /** Asks for the route of one message. Throws "not-found", "access-refused". */
  private routeOf(message: IncomingMessage, copies: readonly string[]): Route {
    const { envelope, envelopeStart, envelopeEnd } = message;
    const keyAt = envelopeStart + 1 + envelope[envelopeStart]!;
    const exchange = envelope.toString("utf8", envelopeStart + 1, keyAt);
    const key = envelope.toString("utf8", keyAt + 1, envelopeEnd);
    const properties = message.properties.subarray(message.propertiesStart, message.propertiesEnd);
    // Whoever may not write to the default exchange may not reply either, so the broker is asked in any case.
    const route = this.broker.route(this.host.session, exchange, key, properties, copies);
    return exchange === "" && isReplyAddress(key) ? TO_REPLY : route;
  }

  private returnUnroutable(channel: Channel, message: IncomingMessage): void {
    const { envelope, envelopeStart, envelopeEnd } = message;
    const keyAt = envelopeStart + 1 + envelope[envelopeStart]!;
    this.host.send(channel.number, "basic.return", {
      replyCode: REPLY_CODES["no-route"],
      replyText: "NO_ROUTE",
      exchange: envelope.toString("utf8", envelopeStart + 1, keyAt),
      routingKey: envelope.toString("utf8", keyAt + 1, envelopeEnd),
    });
    this.host.outbox.messageContent(channel.number, message);
  }
}

function readU32(bytes: Buffer, at: number): number {
  return bytes[at]! * 0x1000000 + ((bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!);
}
