// A message on its way in, and the layout in which it is stored. The stored record belongs to no
// protocol; a door translates to it and from it. The body is opaque and never re-encoded.
//
//   record (storage format 1), all of it inside one log entry:
//   +---------+----------+---------+-----+----------------+------------+------+
//   | u8 xlen | exchange | u8 klen | key | u32 LE proplen | properties | body |
//   +---------+----------+---------+-----+----------------+------------+------+
//   |<------- envelope ------------------>|
//
// exchange and key are UTF-8 (what the publisher wrote, for routing again and for showing);
// properties is the block of model/properties.ts; the body takes the rest.

/**
 * What a door hands to the broker for one publish: byte ranges that are valid only during the call.
 * One object per connection is reused for all its messages (hot path: no allocation).
 */
export class IncomingMessage {
  /** Bytes that hold `u8 length, exchange, u8 length, routing key`. */
  envelope: Buffer = EMPTY;
  envelopeStart = 0;
  envelopeEnd = 0;
  /** Bytes that hold the properties block (model/properties.ts). */
  properties: Buffer = EMPTY;
  propertiesStart = 0;
  propertiesEnd = 0;
  /** The body: `bodyCount` ranges of `bodyParts`, i.e. buffer i from bodyStarts[i] to bodyEnds[i]. */
  bodyParts: Buffer[] = [];
  bodyStarts: number[] = [];
  bodyEnds: number[] = [];
  bodyCount = 0;
  /** Sum of the ranges, bytes. */
  bodySize = 0;
  /** True when a confirm must survive a crash (AMQP delivery-mode 2). */
  persistent = false;
  /** As the publisher wrote it, 0 to 255; 0 when it wrote none. */
  priority = 0;
  /** Time to live that the message brings along, ms; -1: none. */
  expirationMs = -1;
  /** The queues hold it back for so long, ms. */
  delayMs = 0;
}

const EMPTY = Buffer.alloc(0);

/** Bytes of the record that `message` becomes. */
export function recordSize(message: IncomingMessage): number {
  return (
    message.envelopeEnd -
    message.envelopeStart +
    4 +
    (message.propertiesEnd - message.propertiesStart) +
    message.bodySize
  );
}

/** Writes the record of `message` at `at`; returns the offset behind it. The one copy of a body. */
export function writeRecord(message: IncomingMessage, target: Buffer, at: number): number {
  at = copyRange(message.envelope, message.envelopeStart, message.envelopeEnd, target, at);
  at = target.writeUInt32LE(message.propertiesEnd - message.propertiesStart, at);
  at = copyRange(message.properties, message.propertiesStart, message.propertiesEnd, target, at);
  for (let i = 0; i < message.bodyCount; i++) {
    at = copyRange(message.bodyParts[i]!, message.bodyStarts[i]!, message.bodyEnds[i]!, target, at);
  }
  return at;
}

/** Copies source[start, end) to target at `at`; a loop beats memcpy's call overhead below 48 bytes. */
export function copyRange(source: Buffer, start: number, end: number, target: Buffer, at: number): number {
  const size = end - start;
  if (size <= 48) {
    for (let i = start; i < end; i++) target[at++] = source[i]!;
    return at;
  }
  target.set(source.subarray(start, end), at);
  return at + size;
}

/** Offset behind the envelope of the record that starts at `start`. */
export function recordEnvelopeEnd(bytes: Buffer, start: number): number {
  const keyAt = start + 1 + bytes[start]!;
  return keyAt + 1 + bytes[keyAt]!;
}
