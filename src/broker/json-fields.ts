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

  optionalBoolean(name: string): boolean | undefined {
    return this.#fields.get(name) === undefined ? undefined : this.boolean(name);
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

  /** All fields. */
  all(): ReadonlyMap<string, JsonValue> {
    return new Map(Array.from(this.#fields, ([key, value]) => [key, jsonOf(value)]));
  }

  /** The fields of a nested object. */
  values(name: string): ReadonlyMap<string, JsonValue> {
    return new JsonFields(this.#fields.get(name)).all();
  }
}

/** Deeper values are refused: whoever walks them calls itself. */
const DEPTH_MAX = 64;

/** A value that came out of JSON.parse. Throws DecodeError when it is none, or too deep. */
export function jsonOf(value: unknown): JsonValue {
  if (!isJson(value, DEPTH_MAX)) throw new DecodeError("a value is missing, not JSON, or nested too deeply");
  return value;
}

function isJson(value: unknown, depthLeft: number): value is JsonValue {
  if (value === null || typeof value === "string" || typeof value === "boolean") return true;
  if (typeof value === "number") return Number.isFinite(value);
  if (depthLeft === 0 || typeof value !== "object") return false;
  return Object.values(value).every((each) => isJson(each, depthLeft - 1));
}
