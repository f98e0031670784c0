// A door, a fake broker, virtual time and clients on in-memory sockets, for the wire tests.

import assert from "node:assert/strict";
import type { FieldTable } from "../../src/model/field-table.ts";
import type { MessageProperties } from "../../src/model/properties.ts";
import { decodeProperties, encodeProperties } from "../../src/model/properties.ts";
import type { Clock, Timer } from "../../src/ports/clock.ts";
import type { Logger } from "../../src/ports/logger.ts";
import type { ByteSocket, PeerCertificate, SocketEvents } from "../../src/ports/net.ts";
import { type AmqpDoor, startAmqpDoor } from "../../src/protocols/amqp091/door.ts";
import { decodeMethod, encodeMethod } from "../../src/protocols/amqp091/methods.ts";
import type { Method, MethodFields, MethodName, MethodOf } from "../../src/protocols/amqp091/spec.ts";
import { FakeBroker } from "./amqp091-fake-broker.ts";

export const PROTOCOL_HEADER = Buffer.from("AMQP\0\0\x09\x01", "latin1");
export const NO_ARGUMENTS: FieldTable = new Map();

export class VirtualClock implements Clock {
  private nowMs = 0;
  private timers: { at: number; run: () => void }[] = [];

  wallMs(): number {
    return this.nowMs;
  }

  monotonicMs(): number {
    return this.nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    const timer = { at: this.nowMs + delayMs, run };
    this.timers.push(timer);
    return {
      cancel: () => {
        this.timers = this.timers.filter((other) => other !== timer);
      },
    };
  }

  advance(ms: number): void {
    const end = this.nowMs + ms;
    for (;;) {
      const due = this.timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.timers = this.timers.filter((timer) => timer !== due);
      this.nowMs = due.at;
      due.run();
    }
    this.nowMs = end;
  }
}

export class MemorySocket implements ByteSocket {
  remoteAddress = "127.0.0.1";
  readonly remotePort = 40000;
  readonly localAddress = "127.0.0.1";
  readonly localPort = 5672;
  readonly encrypted = false;
  peerCertificate: PeerCertificate | undefined = undefined;
  unsentBytes = 0;
  /** Written bytes stay unsent until `flush`. */
  stuck = false;
  paused = false;
  ended = false;
  destroyed = false;
  writes = 0;
  private sent: Buffer[] = [];
  private events: SocketEvents | undefined = undefined;

  attach(events: SocketEvents): void {
    this.events = events;
  }

  write(bytes: Buffer): void {
    assert.equal(this.ended, false, "nothing is written behind the end");
    this.writes++;
    // Like a kernel: what is not unsent has been copied, and the door may use its buffer again.
    this.sent.push(this.stuck ? bytes : Buffer.from(bytes));
    if (this.stuck) this.unsentBytes += bytes.length;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    this.ended = true;
  }

  destroy(): void {
    this.destroyed = true;
  }

  /** Bytes from the peer, in a buffer that is wiped afterwards: whoever keeps a view is found out. */
  receive(bytes: Buffer): void {
    const lent = Buffer.from(bytes);
    this.events?.data(lent);
    lent.fill(0xdd);
  }

  flushed(): void {
    this.unsentBytes = 0;
    this.events?.drain();
  }

  peerClosed(error?: Error): void {
    this.events?.close(error);
  }

  take(): Buffer {
    return Buffer.concat(this.sent.splice(0));
  }
}

/** One frame that the door sent. */
export type Received =
  | { readonly kind: "method"; readonly channel: number; readonly method: Method }
  | {
      readonly kind: "header";
      readonly channel: number;
      readonly bodySize: number;
      readonly properties: MessageProperties;
    }
  | { readonly kind: "body"; readonly channel: number; readonly bytes: Buffer }
  | { readonly kind: "heartbeat"; readonly channel: number };

export interface ReceivedMessage {
  readonly channel: number;
  readonly method: Method;
  readonly properties: MessageProperties;
  readonly body: Buffer;
  readonly bodyFrames: number;
}

export class World {
  readonly broker = new FakeBroker();
  readonly clock = new VirtualClock();
  readonly warnings: string[] = [];
  readonly logger: Logger;
  door!: AmqpDoor;

