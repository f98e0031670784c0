// The bytes that a connection sends at the end of this turn: one buffer, one socket write. Frames are
// written in place; nothing here allocates per frame once the buffer has its size.

import { copyRange, type IncomingMessage } from "../../model/message.ts";
import {
  CLASS_BASIC,
  FRAME_BODY,
  FRAME_END,
  FRAME_HEADER,
  FRAME_HEADER_BYTES,
  FRAME_METHOD,
  FRAME_OVERHEAD,
  METHOD_BASIC_ACK,
} from "./spec.ts";

const EMPTY = Buffer.alloc(0);
const FIRST_BYTES = 512;
/** Below this the content is copied out, so that small answers never take a large buffer with them. */
const COPIED_BYTES = 1024;
/** Sizes of large buffers are multiples of this. */
const STEP_BYTES = 128 * 1024;
/** Buffers kept for the next turn, all connections together. */
const POOL_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Buffers that the kernel has emptied, for all outboxes of a door. Without it, every turn takes fresh
 * memory and the collector has to find it again; idle connections hold none.
 */
export class BufferPool {
  private readonly free: Buffer[] = [];
  private freeBytes = 0;

  /** A buffer of at least `size` bytes with any content. */
  take(size: number): Buffer {
    const buffer = this.free.pop();
    if (buffer !== undefined) this.freeBytes -= buffer.length;
    // A buffer that is too small goes to the collector: the pool grows to the sizes that are needed.
    if (buffer !== undefined && buffer.length >= size) return buffer;
    // Large ones come in few sizes, or every turn that sends a little more than the last would need a new one.
    return Buffer.allocUnsafeSlow(size > STEP_BYTES ? Math.ceil(size / STEP_BYTES) * STEP_BYTES : size);
  }

  /** Nobody reads or writes `buffer` any longer. */
  give(buffer: Buffer): void {
    if (buffer.length === 0 || this.freeBytes + buffer.length > POOL_BYTES_MAX) return;
    this.free.push(buffer);
    this.freeBytes += buffer.length;
  }
}

export class Outbox {
  bytes: Buffer = EMPTY;
  /** Bytes waiting to be sent. */
  size = 0;
  /** Largest frame that the peer takes, bytes, with its overhead. */
  frameBytesMax: number;
  private readonly pool: BufferPool;
  private readonly onFirst: () => void;
  private lastSize = FIRST_BYTES;
  /** The buffer behind what was taken last, until it is known whether it comes back. */
  private lent: Buffer = EMPTY;

  /** `onFirst` is called when the empty outbox gets its first bytes. */
  constructor(frameBytesMax: number, pool: BufferPool, onFirst: () => void) {
    this.frameBytesMax = frameBytesMax;
    this.pool = pool;
    this.onFirst = onFirst;
  }

  /** Room for `size` bytes at the returned offset of `bytes`; the caller fills all of them. */
  reserve(size: number): number {
    const at = this.size;
    if (at === 0) this.onFirst();
    const end = at + size;
    if (end > this.bytes.length) this.grow(end);
    this.size = end;
    return at;
  }

  private grow(needed: number): void {
    const old = this.bytes;
    this.bytes = this.pool.take(Math.max(needed, 2 * old.length, this.lastSize));
    old.copy(this.bytes, 0, 0, this.size);
    this.pool.give(old);
  }

  /** Everything written since the last take. It is the caller's until `takenIsSent`, or for good. */
  take(): Buffer {
    const { bytes, size } = this;
    this.size = 0;
    this.bytes = EMPTY;
    // A little more than last time: a steady load then fills one buffer a turn without growing.
    this.lastSize = Math.max(FIRST_BYTES, Math.ceil(size * 1.25));
    if (size <= COPIED_BYTES || size * 4 < bytes.length) {
      this.lent = EMPTY;
      const taken = Buffer.from(bytes.subarray(0, size));
      this.pool.give(bytes);
      return taken;
    }
    this.lent = bytes;
    return bytes.subarray(0, size);
  }

  /** What was taken last is with the kernel: its buffer may be filled again. */
  takenIsSent(): void {
    this.pool.give(this.lent);
    this.lent = EMPTY;
  }

  /** Forgets what was not taken. */
  discard(): void {
    this.size = 0;
    this.bytes = EMPTY;
    this.lent = EMPTY;
  }

  /** A raw run of bytes (the protocol header). */
  raw(content: Buffer): void {
    const at = this.reserve(content.length);
    content.copy(this.bytes, at);
  }

