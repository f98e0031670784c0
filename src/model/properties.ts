// The properties block of a stored message, storage format 1. It is ours; its layout is the one of
// AMQP 0-9-1 content headers, so that the most used door copies it:
//
//   u16 BE flags, then for each flag that is set, from the highest bit down, the value:
//   bit 15 contentType    short     bit 10 correlationId  short     bit 5 type      short
//   bit 14 contentEncoding short    bit 9  replyTo        short     bit 4 userId    short
//   bit 13 headers        table     bit 8  expiration     short     bit 3 appId     short
//   bit 12 deliveryMode   u8        bit 7  messageId      short     bit 2 clusterId short
//   bit 11 priority       u8        bit 6  timestamp      u64 s     bits 1, 0: must be 0
//
// A short is u8 length + UTF-8; a table is model/field-table.ts. A block in the log is always well
// formed: doors run `checkProperties` before they hand it to the broker.

import { DecodeError } from "./errors.ts";
import {
  checkTable,
  decodeTable,
  encodeTable,
  EMPTY_TABLE,
  tableEntryEnd,
  type FieldTable,
  type FieldValue,
} from "./field-table.ts";

export const FLAG_CONTENT_TYPE = 0x8000;
export const FLAG_CONTENT_ENCODING = 0x4000;
export const FLAG_HEADERS = 0x2000;
export const FLAG_DELIVERY_MODE = 0x1000;
export const FLAG_PRIORITY = 0x0800;
export const FLAG_CORRELATION_ID = 0x0400;
export const FLAG_REPLY_TO = 0x0200;
export const FLAG_EXPIRATION = 0x0100;
export const FLAG_MESSAGE_ID = 0x0080;
export const FLAG_TIMESTAMP = 0x0040;
export const FLAG_TYPE = 0x0020;
export const FLAG_USER_ID = 0x0010;
export const FLAG_APP_ID = 0x0008;
export const FLAG_CLUSTER_ID = 0x0004;
const FLAGS_UNKNOWN = 0x0003;

const NOTHING = Buffer.alloc(0);

export const DELIVERY_MODE_PERSISTENT = 2;

/** Properties as an object; absent ones are undefined. */
export interface MessageProperties {
  contentType?: string | undefined;
  contentEncoding?: string | undefined;
  headers?: FieldTable | undefined;
  deliveryMode?: number | undefined;
  priority?: number | undefined;
  correlationId?: string | undefined;
  replyTo?: string | undefined;
  expiration?: string | undefined;
  messageId?: string | undefined;
  /** Unix time, seconds. */
  timestamp?: bigint | undefined;
  type?: string | undefined;
  userId?: string | undefined;
  appId?: string | undefined;
  clusterId?: string | undefined;
}

type Kind = "short" | "table" | "u8" | "u64";

const FIELDS: readonly { readonly flag: number; readonly name: keyof MessageProperties; readonly kind: Kind }[] = [
  { flag: FLAG_CONTENT_TYPE, name: "contentType", kind: "short" },
  { flag: FLAG_CONTENT_ENCODING, name: "contentEncoding", kind: "short" },
  { flag: FLAG_HEADERS, name: "headers", kind: "table" },
  { flag: FLAG_DELIVERY_MODE, name: "deliveryMode", kind: "u8" },
  { flag: FLAG_PRIORITY, name: "priority", kind: "u8" },
  { flag: FLAG_CORRELATION_ID, name: "correlationId", kind: "short" },
  { flag: FLAG_REPLY_TO, name: "replyTo", kind: "short" },
  { flag: FLAG_EXPIRATION, name: "expiration", kind: "short" },
  { flag: FLAG_MESSAGE_ID, name: "messageId", kind: "short" },
  { flag: FLAG_TIMESTAMP, name: "timestamp", kind: "u64" },
  { flag: FLAG_TYPE, name: "type", kind: "short" },
  { flag: FLAG_USER_ID, name: "userId", kind: "short" },
  { flag: FLAG_APP_ID, name: "appId", kind: "short" },
  { flag: FLAG_CLUSTER_ID, name: "clusterId", kind: "short" },
];

/** Flags of the block at `start`. */
export function propertyFlags(bytes: Buffer, start: number): number {
  return (bytes[start]! << 8) | bytes[start + 1]!;
}

