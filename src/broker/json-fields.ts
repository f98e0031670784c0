// Typed reading of one JSON object that this broker wrote, or that somebody gives it to read.

import { DecodeError } from "../model/errors.ts";

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

  strings(name: string): readonly string[] {
    const value: unknown = this.#fields.get(name);
    if (!Array.isArray(value)) throw new DecodeError(`${name} is not an array of strings`);
    return value.map((each: unknown) => {
      if (typeof each !== "string") throw new DecodeError(`${name} is not an array of strings`);
      return each;
    });
  }
}
