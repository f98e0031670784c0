// Cuts a byte stream into frames, whatever the chunks (AMQP 0-9-1 section 2.3.5):
//
//   u8 type | u16 channel | u32 size | payload (size bytes) | u8 206
//
// Whole frames are handed on where they lie in the chunk. What is left over - a frame's beginning, or
// everything while the handler holds - is copied into `rest`, because the chunk goes back to the
// socket. While nothing is held, `rest` is less than one frame, so it is bounded by frame-max; while
// something is held the socket is paused and HELD_BYTES_MAX bounds what was already under way.

import { FRAME_END, FRAME_HEADER_BYTES, FRAME_METHOD, FRAME_OVERHEAD, FRAME_TOLERANCE } from "./spec.ts";
import { connectionError } from "./errors.ts";

const EMPTY = Buffer.alloc(0);
/** A paused socket may still hand over what it had read; more than this is a peer that cannot be held. */
export const HELD_BYTES_MAX = 4 * 1024 * 1024;
/** A larger rest buffer is given back when it is empty. */
const REST_KEPT_BYTES = 32 * 1024;

export interface FrameHandler {
  /** True: stop in front of the next frame. It starts again with FrameScanner.proceed. */
  readonly holding: boolean;
  /**
   * The fast path: takes whole messages (publish, header and body frames) from bytes[at, end) and
   * returns the offset behind them, or `at` when the next frame is none of its business.
   */
  messages(bytes: Buffer, at: number, end: number): number;
  /** One frame, payload bytes[start, end). Returns false to have it again after a hold. */
  frame(type: number, channel: number, bytes: Buffer, start: number, end: number): boolean;
}

export class FrameScanner {
  /** Largest frame that the peer may send, bytes, with its overhead (FRAME_TOLERANCE comes on top). */
  frameBytesMax: number;
  /** Bytes that may be kept while the handler holds. */
  heldBytesMax: number;
  private readonly handler: FrameHandler;
  private rest = EMPTY;
  private restStart = 0;
  private restEnd = 0;

  constructor(handler: FrameHandler, frameBytesMax: number, heldBytesMax = HELD_BYTES_MAX) {
    this.handler = handler;
    this.frameBytesMax = frameBytesMax;
    this.heldBytesMax = heldBytesMax;
  }

  /** Bytes kept from earlier chunks. */
  get restBytes(): number {
    return this.restEnd - this.restStart;
  }

  /** Takes bytes[at, end of chunk). Throws AmqpError 501 when framing is lost: scan no further then. */
  feed(chunk: Buffer, at: number): void {
    if (this.handler.holding) {
      this.keep(chunk, at);
      return;
    }
    if (this.restEnd > this.restStart) {
      at = this.completeFrame(chunk, at);
      if (at < 0) return;
      this.scanRest();
      if (this.handler.holding || this.restEnd > this.restStart) {
        this.keep(chunk, at);
        return;
      }
    }
    at = this.scan(chunk, at, chunk.length);
    this.keep(chunk, at);
  }

  /** Goes on with what was kept after a hold has ended. Throws AmqpError 501. */
  proceed(): void {
    if (!this.handler.holding) this.scanRest();
  }

  /** Forgets everything: nothing more will be read. */
  discard(): void {
    this.rest = EMPTY;
    this.restStart = 0;
    this.restEnd = 0;
  }

  private scanRest(): void {
    this.restStart = this.scan(this.rest, this.restStart, this.restEnd);
    if (this.restStart < this.restEnd) return;
    this.restStart = 0;
    this.restEnd = 0;
    if (this.rest.length > REST_KEPT_BYTES) this.rest = EMPTY;
  }

  /** Hands on the whole frames in bytes[at, end); returns the offset of the first that it did not. */
  private scan(bytes: Buffer, at: number, end: number): number {
    const handler = this.handler;
    while (end - at >= FRAME_OVERHEAD && !handler.holding) {
      if (bytes[at] === FRAME_METHOD) {
        const next = handler.messages(bytes, at, end);
        if (next !== at) {
          at = next;
          continue;
        }
      }
      const size = this.payloadSize(bytes, at);
      const start = at + FRAME_HEADER_BYTES;
      const payloadEnd = start + size;
      if (payloadEnd >= end) return at;
      if (bytes[payloadEnd] !== FRAME_END) {
        throw connectionError("frame-error", `a frame ends with ${bytes[payloadEnd]!} instead of ${FRAME_END}`);
      }
      const channel = (bytes[at + 1]! << 8) | bytes[at + 2]!;
      if (!handler.frame(bytes[at]!, channel, bytes, start, payloadEnd)) return at;
      at = payloadEnd + 1;
    }
    return at;
  }

  private payloadSize(bytes: Buffer, at: number): number {
    const size = bytes[at + 3]! * 0x1000000 + ((bytes[at + 4]! << 16) | (bytes[at + 5]! << 8) | bytes[at + 6]!);
    if (size > this.frameBytesMax - FRAME_OVERHEAD + FRAME_TOLERANCE) {
      throw connectionError(
        "frame-error",
        `a frame of ${size} payload bytes is larger than frame_max ${this.frameBytesMax} allows`,
      );
    }
    return size;
  }

  /** Completes the frame that `rest` begins; returns the offset behind it in the chunk, -1 if it goes on. */
  private completeFrame(chunk: Buffer, at: number): number {
    const missingHeader = FRAME_HEADER_BYTES - this.restBytes;
    if (missingHeader > 0) {
      const end = Math.min(chunk.length, at + missingHeader);
      this.append(chunk, at, end);
      at = end;
      if (this.restBytes < FRAME_HEADER_BYTES) return -1;
    }
    const size = this.payloadSize(this.rest, this.restStart);
    const missing = size + FRAME_OVERHEAD - this.restBytes;
    const end = Math.min(chunk.length, at + Math.max(0, missing));
    this.reserve(missing);
    this.append(chunk, at, end);
    return end - at < missing ? -1 : end;
  }

  private keep(chunk: Buffer, at: number): void {
    if (at >= chunk.length) return;
    this.append(chunk, at, chunk.length);
    if (this.handler.holding && this.restBytes > this.heldBytesMax) {
      throw connectionError("resource-error", "the peer sends on although its connection is held");
    }
  }

  private append(chunk: Buffer, at: number, end: number): void {
    this.reserve(end - at);
    chunk.copy(this.rest, this.restEnd, at, end);
    this.restEnd += end - at;
  }

  /** Makes room for `size` more bytes behind `rest`. */
  private reserve(size: number): void {
    if (size <= 0 || this.restEnd + size <= this.rest.length) return;
    const used = this.restBytes;
    const larger = Buffer.allocUnsafeSlow(Math.max(used + size, Math.min(2 * used, HELD_BYTES_MAX), 512));
    this.rest.copy(larger, 0, this.restStart, this.restEnd);
    this.rest = larger;
    this.restStart = 0;
    this.restEnd = used;
  }
}
