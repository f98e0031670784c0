// Field tables as JSON and back, without loss: the meta log and the HTTP interface store arguments
// this way. Names are sorted, so that two tables with equal contents give equal text, which is what
// "compared by value" means for bindings and queue arguments.
//
//   null, boolean, string     as they are
//   number                    as it is; -0, NaN and infinities as {"n": "text"}
//   bigint                    {"i": "decimal digits"}
//   Buffer                    {"b": "base64"}
//   array                     [ ... ]
//   table                     {"t": [[name, value], ...]}   sorted by name
//   timestamp                 {"s": "seconds"}
//   decimal                   {"d": [scale, value]}
//   double                    {"f": "text"}

import type { FieldTable, FieldValue } from "./field-table.ts";
import { DecodeError } from "./errors.ts";

export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [name: string]: JsonValue };

/** The table as `[[name, value], ...]`, sorted by name. */
export function tableToJson(table: FieldTable): readonly JsonValue[] {
  const names = [...table.keys()].sort();
  return names.map((name) => [name, valueToJson(table.get(name) ?? null)]);
}

/** Reads what `tableToJson` wrote. Throws DecodeError on anything else. */
export function tableFromJson(json: unknown): FieldTable {
  if (!Array.isArray(json)) throw new DecodeError("a field table is an array of pairs");
  const table = new Map<string, FieldValue>();
  for (const pair of json as readonly unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== "string") {
      throw new DecodeError("a field table entry is a pair of name and value");
    }
    table.set(pair[0], valueFromJson(pair[1]));
  }
  return table;
}

/** Text that is equal for two tables exactly when they hold the same names with the same values. */
export function tableIdentity(table: FieldTable): string {
  return table.size === 0 ? "" : JSON.stringify(tableToJson(table));
}

/** Equal by value: the width of an integer on the wire plays no part, nor does that of a float. */
export function sameFieldValue(a: FieldValue, b: FieldValue): boolean {
  const left = plain(a);
  const right = plain(b);
  if (typeof left !== "object" || left === null || typeof right !== "object" || right === null) return left === right;
  return JSON.stringify(valueToJson(left)) === JSON.stringify(valueToJson(right));
}

/** A bigint that a number holds exactly becomes one, a double its value. */
function plain(value: FieldValue): FieldValue {
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (value !== null && typeof value === "object" && "kind" in value && value.kind === "double") return value.value;
  return value;
}

function valueToJson(value: FieldValue): JsonValue {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number")
    return Number.isFinite(value) && !Object.is(value, -0) ? value : { n: numberText(value) };
  if (typeof value === "bigint") return { i: value.toString() };
  if (Buffer.isBuffer(value)) return { b: value.toString("base64") };
  if (value instanceof Map) return { t: tableToJson(value) };
  if (isArray(value)) return value.map(valueToJson);
  return wrappedToJson(value as Exclude<typeof value, FieldTable | Buffer>);
}

function wrappedToJson(value: Extract<FieldValue, { readonly kind: string }>): JsonValue {
  switch (value.kind) {
    case "timestamp":
      return { s: value.seconds.toString() };
    case "decimal":
      return { d: [value.scale, value.value] };
    case "double":
      return { f: numberText(value.value) };
  }
}

function valueFromJson(json: unknown): FieldValue {
  if (json === null || typeof json === "boolean" || typeof json === "string" || typeof json === "number") return json;
  if (Array.isArray(json)) return json.map(valueFromJson);
  const [entry, ...more] = Object.entries(json as object);
  if (entry === undefined || more.length > 0) throw new DecodeError("a typed field value has one key");
  return typedFromJson(entry[0], entry[1]);
}

function typedFromJson(type: string, json: unknown): FieldValue {
  if (type === "t") return tableFromJson(json);
  if (type === "d") {
    if (!Array.isArray(json) || typeof json[0] !== "number" || typeof json[1] !== "number") {
      throw new DecodeError("a decimal is a pair of scale and value");
    }
    return { kind: "decimal", scale: json[0], value: json[1] };
  }
  if (typeof json !== "string") throw new DecodeError(`a field value of type ${type} is a string`);
  switch (type) {
    case "n":
      return Number(json);
    case "i":
      return integerFromText(json);
    case "b":
      return Buffer.from(json, "base64");
    case "s":
      return { kind: "timestamp", seconds: integerFromText(json) };
    case "f":
      return { kind: "double", value: Number(json) };
    default:
      throw new DecodeError(`unknown field value type ${type}`);
  }
}

function integerFromText(text: string): bigint {
  if (!/^-?\d+$/.test(text)) throw new DecodeError(`not an integer: ${text}`);
  return BigInt(text);
}

/** JavaScript prints -0 as "0"; everything else reads back as it was. */
function numberText(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

/** Array.isArray does not narrow readonly arrays. */
function isArray(value: FieldValue): value is readonly FieldValue[] {
  return Array.isArray(value);
}
