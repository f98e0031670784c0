// Query parameters of lists.

import { DecodeError } from "../../model/errors.ts";
import type { Call } from "../route.ts";

/** One answer lists at most this many. */
const LISTED_MAX = 1000;

/** The part of a list that `limit` and `offset` ask for. Throws DecodeError. */
export function pageOf<T>({ query }: Call, items: readonly T[]): readonly T[] {
  const limit = Math.min(integerOf(query, "limit", LISTED_MAX), LISTED_MAX);
  const offset = integerOf(query, "offset", 0);
  return items.slice(offset, offset + limit);
}

/** Throws DecodeError. */
export function integerOf(query: URLSearchParams, name: string, fallback: number): number {
  const text = query.get(name);
  if (text === null) return fallback;
  if (!/^\d{1,9}$/.test(text)) throw new DecodeError(`${name} is a number of at most nine digits`);
  return Number(text);
}
