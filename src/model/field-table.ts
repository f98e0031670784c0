// Typed header values, shared by all doors. The codec is below.

import { unreachable } from "../assert.ts";
import { LIMITS } from "../limits.ts";
import { DecodeError } from "./errors.ts";

/** A value of a header or an argument. Wrapped kinds keep the wire type through a round trip. */
export type FieldValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Buffer
  | FieldTable
  | readonly FieldValue[]
  | { readonly kind: "timestamp"; readonly seconds: bigint }
  | { readonly kind: "decimal"; readonly scale: number; readonly value: number }
  | { readonly kind: "double"; readonly value: number };

export type FieldTable = ReadonlyMap<string, FieldValue>;

// The codec, as RabbitMQ reads and writes tables: u32 size, then per entry a short name, a type
// letter and the value, big endian.
//
//   t bool   b i8   B u8   s i16   u u16   I i32   i u32   l i64   L u64   f f32   d f64
//   D u8 scale + i32   S u32 + UTF-8   x u32 + bytes   A u32 + values   T u64 s   F table   V nothing
//
// Integers of up to 32 bits become numbers, 64 bits bigints; f and d become numbers when they have a
// fraction, else the wrapped kind "double". Encoding picks I for integers of 32 bits, l for larger
// ones and bigints, d for fractions, S, x, F, A, T, D, V.

const T_BOOLEAN = 0x74;
const T_I8 = 0x62;
const T_U8 = 0x42;
const T_I16 = 0x73;
const T_U16 = 0x75;
const T_I32 = 0x49;
const T_U32 = 0x69;
const T_I64 = 0x6c;
const T_U64 = 0x4c;
const T_F32 = 0x66;
const T_F64 = 0x64;
const T_DECIMAL = 0x44;
const T_STRING = 0x53;
const T_BYTES = 0x78;
const T_ARRAY = 0x41;
const T_TIMESTAMP = 0x54;
const T_TABLE = 0x46;
const T_VOID = 0x56;

export const EMPTY_TABLE: FieldTable = new Map();

/** Where a decoder stands; `end` is exclusive, `entries` counts down over all nested tables. */
interface Cursor {
  readonly bytes: Buffer;
  at: number;
  entries: number;
}

/**
 * Reads the table whose u32 size is at `start`. Throws DecodeError when it does not fit before `end`,
 * is nested deeper or has more entries than LIMITS allow, or has an unknown type.
 */
export function decodeTable(bytes: Buffer, start: number, end: number): FieldTable {
  const cursor = { bytes, at: start, entries: LIMITS.fieldTableEntriesMax };
  return readTable(cursor, end, 1);
}

/** Reads a table without its u32 size: the entries fill [start, end). Throws DecodeError. */
export function decodeTableEntries(bytes: Buffer, start: number, end: number): FieldTable {
  const cursor = { bytes, at: start, entries: LIMITS.fieldTableEntriesMax };
  return readEntries(cursor, end, 1);
}

function readTable(cursor: Cursor, end: number, depth: number): FieldTable {
  const tableEnd = readSizedEnd(cursor, end);
  if (cursor.at === tableEnd) return EMPTY_TABLE;
  return readEntries(cursor, tableEnd, depth);
}

function readEntries(cursor: Cursor, end: number, depth: number): FieldTable {
  const table = new Map<string, FieldValue>();
  while (cursor.at < end) {
    need(cursor, 1, end);
    const nameEnd = cursor.at + 1 + cursor.bytes[cursor.at]!;
    if (nameEnd >= end) throw new DecodeError("a field name runs over the end of its table");
    const name = cursor.bytes.toString("utf8", cursor.at + 1, nameEnd);
    cursor.at = nameEnd;
    table.set(name, readValue(cursor, end, depth));
  }
  return table;
}

function readArray(cursor: Cursor, end: number, depth: number): readonly FieldValue[] {
  const arrayEnd = readSizedEnd(cursor, end);
  const values: FieldValue[] = [];
  while (cursor.at < arrayEnd) values.push(readValue(cursor, arrayEnd, depth));
  return values;
}

