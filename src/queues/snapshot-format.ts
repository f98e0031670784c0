// The entries of a snapshot log: START, then QUEUE and PAGE in any number, then END. A snapshot
// counts only when its END is there. Little endian, 8-byte aligned, storage format 1.

import { DecodeError } from "../model/errors.ts";
import { align8, getU32, getU64, putU32, putU64 } from "./effects.ts";
import type { Lane } from "./lane.ts";
import { COLD, Page, STATE_MASK } from "./page.ts";
import { settingsToFlags, type ShardState } from "./shard-state.ts";
import type { Queue } from "./queue.ts";

const START = 1;
const QUEUE = 2;
const PAGE = 3;
const END = 4;
const FORMAT = 1;

const SPARSE = 1;
const WITH_DELIVERIES = 2;

/** START: u8 kind, u8 format, u16 0, u32 page rows, u64 start. */
export function encodeStart(start: number, pageRows: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes[0] = START;
  bytes[1] = FORMAT;
  putU32(bytes, 4, pageRows);
  putU64(bytes, 8, start);
  return bytes;
}

/** END: u8 kind, u64 at 8: the highest position that the snapshot contains. */
export function encodeEnd(end: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes[0] = END;
  putU64(bytes, 8, end);
  return bytes;
}

/** QUEUE: u8 kind, u8 lanes, u16 flags, u32 id, lanes * (u64 next, u64 marked). */
export function encodeQueue(queue: Queue): Buffer {
  const bytes = Buffer.alloc(8 + queue.lanes.length * 16);
  bytes[0] = QUEUE;
  bytes[1] = queue.lanes.length;
  bytes.writeUInt16LE(settingsToFlags(queue.settings), 2);
  putU32(bytes, 4, queue.id);
  queue.lanes.forEach((lane, i) => {
    putU64(bytes, 8 + i * 16, lane.next);
    putU64(bytes, 16 + i * 16, lane.marked);
  });
  return bytes;
}

/**
 * PAGE: u8 kind, u8 lane, u16 flags, u32 queue, u64 number, u64 stamp, u32 capacity, u32 slots, then
 * words (12 * slots), states (slots), row numbers (2 * slots, if sparse), deliveries (2 * slots, if any),
 * each padded to 8. Undefined when the page holds no durable message. All bytes of what `allocate` gives
 * are written.
 */
export function encodePage(
  queueId: number,
  lane: Lane,
  page: Page,
  stamp: number,
  allocate: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafe(bytes),
): Buffer | undefined {
  const { rows, words, states, deliveries, live } = page.copyDurable();
  if (live === 0) return undefined;
  const slots = states.length;
  const bytes = allocate(
    32 +
      align8(slots * 12) +
      align8(slots) +
      (rows === undefined ? 0 : align8(slots * 2)) +
      (deliveries === undefined ? 0 : align8(slots * 2)),
  );
  bytes[0] = PAGE;
  bytes[1] = lane.index;
  bytes.writeUInt16LE((rows === undefined ? 0 : SPARSE) | (deliveries === undefined ? 0 : WITH_DELIVERIES), 2);
  putU32(bytes, 4, queueId);
  putU64(bytes, 8, page.number);
  putU64(bytes, 16, stamp);
  putU32(bytes, 24, page.capacity);
  putU32(bytes, 28, slots);
  let at = 32;
  for (const part of [words, states, rows, deliveries]) {
    if (part === undefined) continue;
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    bytes.fill(0, at + part.byteLength, at + align8(part.byteLength));
    at += align8(part.byteLength);
  }
  return bytes;
}

/** What a complete snapshot says of the log. */
export interface SnapshotBounds {
  start: number;
  end: number;
}