/**
 * Checks that bytes[start, end) is a well-formed block and returns its delivery mode (0 when absent).
 * Allocates nothing unless there are headers. Throws DecodeError.
 */
export function checkProperties(bytes: Buffer, start: number, end: number): number {
  const size = end - start;
  if (size < 2) throw new DecodeError("the properties are shorter than their flags");
  const flags = (bytes[start]! << 8) | bytes[start + 1]!;
  // The two usual blocks: nothing, and only a delivery mode.
  if (flags === 0 && size === 2) return 0;
  if (flags === FLAG_DELIVERY_MODE && size === 3) return bytes[start + 2]!;
  if ((flags & FLAGS_UNKNOWN) !== 0) throw new DecodeError("unknown property flags");
  let at = start + 2;
  let deliveryMode = 0;
  for (let flag = FLAG_CONTENT_TYPE; flag >= FLAG_CLUSTER_ID; flag >>= 1) {
    if ((flags & flag) === 0) continue;
    if (at >= end) throw new DecodeError("the properties end too early");
    if (flag === FLAG_HEADERS) {
      at = checkTable(bytes, at, end);
    } else if (flag === FLAG_DELIVERY_MODE) {
      deliveryMode = bytes[at]!;
      at++;
    } else if (flag === FLAG_PRIORITY) {
      at++;
    } else if (flag === FLAG_TIMESTAMP) {
      at += 8;
    } else {
      at += 1 + bytes[at]!;
    }
  }
  if (at !== end) throw new DecodeError(at > end ? "the properties end too early" : "bytes follow the properties");
  return deliveryMode;
}

/** Offset of the value of `flag` in a well-formed block, or -1 when the block lacks it. */
export function propertyOffset(bytes: Buffer, start: number, flag: number): number {
  return (propertyFlags(bytes, start) & flag) === 0 ? -1 : propertyPlace(bytes, start, flag);
}

/** Where the value of `flag` is, or would be, in a well-formed block. */
function propertyPlace(bytes: Buffer, start: number, flag: number): number {
  const flags = propertyFlags(bytes, start);
  let at = start + 2;
  for (let before = FLAG_CONTENT_TYPE; before > flag; before >>= 1) {
    if ((flags & before) === 0) continue;
    if (before === FLAG_HEADERS) at += 4 + bytes.readUInt32BE(at);
    else if (before === FLAG_DELIVERY_MODE || before === FLAG_PRIORITY) at++;
    else if (before === FLAG_TIMESTAMP) at += 8;
    else at += 1 + bytes[at]!;
  }
  return at;
}

/** A short text property of a well-formed block; undefined when absent. */
export function readShortProperty(bytes: Buffer, start: number, flag: number): string | undefined {
  const at = propertyOffset(bytes, start, flag);
  return at < 0 ? undefined : bytes.toString("utf8", at + 1, at + 1 + bytes[at]!);
}

/** Delivery mode of a well-formed block; 0 when absent. */
export function readDeliveryMode(bytes: Buffer, start: number): number {
  const at = propertyOffset(bytes, start, FLAG_DELIVERY_MODE);
  return at < 0 ? 0 : bytes[at]!;
}

/** Headers of the block bytes[start, end); empty when absent. Throws DecodeError. */
export function readHeaders(bytes: Buffer, start: number, end: number): FieldTable {
  if (end - start < 2) throw new DecodeError("the properties are shorter than their flags");
  const at = propertyOffset(bytes, start, FLAG_HEADERS);
  return at < 0 ? EMPTY_TABLE : decodeTable(bytes, at, end);
}

/** All properties of the block bytes[start, end). Throws DecodeError. */
export function decodeProperties(bytes: Buffer, start: number, end: number): MessageProperties {
  checkProperties(bytes, start, end);
  const flags = propertyFlags(bytes, start);
  const found = new Map<keyof MessageProperties, unknown>();
  let at = start + 2;
  for (const { flag, name, kind } of FIELDS) {
    if ((flags & flag) === 0) continue;
    if (kind === "short") {
      found.set(name, bytes.toString("utf8", at + 1, at + 1 + bytes[at]!));
      at += 1 + bytes[at]!;
    } else if (kind === "u8") {
      found.set(name, bytes[at++]!);
    } else if (kind === "u64") {
      found.set(name, bytes.readBigUInt64BE(at));
      at += 8;
    } else {
      found.set(name, decodeTable(bytes, at, end));
      at += 4 + bytes.readUInt32BE(at);
    }
  }
  return Object.fromEntries(found);
}

