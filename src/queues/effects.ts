// Effects: decided changes, the only thing that the shard's log holds. Live code writes them here
// and replay reads them back; both end in the same `apply` functions of the shard.
//
//   effect (little endian, 8-byte aligned, storage format 1)
//   +---------+---------+-----------+-------------+------------------+----------------+
//   | u8 type | u8 lane | u16 extra | u32 queueId | u64 sequence     | fields by type |
//   +---------+---------+-----------+-------------+------------------+----------------+
//
// Locations inside an entry are in units of 8 bytes from the start of its payload.

import { DecodeError } from "../model/errors.ts";

export const EFFECT_HEADER_BYTES = 16;
export const ENQUEUE_HEADER_BYTES = 24;
export const ENQUEUE_REF_BYTES = 32;

/** Body inline: u32 size, u32 0, record padded to 8. */
export const ENQUEUE = 1;
/** Body elsewhere: u32 offset, u32 size, u64 position; extra bit 0: in the cold log. */
export const ENQUEUE_REF = 2;
/** A record that only transient rows point at: u32 size, u32 0, record padded to 8. Replay ignores it. */
export const BODY = 3;
/** First deliveries of rows sequence..to: u64 to (exclusive). */
export const DELIVERED = 4;
/** Deliveries of returned rows: u32 n, u32 0, n * u64 sequence. */
export const DELIVERED_LIST = 5;
/** u32 n, u32 0, n * (u64 first, u32 count, u32 reason). */
export const SETTLE = 6;
/** A delivered row is ready again: u32 deliveries so far, u32 0. */
export const RETURN = 7;
/** Bodies moved to the cold log: u32 n, u32 0, n * (u64 sequence, u64 position, u32 offset, u32 0). */
export const RELOCATE = 8;
/** Rows sequence..to that were never delivered are dropped: u64 to (exclusive). */
export const PURGE = 9;
/** extra: QUEUE_* flags. */
export const QUEUE_CREATE = 10;
export const QUEUE_DELETE = 11;
/** The broker restarted: every row in flight is ready again, with one delivery more. */
export const RESTART = 12;

/** A message that was never delivered waits until its due time: u64 due, ms. */
export const HOLD = 13;
/** When a message expires: u64 time, ms. */
export const EXPIRY = 14;
/** Like RETURN, after failed attempts or with a delay: u32 deliveries, u32 failures, u64 due (0: now), ms. */
export const RETRY = 15;
/** A queue with deduplication saw a name; sequence is the time, ms: u32 size, u32 0, name padded to 8. */
export const NAME = 16;

/** A ready row waits for another of its group, and is ready again after a restart: u64 0. */
export const PARK = 17;

export const SETTLE_ONE_BYTES = 40;
export const RETRY_BYTES = 32;
export const NAME_HEADER_BYTES = 24;

export const QUEUE_DELIVER_AFTER_COMMIT = 1;
export const REF_COLD = 1;

/** What replay does with each effect. Ranges are given as in the list above. */
export interface EffectHandler {
  enqueue(queueId: number, lane: number, sequence: number, offset: number, size: number): void;
  enqueueRef(
    queueId: number,
    lane: number,
    sequence: number,
    position: number,
    offset: number,
    size: number,
    cold: boolean,
  ): void;
  delivered(queueId: number, lane: number, from: number, to: number): void;
  deliveredOne(queueId: number, lane: number, sequence: number): void;
  settle(queueId: number, lane: number, first: number, count: number): void;
  returned(queueId: number, lane: number, sequence: number, deliveries: number): void;
  relocate(queueId: number, lane: number, sequence: number, position: number, offset: number): void;
  purge(queueId: number, lane: number, from: number, to: number): void;
  queueCreate(queueId: number, flags: number): void;
  queueDelete(queueId: number): void;
  restart(): void;
  held(queueId: number, lane: number, sequence: number, dueMs: number): void;
  parked(queueId: number, lane: number, sequence: number): void;
  expires(queueId: number, lane: number, sequence: number, expiryMs: number): void;
  retried(queueId: number, lane: number, sequence: number, attempts: Attempts): void;
  named(queueId: number, name: string, timeMs: number): void;
}

/** What RETRY says of a message. */
export interface Attempts {
  readonly deliveries: number;
  readonly failures: number;
  /** 0: ready at once. */
  readonly dueMs: number;
}

const TWO_32 = 0x1_0000_0000;

/** Rounds up to a multiple of 8. */
export function align8(bytes: number): number {
  return (bytes + 7) & ~7;
}

export function putU32(target: Buffer, at: number, value: number): void {
  target[at] = value;
  target[at + 1] = value >>> 8;
  target[at + 2] = value >>> 16;
  target[at + 3] = value >>> 24;
}

/** A safe integer as u64. */
export function putU64(target: Buffer, at: number, value: number): void {
  const high = Math.floor(value / TWO_32);
  putU32(target, at, value - high * TWO_32);
  putU32(target, at + 4, high);
}

export function getU32(source: Buffer, at: number): number {
  return (source[at]! | (source[at + 1]! << 8) | (source[at + 2]! << 16) | (source[at + 3]! << 24)) >>> 0;
}

