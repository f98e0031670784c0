// Fields of a body as RabbitMQ's tools send them: booleans and integers may come as text, since command
// lines make them so.

import type { FieldTable } from "../../model/field-table.ts";
import { DecodeError } from "../../model/errors.ts";
import { EMPTY_TABLE } from "../../model/field-table.ts";
import { tableFromPlain } from "../../model/field-table-plain.ts";

export type Body = Readonly<Record<string, unknown>>;

/** Throws DecodeError when it is there and no text. */
export function optionalText(body: Body, name: string): string | undefined {
  const value = body[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw new DecodeError(`${name} is not a string`);
  return value;
}

/** Throws DecodeError when it is missing or no text. */
export function text(body: Body, name: string): string {
  const value = optionalText(body, name);
  if (value === undefined) throw new DecodeError(`${name} is missing`);
  return value;
}

/** Throws DecodeError when it is there and neither true nor false. */
export function flag(body: Body, name: string, fallback: boolean): boolean {
  const value = body[name];
  if (value === undefined || value === null || value === "") return fallback;
  if (value === true || value === "true") return true;
  if (value === false || value === "false") return false;
  throw new DecodeError(`${name} is neither true nor false`);
}

/** Throws DecodeError when it is there and no integer. */
export function optionalInteger(body: Body, name: string): number | undefined {
  const value = body[name];
  if (value === undefined || value === null) return undefined;
  const number = typeof value === "string" && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof number !== "number" || !Number.isSafeInteger(number)) throw new DecodeError(`${name} is not an integer`);
  return number;
}

/** A table of arguments or headers; missing is empty. An empty list is RabbitMQ's other way to write that. */
export function table(body: Body, name: string): FieldTable {
  const value = body[name];
  if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) return EMPTY_TABLE;
  try {
    return tableFromPlain(value);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw new DecodeError(`${name}: ${error.message}`, { cause: error });
  }
}

/** A list of words, or one text with commas. */
export function optionalWords(body: Body, name: string): readonly string[] | undefined {
  const value = body[name];
  if (value === undefined || value === null) return undefined;
  const words: unknown = typeof value === "string" ? value.split(",").map((word) => word.trim()) : value;
  if (!Array.isArray(words) || !words.every((word) => typeof word === "string")) {
    throw new DecodeError(`${name} is not a list of words`);
  }
  return words.filter((word) => word !== "");
}
