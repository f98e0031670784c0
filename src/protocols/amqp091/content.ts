// Assembles one published message whose frames do not lie whole in one chunk: method, header, body
// frames, in this order, of one channel (AMQP 0-9-1 section 4.2.6). Copies as the frames arrive, so
// memory follows the bytes that were really sent, up to the largest message.

import type { IncomingMessage } from "../../model/message.ts";
import { channelError, connectionError } from "./errors.ts";
import { CLASS_BASIC } from "./spec.ts";

const EMPTY = Buffer.alloc(0);
/** A larger body buffer is given back after its message. */
const KEPT_BYTES = 64 * 1024;
const HEADER_BYTES = 12;

type Stage = "none" | "header" | "body";

export class ContentAssembly {
  private stage: Stage = "none";
  private envelope = EMPTY;
  private properties = EMPTY;
  private body = EMPTY;
  private bodySize = 0;
  private received = 0;
  mandatory = false;

  /** True between basic.publish and the last byte of its body. */
  get pending(): boolean {
    return this.stage !== "none";
  }

  /** A basic.publish begins; bytes[start, end) is its envelope. */
  begin(bytes: Buffer, start: number, end: number, mandatory: boolean): void {
    this.envelope = Buffer.from(bytes.subarray(start, end));
    this.mandatory = mandatory;
    this.stage = "header";
  }

  /**
   * The payload of a header frame. Returns true when the message is complete. Throws 505 when none is
   * due, 406 when the body is larger than `bytesMax`.
   */
  header(bytes: Buffer, start: number, end: number, bytesMax: number): boolean {
    if (this.stage !== "header")
      throw connectionError("unexpected-frame", `${this.expected()}, got a content header instead`);
    if (end - start < HEADER_BYTES + 2) throw connectionError("syntax-error", "a content header is too short");
    const classId = bytes.readUInt16BE(start);
    if (classId !== CLASS_BASIC) {
      throw connectionError(
        "unexpected-frame",
        `expected content header for class ${CLASS_BASIC}, got one for class ${classId} instead`,
      );
    }
    const size = bytes.readUInt32BE(start + 4) * 0x1_0000_0000 + bytes.readUInt32BE(start + 8);
    if (size > bytesMax) {
      throw channelError("precondition-failed", `message size ${size} is larger than configured max size ${bytesMax}`);
    }
    this.properties = Buffer.from(bytes.subarray(start + HEADER_BYTES, end));
    this.bodySize = size;
    this.received = 0;
    this.stage = "body";
    return size === 0;
  }

  /** The payload of a body frame. Returns true when the message is complete. Throws 505 or 501. */
  append(bytes: Buffer, start: number, end: number): boolean {
    if (this.stage !== "body")
      throw connectionError("unexpected-frame", `${this.expected()}, got a content body instead`);
    const size = end - start;
    if (this.received + size > this.bodySize) {
      throw connectionError("frame-error", `the body is longer than the ${this.bodySize} bytes that its header states`);
    }
    this.reserve(this.received + size);
    bytes.copy(this.body, this.received, start, end);
    this.received += size;
    return this.received === this.bodySize;
  }

  /** Puts the complete message into `message`; valid until `reset`. */
  fill(message: IncomingMessage): void {
    message.envelope = this.envelope;
    message.envelopeStart = 0;
    message.envelopeEnd = this.envelope.length;
    message.properties = this.properties;
    message.propertiesStart = 0;
    message.propertiesEnd = this.properties.length;
    message.bodyParts[0] = this.body;
    message.bodyStarts[0] = 0;
    message.bodyEnds[0] = this.bodySize;
    message.bodyCount = this.bodySize === 0 ? 0 : 1;
    message.bodySize = this.bodySize;
  }

  /** Ready for the next message. */
  reset(): void {
    this.stage = "none";
    this.envelope = EMPTY;
    this.properties = EMPTY;
    if (this.body.length > KEPT_BYTES) this.body = EMPTY;
  }

  /** Throws 505 when content frames are due: a method may not come between them. */
  expectMethod(): void {
    if (this.stage !== "none") throw connectionError("unexpected-frame", `${this.expected()}, got a method instead`);
  }

  private expected(): string {
    if (this.stage === "none") return "expected method frame";
    return this.stage === "header" ? `expected content header for class ${CLASS_BASIC}` : "expected content body";
  }

  private reserve(size: number): void {
    if (size <= this.body.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.min(this.bodySize, Math.max(size, 2 * this.body.length, 4096)));
    this.body.copy(larger, 0, 0, this.received);
    this.body = larger;
  }
}
