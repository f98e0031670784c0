// Messages as JSON: properties by RabbitMQ's names, bodies as text or base64.

import { isUtf8 } from "node:buffer";
import { DecodeError } from "../model/errors.ts";
import { tableFromPlain, tableToPlain } from "../model/field-table-plain.ts";
import type { MessageProperties } from "../model/properties.ts";

const TEXTS = [
  ["content_type", "contentType"],
  ["content_encoding", "contentEncoding"],
  ["correlation_id", "correlationId"],
  ["reply_to", "replyTo"],
  ["expiration", "expiration"],
  ["message_id", "messageId"],
  ["type", "type"],
  ["user_id", "userId"],
  ["app_id", "appId"],
  ["cluster_id", "clusterId"],
] as const;
const BYTES = [
  ["delivery_mode", "deliveryMode"],
  ["priority", "priority"],
] as const;
const KNOWN: ReadonlySet<string> = new Set([
  ...TEXTS.map(([name]) => name),
  ...BYTES.map(([name]) => name),
  "headers",
  "timestamp",
]);

/** Throws DecodeError with a sentence. */
export function propertiesFromJson(json: unknown): MessageProperties {
  if (typeof json !== "object" || json === null) throw new DecodeError("properties are an object");
  // An empty list is how RabbitMQ writes that there are none.
  const given = new Map<string, unknown>(Array.isArray(json) ? [] : Object.entries(json));
  for (const name of given.keys()) if (!KNOWN.has(name)) throw new DecodeError(`there is no property '${name}'`);
  const properties: MessageProperties = {};
  for (const [name, field] of TEXTS) {
    const value = given.get(name);
    if (value === undefined) continue;
    if (typeof value !== "string") throw new DecodeError(`the property ${name} is a string`);
    properties[field] = value;
  }
  for (const [name, field] of BYTES) {
    const value = given.get(name);
    if (value !== undefined) properties[field] = integer(name, value, 255);
  }
  const timestamp = given.get("timestamp");
  if (timestamp !== undefined) properties.timestamp = BigInt(integer("timestamp", timestamp, Number.MAX_SAFE_INTEGER));
  const headers = given.get("headers");
  if (headers !== undefined) properties.headers = tableFromPlain(headers);
  return properties;
}

export function propertiesToJson(properties: MessageProperties): Readonly<Record<string, unknown>> {
  const { timestamp, headers } = properties;
  const json: Record<string, unknown> = {};
  for (const [name, field] of [...TEXTS, ...BYTES]) {
    const value = properties[field];
    if (value !== undefined) json[name] = value;
  }
  if (timestamp !== undefined) json["timestamp"] = Number(timestamp);
  if (headers !== undefined) json["headers"] = tableToPlain(headers);
  return json;
}

export type PayloadEncoding = "string" | "base64";

/** Throws DecodeError. */
export function payloadFromJson(payload: string, encoding: string): Buffer {
  if (encoding === "string") return Buffer.from(payload, "utf8");
  if (encoding !== "base64") throw new DecodeError("payload_encoding is string or base64");
  if (!/^[A-Za-z0-9+/\s]*=*\s*$/.test(payload)) throw new DecodeError("the payload is not base64");
  return Buffer.from(payload, "base64");
}

/** `auto` makes text of what is UTF-8. `truncate`: bytes to show at most. */
export function payloadToJson(
  body: Buffer,
  encoding: "auto" | "base64",
  truncate = Number.POSITIVE_INFINITY,
): { readonly payload: string; readonly payload_encoding: PayloadEncoding } {
  const shown = body.subarray(0, truncate);
  if (encoding === "auto" && isUtf8(shown)) return { payload: shown.toString("utf8"), payload_encoding: "string" };
  return { payload: shown.toString("base64"), payload_encoding: "base64" };
}

function integer(name: string, value: unknown, max: number): number {
  const number = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number === "number" && Number.isInteger(number) && number >= 0 && number <= max) return number;
  throw new DecodeError(`the property ${name} is an integer from 0 to ${max}`);
}
