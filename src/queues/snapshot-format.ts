// The entries of a snapshot log: START, then QUEUE, NAMES, PAGE and KEEP in any number, then END. A snapshot
// counts only when its END is there. One that names a base has only the pages that changed since the
// base was taken; KEEP names those that are in the base as they are. Little endian, 8-byte aligned.
// Format 1 had no base.

import { DecodeError } from "../model/errors.ts";
import { align8, getU32, getU64, putU32, putU64 } from "./effects.ts";
import type { Lane } from "./lane.ts";
import { COLD, DELAYED, Page, STATE_MASK } from "./page.ts";
import { settingsToFlags, type ShardState } from "./shard-state.ts";
import type { Queue } from "./queue.ts";
import type { RememberedName } from "./remembered-names.ts";

const START = 1;
const QUEUE = 2;
const PAGE = 3;
const END = 4;
const KEEP = 5;
const NAMES = 6;
const FORMAT = 2;
const FORMAT_WITHOUT_BASE = 1;
/** Page numbers of one KEEP item at most. */
export const KEEP_MAX = 4096;

const SPARSE = 1;
const WITH_DELIVERIES = 2;
const WITH_FAILURES = 4;
const WITH_EXPIRIES = 8;
const WITH_DUES = 16;
const STATES = STATE_MASK | COLD | DELAYED;

/** START: u8 kind, u8 format, u16 0, u32 page rows, u64 start, u64 number of the base (0: none). */
export function encodeStart(start: number, pageRows: number, base: number): Buffer {
  const bytes = Buffer.alloc(24);
  bytes[0] = START;
  bytes[1] = FORMAT;
  putU32(bytes, 4, pageRows);
  putU64(bytes, 8, start);
  putU64(bytes, 16, base);
  return bytes;
}

/** KEEP: u8 kind, u8 lane, u16 0, u32 queue, u64 count, count * u64 number of a page in the base. */
export function encodeKeep(queueId: number, lane: Lane, numbers: readonly number[]): Buffer {
  const bytes = Buffer.alloc(16 + numbers.length * 8);
  bytes[0] = KEEP;
  bytes[1] = lane.index;
  putU32(bytes, 4, queueId);
  putU64(bytes, 8, numbers.length);
  numbers.forEach((number, i) => putU64(bytes, 16 + i * 8, number));
  return bytes;
}

/** END: u8 kind, u64 at 8: the highest position that the snapshot contains. */
export function encodeEnd(end: number): Buffer {
  const bytes = Buffer.alloc(16);
  bytes[0] = END;
  putU64(bytes, 8, end);
  return bytes;
}

/** QUEUE: u8 kind, u8 lanes (0: 256), u16 flags, u32 id, lanes * (u64 next, u64 marked). */
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

/** NAMES: u8 kind, u8 0, u16 0, u32 queue, u64 count, count * (f64 time, u16 size, name), all padded to 8. */
export function encodeNames(queueId: number, names: readonly RememberedName[]): Buffer {
  const parts = names.map(({ name, timeMs }) => {
    const text = Buffer.from(name, "utf8");
    const part = Buffer.alloc(align8(10 + text.length));
    part.writeDoubleLE(timeMs, 0);
    part.writeUInt16LE(text.length, 8);
    text.copy(part, 10);
    return part;
  });
  const head = Buffer.alloc(16);
  head[0] = NAMES;
  putU32(head, 4, queueId);
  putU64(head, 8, names.length);
  return Buffer.concat([head, ...parts]);
}

export interface EncodedPage {
  readonly bytes: Buffer;
  /** A later snapshot may refer to it as long as the page does not change. */
  readonly mayBeKept: boolean;
}

/**
 * PAGE: u8 kind, u8 lane, u16 flags, u32 queue, u64 number, u64 stamp, u32 capacity, u32 slots, then
 * words (12 * slots), states (slots), row numbers (2 * slots, if sparse), deliveries and failures (2 * slots),
 * expiries and due times (f64), these four only if any; each padded to 8. Undefined when the page holds no
 * durable message. All bytes of what `allocate` gives are written.
 */