/** The block of `properties`. Throws DecodeError when a text is longer than 255 bytes. */
export function encodeProperties(properties: MessageProperties): Buffer {
  let flags = 0;
  const parts: Buffer[] = [];
  for (const { flag, name } of FIELDS) {
    const value = properties[name];
    if (value === undefined) continue;
    flags |= flag;
    parts.push(encodeProperty(value));
  }
  return Buffer.concat([Buffer.of(flags >> 8, flags & 0xff), ...parts]);
}

function encodeProperty(value: NonNullable<MessageProperties[keyof MessageProperties]>): Buffer {
  if (typeof value === "number") return Buffer.of(value);
  if (typeof value === "bigint") {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(value);
    return bytes;
  }
  if (typeof value !== "string") return encodeTable(value);
  const text = Buffer.from(value, "utf8");
  if (text.length > 255) throw new DecodeError("a property is longer than 255 bytes");
  return Buffer.concat([Buffer.of(text.length), text]);
}

/**
 * A copy of the well-formed block bytes[start, end) in which header `name` has the integer `value`.
 * The other headers keep their bytes, so that their wire types survive.
 */
export function withIntegerHeader(bytes: Buffer, start: number, end: number, name: string, value: number): Buffer {
  return withHeader(bytes, start, end, name, BigInt(value));
}

/** Like `withIntegerHeader` for any value; undefined takes the header out. */
export function withHeader(
  bytes: Buffer,
  start: number,
  end: number,
  name: string,
  value: FieldValue | undefined,
): Buffer {
  return withHeaders(bytes, start, end, new Map([[name, value]]));
}

/** Like `withHeader` for several at once; those that are new go behind the others, in the order of the map. */
export function withHeaders(
  bytes: Buffer,
  start: number,
  end: number,
  changes: ReadonlyMap<string, FieldValue | undefined>,
): Buffer {
  const entries: Buffer[] = [];
  const at = propertyOffset(bytes, start, FLAG_HEADERS);
  const tableEnd = at < 0 ? -1 : at + 4 + bytes.readUInt32BE(at);
  for (let entryAt = at + 4; entryAt < tableEnd; ) {
    const entryEnd = tableEntryEnd(bytes, entryAt, tableEnd);
    const name = bytes.toString("utf8", entryAt + 1, entryAt + 1 + bytes[entryAt]!);
    if (!changes.has(name)) entries.push(bytes.subarray(entryAt, entryEnd));
    entryAt = entryEnd;
  }
  for (const [name, value] of changes) {
    if (value !== undefined) entries.push(encodeTable(new Map([[name, value]])).subarray(4));
  }
  if (at < 0 && entries.length === 0) return Buffer.from(bytes.subarray(start, end));
  const flags = propertyFlags(bytes, start) | FLAG_HEADERS;
  const place = propertyPlace(bytes, start, FLAG_HEADERS);
  const behind = at < 0 ? place : tableEnd;
  const lead = Buffer.of(flags >> 8, flags & 0xff);
  return Buffer.concat([lead, bytes.subarray(start + 2, place), sized(entries), bytes.subarray(behind, end)]);
}

/**
 * A copy of the well-formed block bytes[start, end) whose short text property `flag` is `value`; undefined
 * takes it out. Throws DecodeError when the text is longer than 255 bytes.
 */
export function withShortProperty(
  bytes: Buffer,
  start: number,
  end: number,
  flag: number,
  value: string | undefined,
): Buffer {
  const before = propertyFlags(bytes, start);
  const flags = value === undefined ? before & ~flag : before | flag;
  const place = propertyPlace(bytes, start, flag);
  const behind = (before & flag) === 0 ? place : place + 1 + bytes[place]!;
  const text = value === undefined ? NOTHING : encodeProperty(value);
  const lead = Buffer.of(flags >> 8, flags & 0xff);
  return Buffer.concat([lead, bytes.subarray(start + 2, place), text, bytes.subarray(behind, end)]);
}

function sized(entries: readonly Buffer[]): Buffer {
  const content = Buffer.concat(entries);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(content.length);
  return Buffer.concat([size, content]);
}
