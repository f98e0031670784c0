// The few AMQP 0-9-1 frames that a load generator and a relay need, encoded by hand. Nothing here
// is shared with the broker: a mistake in its codec must not be repeated by the program that
// measures it.

export const FRAME_METHOD = 1;
export const FRAME_HEADER = 2;
export const FRAME_BODY = 3;
export const FRAME_HEARTBEAT = 8;
const FRAME_END = 0xce;
/** type, channel, size before the payload; one end octet behind it. */
export const FRAME_HEAD_BYTES = 7;
export const FRAME_OVERHEAD_BYTES = FRAME_HEAD_BYTES + 1;
export const FRAME_BYTES_MAX = 131_072;
const ACK_FRAME_BYTES = FRAME_OVERHEAD_BYTES + 4 + 8 + 1;

/** class id << 16 | method id. */
export const METHOD = {
  connectionStart: (10 << 16) | 10,
  connectionStartOk: (10 << 16) | 11,
  connectionTune: (10 << 16) | 30,
  connectionTuneOk: (10 << 16) | 31,
  connectionOpen: (10 << 16) | 40,
  connectionOpenOk: (10 << 16) | 41,
  connectionClose: (10 << 16) | 50,
  connectionCloseOk: (10 << 16) | 51,
  channelOpen: (20 << 16) | 10,
  channelOpenOk: (20 << 16) | 11,
  channelClose: (20 << 16) | 40,
  channelCloseOk: (20 << 16) | 41,
  queueDeclare: (50 << 16) | 10,
  queueDeclareOk: (50 << 16) | 11,
  queueDelete: (50 << 16) | 40,
  queueDeleteOk: (50 << 16) | 41,
  basicQos: (60 << 16) | 10,
  basicQosOk: (60 << 16) | 11,
  basicConsume: (60 << 16) | 20,
  basicConsumeOk: (60 << 16) | 21,
  basicPublish: (60 << 16) | 40,
  basicDeliver: (60 << 16) | 60,
  basicAck: (60 << 16) | 80,
  basicNack: (60 << 16) | 120,
  confirmSelect: (85 << 16) | 10,
  confirmSelectOk: (85 << 16) | 11,
} as const;

export const PROTOCOL_HEADER = Buffer.from([0x41, 0x4d, 0x51, 0x50, 0, 0, 9, 1]);

export function u16(value: number): Buffer {
  const out = Buffer.alloc(2);
  out.writeUInt16BE(value);
  return out;
}

export function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32BE(value);
  return out;
}

export function shortString(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
}

export function longString(bytes: Buffer): Buffer {
  return Buffer.concat([u32(bytes.length), bytes]);
}

export function frame(type: number, channel: number, payload: Buffer): Buffer {
  const out = Buffer.allocUnsafeSlow(payload.length + FRAME_OVERHEAD_BYTES);
  out[0] = type;
  out.writeUInt16BE(channel, 1);
  out.writeUInt32BE(payload.length, 3);
  payload.copy(out, FRAME_HEAD_BYTES);
  out[out.length - 1] = FRAME_END;
  return out;
}

export function method(channel: number, id: number, ...args: Buffer[]): Buffer {
  return frame(FRAME_METHOD, channel, Buffer.concat([u32(id), ...args]));
}

export function startOk(user: string, password: string): Buffer {
  const response = Buffer.from(`\0${user}\0${password}`, "utf8");
  return method(0, METHOD.connectionStartOk, u32(0), shortString("PLAIN"), longString(response), shortString("en_US"));
}

/** No heartbeats: a generator that is busy for seconds must not be cut off. */
export function tuneOk(): Buffer {
  return method(0, METHOD.connectionTuneOk, u16(2047), u32(FRAME_BYTES_MAX), u16(0));
}

export function openConnection(): Buffer {
  return method(0, METHOD.connectionOpen, shortString("/"), shortString(""), Buffer.from([0]));
}

export function openChannel(channel: number): Buffer {
  return method(channel, METHOD.channelOpen, shortString(""));
}

export interface QueueShape {
  readonly durable: boolean;
  readonly type: "classic" | "quorum";
}

export function declareQueue(channel: number, name: string, shape: QueueShape): Buffer {
  const table =
    shape.type === "quorum"
      ? Buffer.concat([shortString("x-queue-type"), Buffer.from("S"), longString(Buffer.from("quorum"))])
      : Buffer.alloc(0);
  const bits = Buffer.from([shape.durable ? 0b10 : 0]);
  return method(channel, METHOD.queueDeclare, u16(0), shortString(name), bits, longString(table));
}

export function deleteQueue(channel: number, name: string): Buffer {
  return method(channel, METHOD.queueDelete, u16(0), shortString(name), Buffer.from([0]));
}

export function qos(channel: number, prefetch: number): Buffer {
  return method(channel, METHOD.basicQos, u32(0), u16(prefetch), Buffer.from([0]));
}

export function consume(channel: number, queue: string, options: { readonly autoAck: boolean }): Buffer {
  const bits = Buffer.from([options.autoAck ? 0b10 : 0]);
  return method(
    channel,
    METHOD.basicConsume,
    u16(0),
    shortString(queue),
    shortString("c"),
    bits,
    longString(Buffer.alloc(0)),
  );
}

export function selectConfirms(channel: number): Buffer {
  return method(channel, METHOD.confirmSelect, Buffer.from([0]));
}