export function encodePage(
  queueId: number,
  lane: Lane,
  page: Page,
  stamp: number,
  allocate: (bytes: number) => Buffer = (bytes) => Buffer.allocUnsafe(bytes),
): EncodedPage | undefined {
  const seen = lane.marked - page.number * lane.pageRows;
  const { rows, words, states, deliveries, failures, expiries, dues, live, isDying } = page.copyDurable(seen);
  if (live === 0) return undefined;
  const slots = states.length;
  const parts = [words, states, rows, deliveries, failures, expiries, dues];
  const bytes = allocate(parts.reduce((sum, part) => sum + align8(part?.byteLength ?? 0), 32));
  bytes[0] = PAGE;
  bytes[1] = lane.index;
  const flags =
    (rows === undefined ? 0 : SPARSE) |
    (deliveries === undefined ? 0 : WITH_DELIVERIES) |
    (failures === undefined ? 0 : WITH_FAILURES) |
    (expiries === undefined ? 0 : WITH_EXPIRIES) |
    (dues === undefined ? 0 : WITH_DUES);
  bytes.writeUInt16LE(flags, 2);
  putU32(bytes, 4, queueId);
  putU64(bytes, 8, page.number);
  putU64(bytes, 16, stamp);
  putU32(bytes, 24, page.capacity);
  putU32(bytes, 28, slots);
  let at = 32;
  for (const part of parts) {
    if (part === undefined) continue;
    bytes.set(new Uint8Array(part.buffer, part.byteOffset, part.byteLength), at);
    bytes.fill(0, at + part.byteLength, at + align8(part.byteLength));
    at += align8(part.byteLength);
  }
  return { bytes, mayBeKept: !isDying };
}

/** What a complete snapshot says of the log. */
export interface SnapshotBounds {
  start: number;
  end: number;
}

/** Reads the payloads of one snapshot, and those of its base after it, into an empty state. */
export class SnapshotLoad {
  readonly bounds: SnapshotBounds = { start: 0, end: 0 };
  /** Number of the base; 0: this snapshot has everything. */
  base = 0;
  private readonly state: ShardState;
  private readonly number: number;
  /** Pages that the base has to give, for each lane. */
  private readonly kept = new Map<Lane, Set<number>>();

  /** Loads into `state` the snapshot with this number. */
  constructor(state: ShardState, number: number) {
    this.state = state;
    this.number = number;
  }

  /** True when the snapshot is complete, without its base. */
  get isComplete(): boolean {
    return this.bounds.end > 0;
  }

  /** Applies one payload of the snapshot. Throws DecodeError for what is not one. */
  take(payload: Buffer): void {
    for (let at = 0; at < payload.length; ) at = this.takeItem(payload, at);
  }

  private takeItem(payload: Buffer, at: number): number {
    switch (itemKind(payload, at)) {
      case START: {
        const start = readStart(payload, at, this.state.pageRows);
        this.bounds.start = start.start;
        this.base = start.base;
        if (start.base >= this.number) throw new DecodeError("a snapshot is older than its base");
        return start.next;
      }
      case QUEUE:
        return loadQueue(payload, at, this.state);
      case PAGE: {
        const item = readPage(payload, at, this.state.pageRows);
        const lane = this.state.lane(item.queueId, item.lane);
        if (lane === undefined) throw new DecodeError("snapshot has a page of an unknown lane");
        this.put(lane, item, this.number);
        return item.next;
      }
      case KEEP:
        return this.takeKeep(payload, at);
      case NAMES:
        return eachName(payload, at, (queueId, name, timeMs) => this.state.remember(queueId, name, timeMs));
      case END:
        need(payload, at, 16);
        this.bounds.end = getU64(payload, at + 8);
        return at + 16;
      default:
        throw new DecodeError(`unknown snapshot item ${payload[at]}`);
    }
  }

