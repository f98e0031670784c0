// Frames of one connection to its channels: which channel, which method, which content; and what a
// client is told when one fails. Publishes and acks take the fast path in `messages`.

import type { Logger } from "../../ports/logger.ts";
import { DecodeError } from "../../model/errors.ts";
import { Channel } from "./channel.ts";
import type { ChannelHost } from "./channel-host.ts";
import { handleMethod } from "./channel-methods.ts";
import { connectionError, isInternal, replyText, toAmqpError, type AmqpError } from "./errors.ts";
import type { FrameHandler } from "./frames.ts";
import { decodeMethod } from "./methods.ts";
import { PublishPath, type PublishHooks } from "./publish-path.ts";
import {
  CLASS_BASIC,
  CLASS_CHANNEL,
  CLASS_CONNECTION,
  FRAME_BODY,
  FRAME_END,
  FRAME_HEADER,
  FRAME_HEARTBEAT,
  FRAME_METHOD,
  METHOD_BASIC_ACK,
  METHOD_BASIC_PUBLISH,
  type Method,
} from "./spec.ts";
import type { KeptPublish } from "./transaction.ts";

/** Bytes of a basic.ack frame: 7 + ids 4 + tag 8 + bits 1 + end 1. */
const ACK_FRAME_BYTES = 21;
const METHOD_CLOSE = 50;
const METHOD_CLOSE_OK = 51;

export interface DispatchHost extends ChannelHost {
  readonly logger: Logger;
  readonly holding: boolean;
  /** Where the connection is in its life; channels exist only while it is open. */
  readonly phase: "header" | "handshake" | "open" | "closing" | "gone";
  readonly channelMax: number;
  /** Publishers must wait: hold the connection and tell the client. */
  blockPublisher(): void;
  published(): void;
  /** A method on channel 0. */
  connectionMethod(method: Method): void;
  internalError(error: AmqpError): void;
  closeWith(error: AmqpError, classId: number, methodId: number): void;
}

export class Dispatch implements FrameHandler, PublishHooks {
  readonly channels = new Map<number, Channel>();
  private readonly host: DispatchHost;
  private readonly path: PublishPath;
  private lastChannel: Channel | undefined = undefined;
  // The method that is being carried out, for the class and method id of an error.
  private classId = 0;
  private methodId = 0;

  constructor(host: DispatchHost) {
    this.host = host;
    this.path = new PublishPath(host, this);
  }

  get holding(): boolean {
    return this.host.holding;
  }

  // The fast path

  messages(bytes: Buffer, at: number, end: number): number {
    const host = this.host;
    if (host.phase !== "open") return at;
    while (end - at >= ACK_FRAME_BYTES && bytes[at] === FRAME_METHOD && !host.holding) {
      if (bytes[at + 8] !== CLASS_BASIC || bytes[at + 7] !== 0 || bytes[at + 9] !== 0) return at;
      const method = bytes[at + 10]!;
      let next = at;
      if (method === METHOD_BASIC_PUBLISH && host.broker.publishBlocked === undefined) {
        next = this.path.takeWhole(bytes, at, end);
      } else if (method === METHOD_BASIC_ACK) {
        next = this.takeAck(bytes, at);
      }
      if (next === at) return at;
      at = next;
    }
    return at;
  }

  private takeAck(bytes: Buffer, at: number): number {
    if (bytes[at + 6] !== 13 || bytes[at + 5] !== 0 || bytes[at + 4] !== 0 || bytes[at + 3] !== 0) return at;
    if (bytes[at + 20] !== FRAME_END) return at;
    const channel = this.idleChannel((bytes[at + 1]! << 8) | bytes[at + 2]!);
    if (channel === undefined) return at;
    try {
      channel.ack(
        bytes.readUInt32BE(at + 11) * 0x1_0000_0000 + bytes.readUInt32BE(at + 15),
        (bytes[at + 19]! & 1) === 1,
      );
    } catch (error) {
      this.failed(channel.number, error, CLASS_BASIC, METHOD_BASIC_ACK);
    }
    return at + ACK_FRAME_BYTES;
  }