/** Applies one payload of a snapshot to an empty state. Throws DecodeError for what is not one. */
export function loadSnapshotPayload(payload: Buffer, state: ShardState, bounds: SnapshotBounds): void {
  let at = 0;
  while (at < payload.length) {
    need(payload, at, 8);
    switch (payload[at]) {
      case START:
        need(payload, at, 16);
        if (payload[at + 1] !== FORMAT) throw new DecodeError(`snapshot format ${payload[at + 1]} is not known`);
        if (getU32(payload, at + 4) !== state.pageRows) throw new DecodeError("snapshot has pages of another size");
        bounds.start = getU64(payload, at + 8);
        at += 16;
        break;
      case QUEUE:
        at = loadQueue(payload, at, state);
        break;
      case PAGE:
        at = loadPage(payload, at, state);
        break;
      case END:
        need(payload, at, 16);
        bounds.end = getU64(payload, at + 8);
        at += 16;
        break;
      default:
        throw new DecodeError(`unknown snapshot item ${payload[at]}`);
    }
  }
}

function loadQueue(payload: Buffer, at: number, state: ShardState): number {
  const lanes = payload[at + 1]!;
  const queueId = getU32(payload, at + 4);
  need(payload, at, 8 + lanes * 16);
  if (state.queues.has(queueId)) throw new DecodeError(`snapshot names queue ${queueId} twice`);
  state.queueCreate(queueId, payload.readUInt16LE(at + 2));
  for (let i = 0; i < lanes; i++) {
    const lane = state.lane(queueId, i);
    if (lane === undefined) throw new DecodeError(`snapshot names lane ${i} of queue ${queueId}`);
    lane.next = getU64(payload, at + 8 + i * 16);
    lane.marked = getU64(payload, at + 16 + i * 16);
  }
  return at + 8 + lanes * 16;
}

function loadPage(payload: Buffer, at: number, state: ShardState): number {
  need(payload, at, 32);
  const lane = state.lane(getU32(payload, at + 4), payload[at + 1]!);
  if (lane === undefined) throw new DecodeError("snapshot has a page of an unknown lane");
  const flags = payload.readUInt16LE(at + 2);
  const number = getU64(payload, at + 8);
  const capacity = getU32(payload, at + 24);
  const slots = getU32(payload, at + 28);
  const isSparse = (flags & SPARSE) !== 0;
  if (capacity > state.pageRows || slots > capacity) throw new DecodeError("snapshot page is too large");
  if (!isSparse && slots !== capacity) throw new DecodeError("snapshot page lacks rows");
  const stamp = getU64(payload, at + 16);
  at += 32;
  const words = new Uint32Array(copyOf(payload, at, slots * 12));
  at += align8(slots * 12);
  const states = new Uint8Array(copyOf(payload, at, slots));
  at += align8(slots);
  if (states.some((row) => (row & ~(STATE_MASK | COLD)) !== 0)) throw new DecodeError("snapshot has an unknown row");
  let rows: Uint16Array | undefined;
  if (isSparse) {
    rows = new Uint16Array(copyOf(payload, at, slots * 2));
    at += align8(slots * 2);
    checkAscending(rows, capacity);
  }
  let deliveries: Uint16Array | undefined;
  if ((flags & WITH_DELIVERIES) !== 0) {
    deliveries = new Uint16Array(copyOf(payload, at, slots * 2));
    at += align8(slots * 2);
  }
  const page = Page.restore(number, capacity, { rows, words, states, deliveries });
  page.stamp = stamp;
  lane.pages.set(number, page);
  return at;
}

/** Throws DecodeError unless row numbers rise and are inside the page. */
function checkAscending(rows: Uint16Array, capacity: number): void {
  let least = 0;
  for (const row of rows) {
    if (row < least || row >= capacity) throw new DecodeError("snapshot page has rows out of place");
    least = row + 1;
  }
}

function need(payload: Buffer, at: number, bytes: number): void {
  if (at + bytes > payload.length) throw new DecodeError("snapshot item is cut off");
}

function copyOf(payload: Buffer, at: number, bytes: number): ArrayBuffer {
  need(payload, at, bytes);
  const copy = new ArrayBuffer(bytes);
  new Uint8Array(copy).set(payload.subarray(at, at + bytes));
  return copy;
}