  /** A frame with this payload. */
  frame(type: number, channel: number, payload: Buffer): void {
    const at = this.reserve(payload.length + FRAME_OVERHEAD);
    this.frameHeader(at, type, channel, payload.length);
    payload.copy(this.bytes, at + FRAME_HEADER_BYTES);
    this.bytes[at + FRAME_HEADER_BYTES + payload.length] = FRAME_END;
  }

  /** basic.ack to a publisher: everything up to `tag` when `multiple`. */
  ack(channel: number, tag: number, multiple: boolean): void {
    const at = this.reserve(21);
    const bytes = this.bytes;
    this.frameHeader(at, FRAME_METHOD, channel, 13);
    bytes[at + 7] = 0;
    bytes[at + 8] = CLASS_BASIC;
    bytes[at + 9] = 0;
    bytes[at + 10] = METHOD_BASIC_ACK;
    writeU64(bytes, at + 11, tag);
    bytes[at + 19] = multiple ? 1 : 0;
    bytes[at + 20] = FRAME_END;
  }

  /** Bytes of the header and body frames for these sizes. */
  contentBytes(propertiesSize: number, bodySize: number): number {
    const payloadMax = this.frameBytesMax - FRAME_OVERHEAD;
    const frames = bodySize <= payloadMax ? (bodySize > 0 ? 1 : 0) : Math.ceil(bodySize / payloadMax);
    return FRAME_OVERHEAD + 12 + propertiesSize + frames * FRAME_OVERHEAD + bodySize;
  }

  /** Header frame and body frames from contiguous bytes, into reserved room at `at`. Returns the end. */
  content(
    at: number,
    channel: number,
    properties: Buffer,
    propertiesStart: number,
    propertiesEnd: number,
    body: Buffer,
    bodyStart: number,
    bodyEnd: number,
  ): number {
    at = this.contentHeader(at, channel, properties, propertiesStart, propertiesEnd, bodyEnd - bodyStart);
    const payloadMax = this.frameBytesMax - FRAME_OVERHEAD;
    for (let from = bodyStart; from < bodyEnd; ) {
      const to = bodyEnd - from > payloadMax ? from + payloadMax : bodyEnd;
      this.frameHeader(at, FRAME_BODY, channel, to - from);
      at = copyRange(body, from, to, this.bytes, at + FRAME_HEADER_BYTES);
      this.bytes[at++] = FRAME_END;
      from = to;
    }
    return at;
  }

  /** The content of an incoming message (its body may be in pieces), for basic.return and for replies. */
  messageContent(channel: number, message: IncomingMessage): void {
    const body = Buffer.concat(
      message.bodyParts
        .slice(0, message.bodyCount)
        .map((part, i) => part.subarray(message.bodyStarts[i], message.bodyEnds[i])),
    );
    const { properties, propertiesStart, propertiesEnd } = message;
    const at = this.reserve(this.contentBytes(propertiesEnd - propertiesStart, body.length));
    this.content(at, channel, properties, propertiesStart, propertiesEnd, body, 0, body.length);
  }

  private contentHeader(
    at: number,
    channel: number,
    properties: Buffer,
    propertiesStart: number,
    propertiesEnd: number,
    bodySize: number,
  ): number {
    const bytes = this.bytes;
    this.frameHeader(at, FRAME_HEADER, channel, 12 + propertiesEnd - propertiesStart);
    bytes[at + 7] = 0;
    bytes[at + 8] = CLASS_BASIC;
    bytes[at + 9] = 0;
    bytes[at + 10] = 0;
    writeU64(bytes, at + 11, bodySize);
    at = copyRange(properties, propertiesStart, propertiesEnd, bytes, at + 19);
    bytes[at] = FRAME_END;
    return at + 1;
  }

  private frameHeader(at: number, type: number, channel: number, size: number): void {
    const bytes = this.bytes;
    bytes[at] = type;
    bytes[at + 1] = channel >> 8;
    bytes[at + 2] = channel & 0xff;
    writeU32(bytes, at + 3, size);
  }
}

export function writeU32(bytes: Buffer, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = (value >>> 16) & 0xff;
  bytes[at + 2] = (value >>> 8) & 0xff;
  bytes[at + 3] = value & 0xff;
}

/** Writes a number below 2^53 as u64, big endian. */
export function writeU64(bytes: Buffer, at: number, value: number): void {
  const low = value >>> 0;
  writeU32(bytes, at, value > 0xffffffff ? Math.floor((value - low) / 0x1_0000_0000) : 0);
  writeU32(bytes, at + 4, low);
}
