// How AMQP calls the types of field values, for sentences that tell a client what it has sent.

import type { FieldValue } from "./field-table.ts";

/** The usual wire type of a value; the exact integer width is not kept. */
export function wireType(value: FieldValue): string {
  if (value === null) return "void";
  if (typeof value === "string") return "longstr";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "bigint") return "long";
  if (typeof value === "number") return Math.abs(value) < 2 ** 31 ? "signedint" : "long";
  if (Buffer.isBuffer(value)) return "binary";
  if (Array.isArray(value)) return "array";
  if ("kind" in value) return value.kind;
  return "table";
}
