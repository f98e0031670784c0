// The reference for the machine's speed: the least program that answers the generator. It keeps no
// queue and no disk; it confirms each chunk of publishes at once and copies their content frames to
// the consumer of the same queue name, or drops them when there is none. No broker can beat it, so
// its figure is also the generator's ceiling.
//
// Usage: node relay.js PORT

import { createServer } from "node:net";
import type { Socket } from "node:net";
import {
  AckBuffer,
  FRAME_HEADER,
  FRAME_HEAD_BYTES,
  FRAME_METHOD,
  FrameScanner,
  METHOD,
  method,
  readU32,
  shortString,
  u16,
  u32,
  longString,
} from "./wire.ts";

const UNSENT_BYTES_MAX = 1024 * 1024;
const DELIVER_TAG_AT = FRAME_HEAD_BYTES + 4 + 2;
const consumers = new Map<string, RelayClient>();

/** Answers that carry nothing the generator reads. */
const FIXED_ANSWERS = new Map<number, (channel: number) => Buffer>([
  [METHOD.connectionStartOk, () => method(0, METHOD.connectionTune, u16(2047), u32(131_072), u16(0))],
  [METHOD.connectionOpen, () => method(0, METHOD.connectionOpenOk, shortString(""))],
  [METHOD.connectionClose, () => method(0, METHOD.connectionCloseOk)],
  [METHOD.channelOpen, (channel) => method(channel, METHOD.channelOpenOk, u32(0))],
  [METHOD.queueDeclare, (channel) => method(channel, METHOD.queueDeclareOk, shortString("q"), u32(0), u32(0))],
  [METHOD.queueDelete, (channel) => method(channel, METHOD.queueDeleteOk, u32(0))],
  [METHOD.basicQos, (channel) => method(channel, METHOD.basicQosOk)],
  [METHOD.confirmSelect, (channel) => method(channel, METHOD.confirmSelectOk)],
]);

class RelayClient {
  readonly #socket: Socket;
  readonly #confirms = new AckBuffer(1);
  readonly #fed = new Set<RelayClient>();
  #greeted = false;
  #chunk: Buffer = Buffer.alloc(0);
  #confirming = false;
  #published = 0;
  #confirmedUpTo = 0;
  #target: RelayClient | undefined;
  #queueKey = "";
  #out: Buffer[] = [];
  #deliver: Buffer = Buffer.alloc(0);
  #tag = 0;

  constructor(socket: Socket) {
    this.#socket = socket;
    const scanner = new FrameScanner((type, channel, bytes, start, end) => {
      this.#frame(type, channel, bytes, start, end);
    });
    socket.setNoDelay(true);
    socket.on("data", (chunk) => {
      // The protocol header is 8 bytes and always comes alone.
      if (!this.#greeted) {
        this.#greeted = true;
        const table = longString(Buffer.alloc(0));
        const mechanisms = longString(Buffer.from("PLAIN"));
        const locales = longString(Buffer.from("en_US"));
        socket.write(method(0, METHOD.connectionStart, Buffer.from([0, 9]), table, mechanisms, locales));
        return;
      }
      this.#chunk = chunk;
      scanner.push(chunk, chunk.length);
      this.#endOfChunk();
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      for (const [queue, client] of consumers) if (client === this) consumers.delete(queue);
    });
  }

  #frame(type: number, channel: number, bytes: Buffer, start: number, end: number): void {
    if (type !== FRAME_METHOD) {
      const frameBytes = bytes.subarray(start - FRAME_HEAD_BYTES, end + 1);
      // The scanner reuses its side buffer before this chunk is flushed.
      const lasting = bytes === this.#chunk ? frameBytes : Buffer.from(frameBytes);
      this.#target?.forward(lasting, type === FRAME_HEADER);
      return;
    }
    const id = readU32(bytes, start);
    if (id === METHOD.basicPublish) this.#publish(bytes, start);
    else if (id !== METHOD.basicAck) this.#answer(id, channel, bytes, start);
  }

  #publish(bytes: Buffer, start: number): void {
    this.#published++;
    const keyAt = start + 4 + 2 + 1 + (bytes[start + 6] as number);
    const key = bytes.toString("latin1", keyAt + 1, keyAt + 1 + (bytes[keyAt] as number));
    if (key === this.#queueKey && this.#target !== undefined) return;
    this.#queueKey = key;
    this.#target = consumers.get(key);
    if (this.#target !== undefined) this.#fed.add(this.#target);
  }

  #answer(id: number, channel: number, bytes: Buffer, start: number): void {
    if (id === METHOD.confirmSelect) this.#confirming = true;
    if (id === METHOD.basicConsume) {
      const length = bytes[start + 6] as number;
      const queue = bytes.toString("latin1", start + 7, start + 7 + length);
      consumers.set(queue, this);
      const noTag = Buffer.alloc(8);
      const rest = [shortString("c"), noTag, Buffer.from([0]), shortString(""), shortString(queue)];
      this.#deliver = method(channel, METHOD.basicDeliver, ...rest);
      this.#socket.write(method(channel, METHOD.basicConsumeOk, shortString("c")));
      return;
    }
    const answer = FIXED_ANSWERS.get(id);
    if (answer !== undefined) this.#socket.write(answer(channel));
  }

  /** Adds one content frame; a header frame starts a new delivery. */
  forward(frameBytes: Buffer, startsDelivery: boolean): void {
    if (startsDelivery) {
      const deliver = Buffer.from(this.#deliver);
      this.#tag++;
      deliver.writeUInt32BE(this.#tag, DELIVER_TAG_AT + 4);
      this.#out.push(deliver);
    }
    this.#out.push(frameBytes);
  }

  #endOfChunk(): void {
    for (const target of this.#fed) target.#flush(this.#socket);
    if (!this.#confirming || this.#confirmedUpTo === this.#published) return;
    this.#confirmedUpTo = this.#published;
    this.#confirms.add(this.#published, true);
    const bytes = this.#confirms.take();
    if (bytes !== undefined) this.#socket.write(bytes);
  }

  /** Writes what was collected; a slow consumer holds its publisher. */
  #flush(publisher: Socket): void {
    if (this.#out.length === 0) return;
    this.#socket.write(Buffer.concat(this.#out));
    this.#out = [];
    if (this.#socket.writableLength < UNSENT_BYTES_MAX) return;
    publisher.pause();
    this.#socket.once("drain", () => publisher.resume());
  }
}

const port = Number(process.argv[2]);
createServer((socket) => new RelayClient(socket)).listen(port, "127.0.0.1");
