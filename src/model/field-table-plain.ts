// Field tables as the plain JSON that people write: arguments in definitions files and HTTP bodies, as
// RabbitMQ shows them. What JSON cannot say is lost on the way out (field-table-json.ts loses nothing):
// a timestamp becomes its seconds, bytes become text, an integer beyond 2^53 its digits.

import { LIMITS } from "../limits.ts";
import { DecodeError } from "./errors.ts";
import { EMPTY_TABLE, type FieldTable, type FieldValue } from "./field-table.ts";
import type { JsonValue } from "./field-table-json.ts";

export function tableToPlain(table: FieldTable): { readonly [name: string]: JsonValue } {
  return Object.fromEntries(Array.from(table, ([name, value]) => [name, valueToPlain(value)]));
}

/** Throws DecodeError for what no table holds: no object, or one that is too deep or too large. */
export function tableFromPlain(json: unknown): FieldTable {
  return tableFrom(json, { entries: LIMITS.fieldTableEntriesMax }, 1);
}

function valueToPlain(value: FieldValue): JsonValue {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : String(value);
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (Buffer.isBuffer(value)) return value.toString("utf8");
  if (value instanceof Map) return tableToPlain(value);
  if (isArray(value)) return value.map(valueToPlain);
  const wrapped = value as Extract<FieldValue, { readonly kind: string }>;
  if (wrapped.kind === "timestamp") return valueToPlain(wrapped.seconds);
  return valueToPlain(wrapped.kind === "double" ? wrapped.value : wrapped.value / 10 ** wrapped.scale);
}

/** `left` counts down over all nested tables and arrays, as the codec of the wire does. */
function tableFrom(json: unknown, left: { entries: number }, depth: number): FieldTable {
  if (typeof json !== "object" || json === null || Array.isArray(json))
    throw new DecodeError("arguments are an object");
  const entries = Object.entries(json);
  if (entries.length === 0) return EMPTY_TABLE;
  const table = new Map<string, FieldValue>();
  for (const [name, value] of entries) {
    if (Buffer.byteLength(name) > LIMITS.nameBytesMax) throw new DecodeError("the name of an argument is too long");
    table.set(name, valueFrom(value, left, depth));
  }
  return table;
}

function valueFrom(json: unknown, left: { entries: number }, depth: number): FieldValue {
  if (depth > LIMITS.fieldTableDepthMax) throw new DecodeError("arguments are nested too deeply");
  if (--left.entries < 0) throw new DecodeError("there are too many arguments");
  if (json === null || typeof json === "boolean" || typeof json === "string" || typeof json === "number") return json;
  if (Array.isArray(json)) return json.map((each: unknown) => valueFrom(each, left, depth + 1));
  return tableFrom(json, left, depth + 1);
}

/** Array.isArray does not narrow readonly arrays. */
function isArray(value: FieldValue): value is readonly FieldValue[] {
  return Array.isArray(value);
}