  private takeKeep(payload: Buffer, at: number): number {
    need(payload, at, 16);
    const lane = this.state.lane(getU32(payload, at + 4), payload[at + 1]!);
    const count = getU64(payload, at + 8);
    if (lane === undefined || this.base === 0) throw new DecodeError("snapshot keeps pages of nothing");
    if (count > KEEP_MAX) throw new DecodeError("snapshot keeps too many pages at once");
    need(payload, at, 16 + count * 8);
    let numbers = this.kept.get(lane);
    if (numbers === undefined) this.kept.set(lane, (numbers = new Set()));
    for (let i = 0; i < count; i++) numbers.add(getU64(payload, at + 16 + i * 8));
    return at + 16 + count * 8;
  }

  /** Takes from one payload of the base the pages that the snapshot keeps. Throws DecodeError. */
  takeFromBase(payload: Buffer): void {
    for (let at = 0; at < payload.length; ) {
      switch (itemKind(payload, at)) {
        case START: {
          const start = readStart(payload, at, this.state.pageRows);
          if (start.base !== 0) throw new DecodeError("the base of a snapshot has a base");
          at = start.next;
          break;
        }
        case QUEUE:
          at += 8 + lanesOf(payload, at) * 16;
          break;
        case PAGE: {
          const item = readPage(payload, at, this.state.pageRows);
          const lane = this.state.lane(item.queueId, item.lane);
          if (lane !== undefined && this.kept.get(lane)?.delete(item.number) === true) this.put(lane, item, this.base);
          at = item.next;
          break;
        }
        case NAMES:
          at = eachName(payload, at, () => undefined);
          break;
        case END:
          at += 16;
          break;
        default:
          throw new DecodeError(`unknown item ${payload[at]} in the base of a snapshot`);
      }
    }
  }

  /** Throws DecodeError when the base lacked a page that the snapshot keeps. */
  finish(): void {
    for (const numbers of this.kept.values()) {
      if (numbers.size > 0) throw new DecodeError("the base of a snapshot lacks a page");
    }
  }

  private put(lane: Lane, item: PageItem, savedIn: number): void {
    if (lane.pages.has(item.number)) throw new DecodeError("snapshot has a page twice");
    const page = item.restore();
    page.savedIn = savedIn;
    lane.pages.set(item.number, page);
  }
}

function itemKind(payload: Buffer, at: number): number {
  need(payload, at, 8);
  return payload[at]!;
}

function readStart(
  payload: Buffer,
  at: number,
  pageRows: number,
): { readonly start: number; readonly base: number; readonly next: number } {
  need(payload, at, 16);
  const format = payload[at + 1]!;
  if (format !== FORMAT && format !== FORMAT_WITHOUT_BASE) {
    throw new DecodeError(`snapshot format ${format} is not known`);
  }
  if (getU32(payload, at + 4) !== pageRows) throw new DecodeError("snapshot has pages of another size");
  const start = getU64(payload, at + 8);
  if (format === FORMAT_WITHOUT_BASE) return { start, base: 0, next: at + 16 };
  need(payload, at, 24);
  return { start, base: getU64(payload, at + 16), next: at + 24 };
}

/** Lanes of the QUEUE item at `at`, whose bytes are all there. Throws DecodeError. */
function lanesOf(payload: Buffer, at: number): number {
  const lanes = payload[at + 1]! || 256;
  need(payload, at, 8 + lanes * 16);
  return lanes;
}