function readValue(cursor: Cursor, end: number, depth: number): FieldValue {
  countEntry(cursor);
  need(cursor, 1, end);
  const type = cursor.bytes[cursor.at++]!;
  const fixed = fixedSize(type);
  if (fixed >= 0) {
    need(cursor, fixed, end);
    const value = readFixed(cursor.bytes, cursor.at, type);
    cursor.at += fixed;
    return value;
  }
  if (type === T_TABLE) return readTable(cursor, end, deeper(depth));
  if (type === T_ARRAY) return readArray(cursor, end, deeper(depth));
  const valueEnd = readSizedEnd(cursor, end);
  const start = cursor.at;
  cursor.at = valueEnd;
  if (type === T_STRING) return cursor.bytes.toString("utf8", start, valueEnd);
  return Buffer.from(cursor.bytes.subarray(start, valueEnd));
}

/** Bytes of a value of this type; -1 when it carries its own size. Throws DecodeError when unknown. */
function fixedSize(type: number): number {
  switch (type) {
    case T_VOID:
      return 0;
    case T_BOOLEAN:
    case T_I8:
    case T_U8:
      return 1;
    case T_I16:
    case T_U16:
      return 2;
    case T_I32:
    case T_U32:
    case T_F32:
      return 4;
    case T_DECIMAL:
      return 5;
    case T_I64:
    case T_U64:
    case T_F64:
    case T_TIMESTAMP:
      return 8;
    case T_STRING:
    case T_BYTES:
    case T_ARRAY:
    case T_TABLE:
      return -1;
    default:
      throw new DecodeError(`unknown field type ${type}`);
  }
}

function readFixed(bytes: Buffer, at: number, type: number): FieldValue {
  switch (type) {
    case T_BOOLEAN:
      return bytes[at] !== 0;
    case T_I8:
      return bytes.readInt8(at);
    case T_U8:
      return bytes.readUInt8(at);
    case T_I16:
      return bytes.readInt16BE(at);
    case T_U16:
      return bytes.readUInt16BE(at);
    case T_I32:
      return bytes.readInt32BE(at);
    case T_U32:
      return bytes.readUInt32BE(at);
    case T_F32:
      return fromDouble(bytes.readFloatBE(at));
    case T_F64:
      return fromDouble(bytes.readDoubleBE(at));
    case T_I64:
      return bytes.readBigInt64BE(at);
    case T_U64:
      return bytes.readBigUInt64BE(at);
    case T_TIMESTAMP:
      return { kind: "timestamp", seconds: bytes.readBigUInt64BE(at) };
    case T_DECIMAL:
      return { kind: "decimal", scale: bytes[at]!, value: bytes.readInt32BE(at + 1) };
    default:
      return null;
  }
}

/** A whole number keeps its wire type by being wrapped; a fraction can be nothing but a double. */
function fromDouble(value: number): FieldValue {
  return Number.isInteger(value) ? { kind: "double", value } : value;
}

function need(cursor: Cursor, size: number, end: number): void {
  if (cursor.at + size > end) throw new DecodeError("a field value runs over the end of its table");
}

function readSizedEnd(cursor: Cursor, end: number): number {
  need(cursor, 4, end);
  const size = cursor.bytes.readUInt32BE(cursor.at);
  cursor.at += 4;
  need(cursor, size, end);
  return cursor.at + size;
}

function countEntry(cursor: Cursor): void {
  if (cursor.entries-- <= 0) throw new DecodeError(`more than ${LIMITS.fieldTableEntriesMax} field values`);
}

function deeper(depth: number): number {
  if (depth >= LIMITS.fieldTableDepthMax) throw new DecodeError("field tables are nested too deeply");
  return depth + 1;
}

/**
 * Checks that the table whose u32 size is at `start` is well formed and ends before `end`, without
 * building it. Returns the offset behind it. Throws DecodeError as decodeTable does.
 */
export function checkTable(bytes: Buffer, start: number, end: number): number {
  const cursor = { bytes, at: start, entries: LIMITS.fieldTableEntriesMax };
  skipTable(cursor, end, 1);
  return cursor.at;
}

/** Offset behind the entry (name, type, value) that starts at `start`. Throws DecodeError. */
export function tableEntryEnd(bytes: Buffer, start: number, end: number): number {
  const cursor = { bytes, at: start, entries: LIMITS.fieldTableEntriesMax };
  skipEntry(cursor, end, 1);
  return cursor.at;
}

function skipTable(cursor: Cursor, end: number, depth: number): void {
  const tableEnd = readSizedEnd(cursor, end);
  while (cursor.at < tableEnd) skipEntry(cursor, tableEnd, depth);
}

function skipEntry(cursor: Cursor, end: number, depth: number): void {
  need(cursor, 1, end);
  cursor.at += 1 + cursor.bytes[cursor.at]!;
  skipValue(cursor, end, depth);
}

