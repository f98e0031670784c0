// A client that sends exactly the frames it is told to, for what no library lets one send: methods that a
// broker must refuse, and silence. It knows just enough AMQP 0-9-1 to shake hands and read methods.

import { connect } from "node:net";
import type { Socket } from "node:net";

const FRAME_METHOD = 1;
const FRAME_END = 0xce;
const DEADLINE_MS = 10_000;

/** Method ids: class in the upper, method in the lower 16 bits. */
export const METHOD = {
  connectionStart: 0x000a000a,
  connectionStartOk: 0x000a000b,
  connectionTune: 0x000a001e,
  connectionTuneOk: 0x000a001f,
  connectionOpen: 0x000a0028,
  connectionOpenOk: 0x000a0029,
  connectionClose: 0x000a0032,
  connectionCloseOk: 0x000a0033,
  channelOpen: 0x0014000a,
  channelOpenOk: 0x0014000b,
  channelFlow: 0x00140014,
  channelFlowOk: 0x00140015,
  channelClose: 0x00140028,
  channelCloseOk: 0x00140029,
  queueDeclare: 0x0032000a,
  basicQos: 0x003c000a,
  basicPublish: 0x003c0028,
  basicAck: 0x003c0050,
} as const;

export interface Frame {
  readonly type: number;
  readonly channel: number;
  readonly payload: Buffer;
}

export const u8 = (value: number): Buffer => Buffer.from([value]);
export const u16 = (value: number): Buffer => Buffer.from([value >>> 8, value & 0xff]);
export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
export const shortString = (text: string): Buffer => Buffer.concat([u8(Buffer.byteLength(text)), Buffer.from(text)]);
export const longString = (text: string): Buffer => Buffer.concat([u32(Buffer.byteLength(text)), Buffer.from(text)]);
export const emptyTable = u32(0);

export function frame(type: number, channel: number, payload: Buffer): Buffer {
  return Buffer.concat([u8(type), u16(channel), u32(payload.length), payload, u8(FRAME_END)]);
}

export function method(channel: number, id: number, ...fields: Buffer[]): Buffer {
  return frame(FRAME_METHOD, channel, Buffer.concat([u32(id), ...fields]));
}

/** One socket; frames are read in order. */
export class RawClient {
  readonly #socket: Socket;
  #bytes: Buffer = Buffer.alloc(0);
  #ended = false;
  #changed: () => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#bytes = Buffer.concat([this.#bytes, chunk]);
      this.#changed();
    });
    socket.on("close", () => {
      this.#ended = true;
      this.#changed();
    });
    socket.on("error", () => undefined); // a reset is an end like any other here
  }

  static connect(address: { host: string; port: number }): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect(address.port, address.host, () => resolve(new RawClient(socket)));
      socket.setNoDelay(true);
      socket.once("error", reject);
    });
  }

  /** Speaks over a socket of the caller's for as long as `talk` runs, and then leaves it alone. */
  static async over(socket: Socket, talk: (client: RawClient) => Promise<void>): Promise<void> {
    await talk(new RawClient(socket));
  }

  send(...parts: Buffer[]): void {
    this.#socket.write(Buffer.concat(parts));
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Waits for so many bytes, or fewer when the peer ends; rejects when the peer is silent for too long. */
  async #read(count: number): Promise<Buffer> {
    while (this.#bytes.length < count && !this.#ended) {
      await new Promise<void>((resolve, reject) => {
        const deadline = setTimeout(
          () => reject(new Error(`the broker was silent for ${DEADLINE_MS} ms`)),
          DEADLINE_MS,
        );
        this.#changed = () => {
          clearTimeout(deadline);
          resolve();
        };
      });
    }
    const bytes = this.#bytes.subarray(0, count);
    this.#bytes = this.#bytes.subarray(count);
    return bytes;
  }

  /** Exactly what the broker sends until it closes the socket, at most `count` bytes. */
  readBytes(count: number): Promise<Buffer> {
    return this.#read(count);
  }

  /** The next frame, heartbeats included; undefined when the broker closed the socket. */
  async readFrame(): Promise<Frame | undefined> {
    const head = await this.#read(7);
    if (head.length < 7) return undefined;
    const rest = await this.#read(head.readUInt32BE(3) + 1);
    return { type: head[0] ?? 0, channel: head.readUInt16BE(1), payload: rest.subarray(0, -1) };
  }

  /** The next method on any channel; heartbeats are passed over. */
  async readMethod(): Promise<{ channel: number; id: number; fields: Buffer } | undefined> {
    for (;;) {
      const next = await this.readFrame();
      if (next === undefined) return undefined;
      if (next.type === FRAME_METHOD) {
        return { channel: next.channel, id: next.payload.readUInt32BE(0), fields: next.payload.subarray(4) };
      }
    }
  }

  /** Shakes hands as guest; returns what the broker offered in connection.tune. */
  async handshake(options: { heartbeatS?: number; frameMaxBytes?: number; channelMax?: number } = {}): Promise<{
    channelMax: number;
    frameMaxBytes: number;
    heartbeatS: number;
  }> {
    this.send(Buffer.from("AMQP\x00\x00\x09\x01", "latin1"));
    await this.readMethod();
    this.send(
      method(
        0,
        METHOD.connectionStartOk,
        emptyTable,
        shortString("PLAIN"),
        longString("\0guest\0guest"),
        shortString("en_US"),
      ),
    );
    const tune = await this.readMethod();
    const offered = tune?.fields ?? Buffer.alloc(8);
    this.send(
      method(
        0,
        METHOD.connectionTuneOk,
        u16(options.channelMax ?? 100),
        u32(options.frameMaxBytes ?? 131_072),
        u16(options.heartbeatS ?? 0),
      ),
      method(0, METHOD.connectionOpen, shortString("/"), shortString(""), u8(0)),
    );
    return {
      channelMax: offered.readUInt16BE(0),
      frameMaxBytes: offered.readUInt32BE(2),
      heartbeatS: offered.readUInt16BE(6),
    };
  }

  /** Opens channel 1 after a handshake. */
  async openChannel(): Promise<void> {
    await this.readMethod();
    this.send(method(1, METHOD.channelOpen, shortString("")));
    await this.readMethod();
  }

  /** The broker's close: level, code, text, and the method that it blames. */
  async readClose(): Promise<string> {
    const next = await this.readMethod();
    if (next === undefined) return "socket closed";
    const level =
      next.id === METHOD.connectionClose ? "connection" : next.id === METHOD.channelClose ? "channel" : "other";
    if (level === "other") return `method 0x${next.id.toString(16)}`;
    const length = next.fields[2] ?? 0;
    const text = next.fields.toString("utf8", 3, 3 + length);
    return `${level} ${next.fields.readUInt16BE(0)} ${text} (0x${next.fields.readUInt32BE(3 + length).toString(16)})`;
  }
}