/** A u64 that is a safe integer: no position or sequence is larger. Throws DecodeError otherwise. */
export function getU64(source: Buffer, at: number): number {
  const value = getU32(source, at) + getU32(source, at + 4) * TWO_32;
  if (value > Number.MAX_SAFE_INTEGER) throw new DecodeError(`a number of more than 53 bits at ${at}`);
  return value;
}

/** Writes the 16 bytes that every effect starts with. */
export function putEffectHeader(
  target: Buffer,
  at: number,
  type: number,
  lane: number,
  extra: number,
  queueId: number,
  sequence: number,
): void {
  target[at] = type;
  target[at + 1] = lane;
  target[at + 2] = extra;
  target[at + 3] = extra >>> 8;
  putU32(target, at + 4, queueId);
  putU64(target, at + 8, sequence);
}

/**
 * Calls `handler` for each effect of an entry's payload, in order. Throws DecodeError when the bytes
 * are not effects of this format (an entry's checksum has been verified before: that is a bug or a
 * newer format).
 */
export function readEffects(payload: Buffer, handler: EffectHandler): void {
  let at = 0;
  while (at < payload.length) {
    if (payload.length - at < EFFECT_HEADER_BYTES) throw new DecodeError(`effect cut off at ${at}`);
    const next = at + effectBytes(payload, at);
    if (next > payload.length) throw new DecodeError(`effect at ${at} reaches behind its entry`);
    readEffect(payload, at, handler);
    at = next;
  }
}

/** Size of the effect at `at`, bytes. */
function effectBytes(payload: Buffer, at: number): number {
  const type = payload[at]!;
  switch (type) {
    case QUEUE_CREATE:
    case QUEUE_DELETE:
    case RESTART:
      return EFFECT_HEADER_BYTES;
    case DELIVERED:
    case RETURN:
    case PURGE:
    case HOLD:
    case EXPIRY:
    case PARK:
      return 24;
    case RETRY:
      return RETRY_BYTES;
    case ENQUEUE_REF:
      return ENQUEUE_REF_BYTES;
    default:
  }
  if (payload.length - at < 24) throw new DecodeError(`effect cut off at ${at}`);
  const count = getU32(payload, at + 16);
  switch (type) {
    case ENQUEUE:
    case BODY:
    case NAME:
      return ENQUEUE_HEADER_BYTES + Math.ceil(count / 8) * 8;
    case DELIVERED_LIST:
      return 24 + count * 8;
    case SETTLE:
      return 24 + count * 16;
    case RELOCATE:
      return 24 + count * 24;
    default:
      throw new DecodeError(`unknown effect type ${type} at ${at}`);
  }
}

function readEffect(payload: Buffer, at: number, handler: EffectHandler): void {
  const lane = payload[at + 1]!;
  const extra = payload[at + 2]! | (payload[at + 3]! << 8);
  const queueId = getU32(payload, at + 4);
  const sequence = getU64(payload, at + 8);
  switch (payload[at]!) {
    case ENQUEUE:
      return handler.enqueue(queueId, lane, sequence, (at + ENQUEUE_HEADER_BYTES) / 8, getU32(payload, at + 16));
    case ENQUEUE_REF:
      return handler.enqueueRef(
        queueId,
        lane,
        sequence,
        getU64(payload, at + 24),
        getU32(payload, at + 16),
        getU32(payload, at + 20),
        (extra & REF_COLD) !== 0,
      );
    case DELIVERED:
      return handler.delivered(queueId, lane, sequence, getU64(payload, at + 16));
    case RETURN:
      return handler.returned(queueId, lane, sequence, getU32(payload, at + 16));
    case PURGE:
      return handler.purge(queueId, lane, sequence, getU64(payload, at + 16));
    case QUEUE_CREATE:
      return handler.queueCreate(queueId, extra);
    case QUEUE_DELETE:
      return handler.queueDelete(queueId);
    case RESTART:
      return handler.restart();
    case HOLD:
      return handler.held(queueId, lane, sequence, getU64(payload, at + 16));
    case EXPIRY:
      return handler.expires(queueId, lane, sequence, getU64(payload, at + 16));
    case PARK:
      return handler.parked(queueId, lane, sequence);
    case RETRY:
      return handler.retried(queueId, lane, sequence, {
        deliveries: getU32(payload, at + 16),
        failures: getU32(payload, at + 20),
        dueMs: getU64(payload, at + 24),
      });
    case NAME: {
      const start = at + NAME_HEADER_BYTES;
      return handler.named(queueId, payload.toString("utf8", start, start + getU32(payload, at + 16)), sequence);
    }
    default:
      return readList(payload, at, handler, queueId, lane);
  }
}

function readList(payload: Buffer, at: number, handler: EffectHandler, queueId: number, lane: number): void {
  const count = getU32(payload, at + 16);
  const type = payload[at]!;
  for (let i = 0, item = at + 24; i < count; i++) {
    if (type === DELIVERED_LIST) {
      handler.deliveredOne(queueId, lane, getU64(payload, item));
      item += 8;
    } else if (type === SETTLE) {
      handler.settle(queueId, lane, getU64(payload, item), getU32(payload, item + 8));
      item += 16;
    } else if (type === RELOCATE) {
      handler.relocate(queueId, lane, getU64(payload, item), getU64(payload, item + 8), getU32(payload, item + 16));
      item += 24;
    } else {
      return; // BODY: nothing to apply
    }
  }
}