/** Calls `visit` for each name of the NAMES item at `at`; returns the offset behind it. Throws DecodeError. */
function eachName(payload: Buffer, at: number, visit: (queueId: number, name: string, timeMs: number) => void): number {
  need(payload, at, 16);
  const queueId = getU32(payload, at + 4);
  const count = getU64(payload, at + 8);
  at += 16;
  for (let i = 0; i < count; i++) {
    need(payload, at, 10);
    const size = payload.readUInt16LE(at + 8);
    need(payload, at, align8(10 + size));
    visit(queueId, payload.toString("utf8", at + 10, at + 10 + size), payload.readDoubleLE(at));
    at += align8(10 + size);
  }
  return at;
}

function loadQueue(payload: Buffer, at: number, state: ShardState): number {
  const lanes = lanesOf(payload, at);
  const queueId = getU32(payload, at + 4);
  if (state.queues.has(queueId)) throw new DecodeError(`snapshot names queue ${queueId} twice`);
  state.queueCreate(queueId, payload.readUInt16LE(at + 2));
  for (let i = 0; i < lanes; i++) {
    const lane = state.queues.get(queueId)!.lane(i);
    lane.next = getU64(payload, at + 8 + i * 16);
    lane.marked = getU64(payload, at + 16 + i * 16);
  }
  return at + 8 + lanes * 16;
}

/** A PAGE item; its page is made only when it is wanted. */
interface PageItem {
  readonly queueId: number;
  readonly lane: number;
  readonly number: number;
  /** Offset behind the item. */
  readonly next: number;
  restore(): Page;
}

function readPage(payload: Buffer, at: number, pageRows: number): PageItem {
  need(payload, at, 32);
  const flags = payload.readUInt16LE(at + 2);
  const number = getU64(payload, at + 8);
  const capacity = getU32(payload, at + 24);
  const slots = getU32(payload, at + 28);
  const isSparse = (flags & SPARSE) !== 0;
  if (capacity > pageRows || slots > capacity) throw new DecodeError("snapshot page is too large");
  if (!isSparse && slots !== capacity) throw new DecodeError("snapshot page lacks rows");
  const wordsAt = at + 32;
  const statesAt = wordsAt + align8(slots * 12);
  const rowsAt = statesAt + align8(slots);
  const deliveriesAt = rowsAt + (isSparse ? align8(slots * 2) : 0);
  const failuresAt = deliveriesAt + ((flags & WITH_DELIVERIES) === 0 ? 0 : align8(slots * 2));
  const expiriesAt = failuresAt + ((flags & WITH_FAILURES) === 0 ? 0 : align8(slots * 2));
  const duesAt = expiriesAt + ((flags & WITH_EXPIRIES) === 0 ? 0 : slots * 8);
  const next = duesAt + ((flags & WITH_DUES) === 0 ? 0 : slots * 8);
  need(payload, at, next - at);
  const restore = (): Page => {
    const words = new Uint32Array(copyOf(payload, wordsAt, slots * 12));
    const states = new Uint8Array(copyOf(payload, statesAt, slots));
    if (states.some((row) => (row & ~STATES) !== 0)) throw new DecodeError("snapshot has an unknown row");
    const rows = isSparse ? new Uint16Array(copyOf(payload, rowsAt, slots * 2)) : undefined;
    if (rows !== undefined) checkAscending(rows, capacity);
    const shorts = (flag: number, from: number): Uint16Array | undefined =>
      (flags & flag) === 0 ? undefined : new Uint16Array(copyOf(payload, from, slots * 2));
    const doubles = (flag: number, from: number): Float64Array | undefined =>
      (flags & flag) === 0 ? undefined : new Float64Array(copyOf(payload, from, slots * 8));
    const page = Page.restore(number, capacity, {
      rows,
      words,
      states,
      deliveries: shorts(WITH_DELIVERIES, deliveriesAt),
      failures: shorts(WITH_FAILURES, failuresAt),
      expiries: doubles(WITH_EXPIRIES, expiriesAt),
      dues: doubles(WITH_DUES, duesAt),
    });
    page.stamp = getU64(payload, at + 16);
    return page;
  };
  return { queueId: getU32(payload, at + 4), lane: payload[at + 1]!, number, next, restore };
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