  constructor() {
    const keep = (message: string): void => {
      this.warnings.push(message);
    };
    this.logger = { debug: () => undefined, info: () => undefined, warn: keep, error: keep };
  }

  static async open(): Promise<World> {
    const world = new World();
    let drawn = 0;
    world.door = await startAmqpDoor({
      net: { listen: () => Promise.reject(new Error("no network here")) },
      broker: world.broker,
      clock: world.clock,
      random: { u32: () => ++drawn, bytes: (size) => Buffer.alloc(size, ++drawn) },
      logger: world.logger,
      listeners: [],
      rabbitmqVersion: "4.1.0",
      quaysideVersion: "0.0.0",
    });
    return world;
  }

  connect(remoteAddress = "127.0.0.1", peerCertificate?: PeerCertificate): Client {
    const socket = new MemorySocket();
    socket.remoteAddress = remoteAddress;
    socket.peerCertificate = peerCertificate;
    this.door.accept(socket);
    return new Client(this, socket);
  }

  /** A client behind its handshake, with channel 1 open. */
  open(options: OpenOptions = {}): Client {
    const client = this.connect();
    client.logIn(options);
    client.send(1, "channel.open", { outOfBand: "" });
    assert.deepEqual(client.methodNames(), ["channel.open-ok"]);
    return client;
  }
}

export interface OpenOptions {
  readonly frameMax?: number;
  readonly channelMax?: number;
  readonly heartbeat?: number;
  readonly capabilities?: readonly string[];
}

export class Client {
  readonly socket: MemorySocket;
  private readonly world: World;

  constructor(world: World, socket: MemorySocket) {
    this.world = world;
    this.socket = socket;
  }

  raw(bytes: Buffer): void {
    this.socket.receive(bytes);
  }

  send<N extends MethodName>(channel: number, name: N, fields: MethodFields<N>): void {
    this.raw(methodFrame(channel, name, fields));
  }

  /** Lets the turn come to its end. */
  settle(): void {
    this.world.broker.settleDown();
  }

  /** Everything that the door has sent since the last call, after the turn is over. */
  received(): Received[] {
    this.world.broker.settleDown();
    return parseFrames(this.socket.take());
  }

  methods(): Method[] {
    return this.received().flatMap((frame) => (frame.kind === "method" ? [frame.method] : []));
  }

  methodNames(): string[] {
    return this.methods().map((method) => method.name);
  }

  /** The one method that was sent; fails when it is another or there are more. */
  expect<N extends MethodName>(name: N): MethodOf<N> {
    const methods = this.methods();
    assert.deepEqual(
      methods.map((method) => method.name),
      [name],
    );
    return methods[0] as MethodOf<N>;
  }

  messages(): ReceivedMessage[] {
    return joinMessages(this.received());
  }

  logIn(options: OpenOptions = {}): void {
    const capabilities = new Map((options.capabilities ?? []).map((name) => [name, true] as const));
    this.raw(PROTOCOL_HEADER);
    this.send(0, "connection.start-ok", {
      clientProperties: new Map([["capabilities", capabilities]]),
      mechanism: "PLAIN",
      response: Buffer.from("\0guest\0guest"),
      locale: "en_US",
    });
    const { frameMax = 131072, channelMax = 2047, heartbeat = 0 } = options;
    this.send(0, "connection.tune-ok", { channelMax, frameMax, heartbeat });
    this.send(0, "connection.open", { virtualHost: "/", capabilities: "", insist: false });
    assert.deepEqual(this.methodNames(), ["connection.start", "connection.tune", "connection.open-ok"]);
  }

  consume(
    queue: string,
    options: {
      readonly tag?: string;
      readonly noAck?: boolean;
      readonly channel?: number;
      readonly arguments?: FieldTable;
    } = {},
  ): void {
    const { tag = "ctag", noAck = false, channel = 1 } = options;
    this.send(channel, "basic.consume", {
      ticket: 0,
      queue,
      consumerTag: tag,
      noLocal: false,
      noAck,
      exclusive: false,
      nowait: false,
      arguments: options.arguments ?? NO_ARGUMENTS,
    });
  }

