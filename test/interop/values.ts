// Headers and properties between the scenarios' plain data and the JavaScript clients' own notations.

import type { Properties, Table, Value } from "./client.ts";

/** How a client library spells the wire types that plain data cannot tell apart. */
export interface Notation {
  readonly timestamp: (seconds: number) => unknown;
  readonly bytes: (bytes: Buffer) => unknown;
}

const PROPERTY_NAMES: readonly (keyof Properties)[] = [
  "content-type",
  "content-encoding",
  "headers",
  "delivery-mode",
  "priority",
  "correlation-id",
  "reply-to",
  "expiration",
  "message-id",
  "timestamp",
  "type",
  "user-id",
  "app-id",
  "cluster-id",
];

/** "content-type" -> "contentType", as all three JavaScript clients spell properties. */
function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function isTable(value: Value): value is Table {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function toClientValue(value: Value, notation: Notation): unknown {
  if (Array.isArray(value)) return value.map((each: Value) => toClientValue(each, notation));
  if (!isTable(value)) return value;
  if (value["$"] === "timestamp") return notation.timestamp(Number(value["seconds"]));
  if (value["$"] === "double") return Number(value["value"]);
  if (value["$"] === "bytes") return notation.bytes(Buffer.from(String(value["hex"]), "hex"));
  return toClientTable(value, notation);
}

export function toClientTable(table: Table, notation: Notation): Record<string, unknown> {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, toClientValue(value, notation)]));
}

/** Accepts every notation that the three JavaScript clients use for a decoded value. */
export function fromClientValue(value: unknown): Value {
  if (value === null || value === undefined) return null;
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "number") return Number.isInteger(value) ? value : { $: "double", value };
  if (typeof value === "boolean" || typeof value === "string") return value;
  if (value instanceof Uint8Array) return { $: "bytes", hex: Buffer.from(value).toString("hex") };
  if (value instanceof Date) return { $: "timestamp", seconds: value.getTime() / 1000 };
  if (Array.isArray(value)) return value.map(fromClientValue);
  const table = value as Record<string, unknown>;
  if (table["!"] === "timestamp") return { $: "timestamp", seconds: Number(table["value"]) };
  return fromClientTable(table);
}

export function fromClientTable(table: Record<string, unknown>): Table {
  return Object.fromEntries(Object.entries(table).map(([key, value]) => [key, fromClientValue(value)]));
}

/** Properties in camel case; the client's own notation for the timestamp property comes from `timestamp`. */
export function toClientProperties(
  properties: Properties,
  notation: Notation,
  timestamp: (seconds: number) => unknown,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const name of PROPERTY_NAMES) {
    const value = properties[name];
    if (value === undefined) continue;
    if (name === "headers") result["headers"] = toClientTable(properties.headers ?? {}, notation);
    else if (name === "timestamp") result["timestamp"] = timestamp(Number(value));
    else result[camelCase(name)] = value;
  }
  return result;
}

/** The properties that are present, by their names in the specification. */
export function fromClientProperties(source: Record<string, unknown>): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const name of PROPERTY_NAMES) {
    const value = source[camelCase(name)];
    if (value === undefined || value === null) continue;
    if (name === "headers") result[name] = fromClientTable(value as Record<string, unknown>);
    else if (name === "timestamp") result[name] = value instanceof Date ? value.getTime() / 1000 : Number(value);
    else result[name] = value;
  }
  return result;
}
