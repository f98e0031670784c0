// Typed reading of one JSON object that this broker wrote, or that somebody gives it to read.

import { DecodeError } from "../model/errors.ts";
import type { JsonValue } from "../model/field-table-json.ts";

export class JsonFields {
  readonly #fields: ReadonlyMap<string, unknown>;

  /** Throws DecodeError unless `json` is an object. */
  constructor(json: unknown) {
    if (typeof json !== "object" || json === null || Array.isArray(json)) throw new DecodeError("it is not an object");
    this.#fields = new Map(Object.entries(json));
  }

  names(): IterableIterator<string> {
    return this.#fields.keys();
  }

  get(name: string): unknown {
    return this.#fields.get(name);
  }

  string(name: string): string {
    const value = this.#fields.get(name);
    if (typeof value !== "string") throw new DecodeError(`${name} is not a string`);
    return value;
  }

  optionalString(name: string): string | undefined {
    return this.#fields.get(name) === undefined ? undefined : this.string(name);
  }

  boolean(name: string): boolean {
    const value = this.#fields.get(name);
    if (typeof value !== "boolean") throw new DecodeError(`${name} is not a boolean`);
    return value;
  }

  integer(name: string): number {
    const value = this.#fields.get(name);
    if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new DecodeError(`${name} is not an integer`);
    return value;
  }

  optionalInteger(name: string): number | undefined {
    return this.#fields.get(name) === undefined ? undefined : this.integer(name);
  }

  strings(name: string): readonly string[] {
    const value: unknown = this.#fields.get(name);
    if (!Array.isArray(value)) throw new DecodeError(`${name} is not an array of strings`);
    return value.map((each: unknown) => {
      if (typeof each !== "string") throw new DecodeError(`${name} is not an array of strings`);
      return each;
    });
  }

  /** A nested object, by name. */
  values(name: string): ReadonlyMap<string, JsonValue> {
    const inner = new JsonFields(this.#fields.get(name));
    return new Map(Array.from(inner.#fields, ([key, value]) => [key, jsonOf(value)]));
  }
}

/** A value that came out of JSON.parse. Throws DecodeError when it is none. */
export function jsonOf(value: unknown): JsonValue {
  if (!isJson(value)) throw new DecodeError("a value is missing or not JSON");
  return value;
}

function isJson(value: unknown): value is JsonValue {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (Array.isArray(value)) return value.every(isJson);
  return typeof value === "object" && Object.values(value).every(isJson);
}