function skipValue(cursor: Cursor, end: number, depth: number): void {
  countEntry(cursor);
  need(cursor, 1, end);
  const type = cursor.bytes[cursor.at++]!;
  const fixed = fixedSize(type);
  if (fixed >= 0) {
    need(cursor, fixed, end);
    cursor.at += fixed;
  } else if (type === T_TABLE) {
    skipTable(cursor, end, deeper(depth));
  } else if (type === T_ARRAY) {
    const inner = deeper(depth);
    const arrayEnd = readSizedEnd(cursor, end);
    while (cursor.at < arrayEnd) skipValue(cursor, arrayEnd, inner);
  } else {
    cursor.at = readSizedEnd(cursor, end);
  }
}

/** The table with its u32 size. Throws DecodeError when a name or number does not fit the wire. */
export function encodeTable(table: FieldTable): Buffer {
  const parts: Buffer[] = [];
  const size = pushEntries(table, parts, 1);
  return Buffer.concat([u32(size), ...parts], size + 4);
}

function pushEntries(table: FieldTable, parts: Buffer[], depth: number): number {
  let size = 0;
  for (const [name, value] of table) {
    const text = Buffer.from(name, "utf8");
    if (text.length > 255) throw new DecodeError("a field name is longer than 255 bytes");
    parts.push(Buffer.of(text.length), text);
    size += 1 + text.length + pushValue(value, parts, depth);
  }
  return size;
}

/** Appends the bytes of a value to `parts`; returns their number. */
function pushValue(value: FieldValue, parts: Buffer[], depth: number): number {
  if (value instanceof Map) {
    return pushSized(T_TABLE, parts, (inner) => pushEntries(value, inner, deeper(depth)));
  }
  if (isArray(value)) {
    const below = deeper(depth);
    return pushSized(T_ARRAY, parts, (inner) =>
      value.reduce<number>((sum, one) => sum + pushValue(one, inner, below), 0),
    );
  }
  const scalar = encodeScalar(value as Exclude<FieldValue, FieldTable | readonly FieldValue[]>);
  parts.push(scalar);
  return scalar.length;
}

function pushSized(type: number, parts: Buffer[], fill: (inner: Buffer[]) => number): number {
  const inner: Buffer[] = [];
  const size = fill(inner);
  parts.push(Buffer.of(type), u32(size), ...inner);
  return size + 5;
}

function isArray(value: FieldValue): value is readonly FieldValue[] {
  return Array.isArray(value);
}

function encodeScalar(value: Exclude<FieldValue, FieldTable | readonly FieldValue[]>): Buffer {
  if (value === null) return Buffer.of(T_VOID);
  if (typeof value === "boolean") return Buffer.of(T_BOOLEAN, value ? 1 : 0);
  if (typeof value === "number") return encodeNumber(value);
  if (typeof value === "bigint") return encodeBigint(value);
  if (typeof value === "string") return encodeSized(T_STRING, Buffer.from(value, "utf8"));
  if (Buffer.isBuffer(value)) return encodeSized(T_BYTES, value);
  switch (value.kind) {
    case "timestamp": {
      const bytes = Buffer.alloc(9, T_TIMESTAMP);
      bytes.writeBigUInt64BE(BigInt.asUintN(64, value.seconds), 1);
      return bytes;
    }
    case "decimal": {
      const bytes = Buffer.alloc(6, T_DECIMAL);
      bytes[1] = value.scale;
      bytes.writeInt32BE(value.value, 2);
      return bytes;
    }
    case "double":
      return encodeDouble(value.value);
    default:
      return unreachable(value);
  }
}

function encodeNumber(value: number): Buffer {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) return encodeDouble(value);
  if (value !== (value | 0)) return encodeBigint(BigInt(value));
  const bytes = Buffer.alloc(5, T_I32);
  bytes.writeInt32BE(value, 1);
  return bytes;
}

function encodeBigint(value: bigint): Buffer {
  const signed = BigInt.asIntN(64, value) === value;
  if (!signed && BigInt.asUintN(64, value) !== value) throw new DecodeError("an integer needs more than 64 bits");
  const bytes = Buffer.alloc(9, signed ? T_I64 : T_U64);
  if (signed) bytes.writeBigInt64BE(value, 1);
  else bytes.writeBigUInt64BE(value, 1);
  return bytes;
}

function encodeDouble(value: number): Buffer {
  const bytes = Buffer.alloc(9, T_F64);
  bytes.writeDoubleBE(value, 1);
  return bytes;
}

function encodeSized(type: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.of(type), u32(content.length), content]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