  idleChannel(number: number): Channel | undefined {
    let channel = this.lastChannel;
    if (channel === undefined || channel.number !== number) {
      channel = this.channels.get(number);
      this.lastChannel = channel;
    }
    return channel === undefined || channel.closing || channel.content.pending ? undefined : channel;
  }

  published(): void {
    this.host.published();
  }

  publishKept(channel: Channel, kept: readonly KeptPublish[]): void {
    this.path.commit(channel, kept);
  }

  /** The chunk is parsed: nothing may point into it any longer. */
  release(): void {
    this.path.release();
  }

  // Frame by frame

  frame(type: number, channel: number, bytes: Buffer, start: number, end: number): boolean {
    this.classId = 0;
    this.methodId = 0;
    try {
      if (type === FRAME_METHOD) return this.methodFrame(channel, bytes, start, end);
      if (this.host.phase === "closing") return true;
      if (type === FRAME_HEARTBEAT) this.heartbeat(channel);
      else if (type === FRAME_HEADER || type === FRAME_BODY) this.contentFrame(type, channel, bytes, start, end);
      else throw connectionError("frame-error", `unknown frame type ${type}`);
    } catch (error) {
      this.failed(channel, error, this.classId, this.methodId);
    }
    return true;
  }

  private heartbeat(channel: number): void {
    if (channel !== 0) throw connectionError("unexpected-frame", `a heartbeat on channel ${channel} instead of 0`);
  }

  private contentFrame(type: number, number: number, bytes: Buffer, start: number, end: number): void {
    const channel = this.channels.get(number);
    if (channel === undefined)
      throw connectionError("unexpected-frame", `a content frame on channel ${number}, which is not open`);
    if (channel.closing) return;
    this.classId = CLASS_BASIC;
    this.methodId = METHOD_BASIC_PUBLISH;
    const { content } = channel;
    const complete =
      type === FRAME_HEADER
        ? content.header(bytes, start, end, this.host.broker.messageBytesMax)
        : content.append(bytes, start, end);
    if (complete) this.path.publishAssembled(channel);
  }

  private methodFrame(number: number, bytes: Buffer, start: number, end: number): boolean {
    if (end - start < 4) throw new DecodeError("a method frame is shorter than its ids");
    this.classId = bytes.readUInt16BE(start);
    this.methodId = bytes.readUInt16BE(start + 2);
    if (this.host.phase === "closing") {
      this.closingMethod(number, bytes, start, end);
      return true;
    }
    if (number === 0) {
      this.host.connectionMethod(decode(bytes, start, end));
      return true;
    }
    if (this.host.phase !== "open")
      throw connectionError("channel-error", `a method on channel ${number} before connection.open`);
    if (this.classId === CLASS_CHANNEL && this.channelMethod(number, bytes, start, end)) return true;
    const channel = this.channels.get(number);
    if (channel === undefined) throw connectionError("channel-error", "expected 'channel.open'");
    if (channel.closing) return true;
    channel.content.expectMethod();
    if (this.classId === CLASS_BASIC && this.methodId === METHOD_BASIC_PUBLISH) {
      return this.publishFrame(channel, bytes, start, end);
    }
    if (this.classId === CLASS_CONNECTION)
      throw connectionError("command-invalid", `a connection method on channel ${number}`);
    const method = decode(bytes, start, end);
    if (method.name !== "basic.ack") this.host.settles.flush();
    handleMethod(channel, method);
    return true;
  }

  /** channel.open, close and close-ok; false for the other methods of the class. */
  private channelMethod(number: number, bytes: Buffer, start: number, end: number): boolean {
    const method = decode(bytes, start, end);
    const channel = this.channels.get(number);
    switch (method.name) {
      case "channel.open":
        if (channel === undefined) {
          this.host.broker.checkChannelLimit(this.host.session);
          this.openChannel(number);
        } else if (!channel.closing) throw connectionError("channel-error", "second 'channel.open' seen");
        return true;
      case "channel.close":
        if (channel === undefined) throw connectionError("channel-error", "expected 'channel.open'");
        if (!channel.closing) this.dropChannel(channel);
        this.host.send(number, "channel.close-ok", {});
        return true;
      case "channel.close-ok":
        if (channel?.closing === true) this.forget(number);
        return true;
      default:
        return false;
    }
  }