/** basic.publish to the default exchange with its content header and one body frame. */
export function publishFrames(
  channel: number,
  queue: string,
  content: { readonly body: Buffer; readonly persistent: boolean },
): Buffer {
  const { body, persistent } = content;
  const flags = persistent ? 0x1000 : 0;
  const size = Buffer.alloc(8);
  size.writeUInt32BE(body.length, 4);
  const properties = persistent ? Buffer.from([2]) : Buffer.alloc(0);
  const parts = [
    method(channel, METHOD.basicPublish, u16(0), shortString(""), shortString(queue), Buffer.from([0])),
    frame(FRAME_HEADER, channel, Buffer.concat([u16(60), u16(0), size, u16(flags), properties])),
  ];
  if (body.length > 0) parts.push(frame(FRAME_BODY, channel, body));
  return Buffer.concat(parts);
}

/** Acks laid out one behind the other, so that a chunk of deliveries is answered by one write. */
export class AckBuffer {
  #bytes: Buffer;
  #used = 0;
  readonly #channel: number;

  constructor(channel: number) {
    this.#channel = channel;
    this.#bytes = Buffer.allocUnsafeSlow(64 * ACK_FRAME_BYTES);
  }

  add(tag: number, multiple: boolean): void {
    if (this.#used + ACK_FRAME_BYTES > this.#bytes.length) {
      const grown = Buffer.allocUnsafeSlow(this.#bytes.length * 2);
      this.#bytes.copy(grown, 0, 0, this.#used);
      this.#bytes = grown;
    }
    const out = this.#bytes;
    const at = this.#used;
    out[at] = FRAME_METHOD;
    out.writeUInt16BE(this.#channel, at + 1);
    out.writeUInt32BE(4 + 8 + 1, at + 3);
    out.writeUInt32BE(METHOD.basicAck, at + 7);
    out.writeUInt32BE(Math.floor(tag / 0x1_0000_0000), at + 11);
    out.writeUInt32BE(tag % 0x1_0000_0000, at + 15);
    out[at + 19] = multiple ? 1 : 0;
    out[at + 20] = FRAME_END;
    this.#used = at + ACK_FRAME_BYTES;
  }

  /** The acks so far, in a buffer that now belongs to the caller; undefined when there are none. */
  take(): Buffer | undefined {
    if (this.#used === 0) return undefined;
    const taken = this.#bytes.subarray(0, this.#used);
    this.#bytes = Buffer.allocUnsafeSlow(Math.max(64 * ACK_FRAME_BYTES, this.#used));
    this.#used = 0;
    return taken;
  }
}

export function readU32(bytes: Buffer, at: number): number {
  return (
    (((bytes[at] as number) << 24) |
      ((bytes[at + 1] as number) << 16) |
      ((bytes[at + 2] as number) << 8) |
      (bytes[at + 3] as number)) >>>
    0
  );
}

export function readU64(bytes: Buffer, at: number): number {
  return readU32(bytes, at) * 0x1_0000_0000 + readU32(bytes, at + 4);
}

export type OnFrame = (type: number, channel: number, bytes: Buffer, start: number, end: number) => void;

/** Cuts a byte stream into frames, whatever the chunking; a split frame is put together in a side buffer. */
export class FrameScanner {
  readonly #onFrame: OnFrame;
  readonly #partial = Buffer.allocUnsafeSlow(FRAME_BYTES_MAX + FRAME_OVERHEAD_BYTES);
  #partialBytes = 0;

  constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame;
  }

  /** Calls onFrame for each frame that is complete; `bytes` may be reused after the return. */
  push(bytes: Buffer, length: number): void {
    let at = this.#partialBytes > 0 ? this.#completePartial(bytes, length) : 0;
    while (at + FRAME_HEAD_BYTES <= length) {
      const payload = at + FRAME_HEAD_BYTES;
      const end = payload + readU32(bytes, at + 3);
      if (end >= length) break;
      if (bytes[end] !== FRAME_END) throw new Error(`frame end octet missing at ${end}`);
      const channel = ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
      this.#onFrame(bytes[at] as number, channel, bytes, payload, end);
      at = end + 1;
    }
    if (at < length) {
      bytes.copy(this.#partial, this.#partialBytes, at, length);
      this.#partialBytes += length - at;
    }
  }

  /** Returns how many bytes of the chunk went into the frame that was cut off before it. */
  #completePartial(bytes: Buffer, length: number): number {
    const partial = this.#partial;
    let at = 0;
    while (this.#partialBytes < FRAME_HEAD_BYTES) {
      if (at === length) return length;
      partial[this.#partialBytes++] = bytes[at++] as number;
    }
    const total = readU32(partial, 3) + FRAME_OVERHEAD_BYTES;
    if (total > partial.length) throw new Error(`frame of ${total} bytes exceeds the agreed size`);
    const missing = Math.min(total - this.#partialBytes, length - at);
    bytes.copy(partial, this.#partialBytes, at, at + missing);
    this.#partialBytes += missing;
    at += missing;
    if (this.#partialBytes < total) return length;
    if (partial[total - 1] !== FRAME_END) throw new Error("frame end octet missing");
    this.#partialBytes = 0;
    this.#onFrame(partial[0] as number, partial.readUInt16BE(1), partial, FRAME_HEAD_BYTES, total - 1);
    return at;
  }
}