  ack(deliveryTag: number, multiple = false): void {
    this.send(1, "basic.ack", { deliveryTag, multiple });
  }

  publish(routingKey: string, body: Buffer | string, options: PublishOptions = {}): void {
    this.raw(publishFrames(routingKey, body, options));
  }
}

export interface PublishOptions {
  readonly channel?: number;
  readonly exchange?: string;
  readonly mandatory?: boolean;
  readonly immediate?: boolean;
  readonly properties?: MessageProperties;
  readonly frameMax?: number;
}

export function frame(type: number, channel: number, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(payload.length + 8);
  bytes[0] = type;
  bytes.writeUInt16BE(channel, 1);
  bytes.writeUInt32BE(payload.length, 3);
  payload.copy(bytes, 7);
  bytes[payload.length + 7] = 206;
  return bytes;
}

export function methodFrame<N extends MethodName>(channel: number, name: N, fields: MethodFields<N>): Buffer {
  return frame(1, channel, encodeMethod(name, fields));
}

export function headerFrame(channel: number, bodySize: number, properties: MessageProperties): Buffer {
  const fixed = Buffer.alloc(12);
  fixed.writeUInt16BE(60, 0);
  fixed.writeUInt32BE(Math.floor(bodySize / 2 ** 32), 4);
  fixed.writeUInt32BE(bodySize % 2 ** 32, 8);
  return frame(2, channel, Buffer.concat([fixed, encodeProperties(properties)]));
}

export function publishFrames(routingKey: string, body: Buffer | string, options: PublishOptions = {}): Buffer {
  const {
    channel = 1,
    exchange = "",
    mandatory = false,
    immediate = false,
    properties = {},
    frameMax = 131072,
  } = options;
  const bytes = Buffer.from(body as string);
  const frames = [
    methodFrame(channel, "basic.publish", { ticket: 0, exchange, routingKey, mandatory, immediate }),
    headerFrame(channel, bytes.length, properties),
  ];
  for (let at = 0; at < bytes.length; at += frameMax - 8)
    frames.push(frame(3, channel, bytes.subarray(at, at + frameMax - 8)));
  return Buffer.concat(frames);
}

export function parseFrames(bytes: Buffer): Received[] {
  const frames: Received[] = [];
  for (let at = 0; at < bytes.length; ) {
    const channel = bytes.readUInt16BE(at + 1);
    const payload = bytes.subarray(at + 7, at + 7 + bytes.readUInt32BE(at + 3));
    const type = bytes[at];
    at += payload.length + 8;
    assert.equal(bytes[at - 1], 206, "every frame ends with the end mark");
    if (type === 1) {
      const method = decodeMethod(payload, 0, payload.length);
      assert.ok(method !== undefined, "the door sends only methods that exist");
      frames.push({ kind: "method", channel, method });
    } else if (type === 2) {
      const bodySize = payload.readUInt32BE(4) * 2 ** 32 + payload.readUInt32BE(8);
      frames.push({ kind: "header", channel, bodySize, properties: decodeProperties(payload, 12, payload.length) });
    } else if (type === 3) {
      frames.push({ kind: "body", channel, bytes: payload });
    } else {
      assert.equal(type, 8, "the frame type exists");
      frames.push({ kind: "heartbeat", channel });
    }
  }
  return frames;
}

/** The frames that carry messages, put together; checks that they follow each other as they must. */
export function joinMessages(frames: readonly Received[]): ReceivedMessage[] {
  const messages: ReceivedMessage[] = [];
  for (let i = 0; i < frames.length; i++) {
    const first = frames[i]!;
    const header = frames[i + 1];
    if (first.kind !== "method" || header?.kind !== "header") continue;
    const parts: Buffer[] = [];
    let size = 0;
    for (i += 2; size < header.bodySize; i++) {
      const part = frames[i];
      assert.ok(part?.kind === "body" && part.channel === first.channel, "the body follows its header");
      parts.push(part.bytes);
      size += part.bytes.length;
    }
    i--;
    assert.equal(size, header.bodySize);
    const body = Buffer.concat(parts);
    messages.push({
      channel: first.channel,
      method: first.method,
      properties: header.properties,
      body,
      bodyFrames: parts.length,
    });
  }
  return messages;
}