  private openChannel(number: number): void {
    const { channelMax } = this.host;
    // The limit is on how many are open; which numbers a client gives them is its own affair, as in RabbitMQ.
    const open = this.channels.size;
    if (open >= channelMax) {
      const words = `number of channels opened (${open}) has reached the negotiated channel_max (${channelMax})`;
      throw connectionError("not-allowed", words);
    }
    this.channels.set(number, new Channel(number, this.host));
    this.host.send(number, "channel.open-ok", { channelId: Buffer.alloc(0) });
  }

  private dropChannel(channel: Channel): void {
    this.host.settles.flush();
    channel.sendConfirms();
    channel.shut();
    this.forget(channel.number);
  }

  private forget(number: number): void {
    this.channels.delete(number);
    this.lastChannel = undefined;
  }

  private publishFrame(channel: Channel, bytes: Buffer, start: number, end: number): boolean {
    if (this.host.broker.publishBlocked !== undefined) {
      this.host.blockPublisher();
      return false;
    }
    const method = decode(bytes, start, end);
    if (method.name !== "basic.publish") throw connectionError("command-invalid", `unexpected method ${method.name}`);
    if (method.immediate) throw connectionError("not-implemented", "immediate=true");
    // Class and method id and the ticket are in front of the envelope, the bits behind it.
    channel.content.begin(bytes, start + 6, end - 1, method.mandatory);
    return true;
  }

  /** After our connection.close, only the end of the connection matters. */
  private closingMethod(number: number, bytes: Buffer, start: number, end: number): void {
    if (number !== 0 || this.classId !== CLASS_CONNECTION) return;
    if (this.methodId !== METHOD_CLOSE && this.methodId !== METHOD_CLOSE_OK) return;
    this.host.connectionMethod(decode(bytes, start, end));
  }

  // Errors and the end

  failed(number: number, error: unknown, classId: number, methodId: number): void {
    const told = toAmqpError(error);
    if (isInternal(told)) this.host.internalError(told);
    const channel = this.channels.get(number);
    if (told.scope === "connection" || channel === undefined) {
      this.host.closeWith(told, classId, methodId);
      return;
    }
    this.host.logger.info("a channel was closed with an error", {
      channel: number,
      code: told.replyCode,
      text: told.message,
    });
    try {
      this.host.settles.flush();
      channel.shut();
    } catch (cause) {
      this.host.closeWith(toAmqpError(cause), classId, methodId);
      return;
    }
    const text = replyText(told.message);
    this.host.send(number, "channel.close", { replyCode: told.replyCode, replyText: text, classId, methodId });
  }

  checkTimeouts(): void {
    for (const channel of this.channels.values()) {
      if (channel.closing) continue;
      try {
        channel.checkTimeouts();
      } catch (error) {
        this.failed(channel.number, error, 0, 0);
      }
    }
  }

  /** Sends the confirms that are due on all channels: the client closes, and close-ok comes next. */
  sendConfirms(): void {
    for (const channel of this.channels.values()) channel.sendConfirms();
  }

  /** Ends all channels: consumers are cancelled, unacked messages go back in order. */
  shut(): void {
    this.host.settles.flush();
    for (const channel of this.channels.values()) channel.shut();
    this.channels.clear();
    this.lastChannel = undefined;
  }
}

function decode(bytes: Buffer, start: number, end: number): Method {
  const method = decodeMethod(bytes, start, end);
  if (method === undefined) {
    const ids = `class ${bytes.readUInt16BE(start)}, method ${bytes.readUInt16BE(start + 2)}`;
    throw connectionError("not-implemented", `unknown method: ${ids}`);
  }
  return method;
}
