// Bodies that prove themselves: who published it, its number, its size, and a filling that follows
// from these, so that a body which was mixed up or cut is noticed.
//
//   0         4          8      12
//   publisher | sequence | size | filling ...          (u32 big endian each)

import type { SeededRandom } from "./random.ts";

const HEAD_BYTES = 12;
const BODY_BYTES_MIN = 20;
const USUAL_BODY_BYTES_MAX = 20 * 1024;
/** Beyond one AMQP frame (128 KiB) and beyond one log entry. */
const LARGE_BODY_BYTES_MAX = 300 * 1024;
const LARGE_SHARE = 0.005;
const PATTERN_PERIOD = 251;
const PATTERN = Buffer.from(
  Array.from({ length: LARGE_BODY_BYTES_MAX + PATTERN_PERIOD }, (_, i) => i % PATTERN_PERIOD),
);

export interface MessageId {
  readonly publisher: number;
  readonly sequence: number;
}

/** Sizes spread evenly over the orders of magnitude. */
export function randomBodyBytes(random: SeededRandom): number {
  if (random.chance(LARGE_SHARE)) return random.between(USUAL_BODY_BYTES_MAX, LARGE_BODY_BYTES_MAX);
  return Math.floor(BODY_BYTES_MIN * (USUAL_BODY_BYTES_MAX / BODY_BYTES_MIN) ** random.share());
}

function filling(id: MessageId, sizeBytes: number): Buffer {
  const from = (id.publisher * 31 + id.sequence) % PATTERN_PERIOD;
  return PATTERN.subarray(from, from + sizeBytes - HEAD_BYTES);
}

export function encodeBody(id: MessageId, sizeBytes: number): Buffer {
  const body = Buffer.allocUnsafe(sizeBytes);
  body.writeUInt32BE(id.publisher, 0);
  body.writeUInt32BE(id.sequence, 4);
  body.writeUInt32BE(sizeBytes, 8);
  filling(id, sizeBytes).copy(body, HEAD_BYTES);
  return body;
}

/** The message's identity, or undefined when the body is not one that encodeBody made. */
export function decodeBody(body: Buffer): MessageId | undefined {
  if (body.length < HEAD_BYTES || body.readUInt32BE(8) !== body.length) return undefined;
  const id = { publisher: body.readUInt32BE(0), sequence: body.readUInt32BE(4) };
  return filling(id, body.length).equals(body.subarray(HEAD_BYTES)) ? id : undefined;
}
