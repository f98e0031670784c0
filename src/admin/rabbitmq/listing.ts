// Lists as RabbitMQ gives them: filtered by name and cut into pages, sorted, reduced to some columns. What
// is shown is made for the items of the answer only, unless a sort needs all of them.

import { NamePattern } from "../../broker/name-pattern.ts";
import { LIMITS } from "../../limits.ts";
import { BrokerError, DecodeError } from "../../model/errors.ts";
import type { Answer, Call } from "../route.ts";

type Shown = Readonly<Record<string, unknown>>;

export interface Listing<T> {
  readonly items: Iterable<T>;
  readonly name: (item: T) => string;
  readonly show: (item: T) => Shown;
}

const PAGE_SIZE = 100;
const PAGE_SIZE_MAX = 500;

/** Throws DecodeError for parameters that make no sense, "resource-limit" for a list that is too long. */
export function listOf<T>({ query }: Call, { items, name, show }: Listing<T>): Answer {
  const all = [...items];
  const page = numberOf(query, "page");
  const found = page === undefined ? all : all.filter(nameFilter(query, name));
  const sort = query.get("sort");
  const isReverse = query.get("sort_reverse") === "true";
  const columns = columnsOf(query);
  const limit = LIMITS.httpListedMax;
  if (found.length > limit && (page === undefined || sort !== null)) {
    throw new BrokerError("precondition-failed", `more than ${limit} items: ask for pages, unsorted (page=1)`);
  }
  if (page === undefined) {
    const shown = found.map(show);
    return { status: 200, body: sorted(shown, sort, isReverse).map((item) => reduced(item, columns)) };
  }
  const size = Math.min(numberOf(query, "page_size") ?? PAGE_SIZE, PAGE_SIZE_MAX);
  const pages = Math.max(1, Math.ceil(found.length / Math.max(size, 1)));
  if (size < 1 || page < 1 || page > pages) {
    const reason = `Page out of range, page: ${page} page size: ${size}, len: ${found.length}`;
    return { status: 400, body: { error: "page_out_of_range", reason } };
  }
  const [from, to] = [(page - 1) * size, page * size];
  const shown =
    sort === null ? found.slice(from, to).map(show) : sorted(found.map(show), sort, isReverse).slice(from, to);
  const body = {
    filtered_count: found.length,
    item_count: shown.length,
    items: shown.map((item) => reduced(item, columns)),
    page,
    page_count: pages,
    page_size: size,
    total_count: all.length,
  };
  return { status: 200, body };
}

/** One thing, reduced to the columns that the query names. */
export function oneOf({ query }: Call, item: Shown): Answer {
  return { status: 200, body: reduced(item, columnsOf(query)) };
}

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === "") return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new DecodeError(`${name} is not a number`);
  return Number(text);
}

function nameFilter<T>(query: URLSearchParams, name: (item: T) => string): (item: T) => boolean {
  const wanted = query.get("name") ?? "";
  if (wanted === "") return () => true;
  if (query.get("use_regex") === "true") {
    const pattern = NamePattern.compile(`(?i)${wanted}`, "the pattern of the name");
    return (item) => pattern.matches(name(item));
  }
  const lower = wanted.toLowerCase();
  return (item) => name(item).toLowerCase().includes(lower);
}

function columnsOf(query: URLSearchParams): readonly (readonly string[])[] {
  const columns = query.get("columns");
  return columns === null || columns === "" ? [] : columns.split(",").map((column) => column.split("."));
}

function sorted(items: readonly Shown[], sort: string | null, isReverse: boolean): readonly Shown[] {
  if (sort === null || sort === "") return isReverse ? items.toReversed() : items;
  const path = sort.split(".");
  const keyed = items.map((item) => ({ item, key: valueAt(item, path) }));
  keyed.sort((a, b) => compared(a.key, b.key));
  if (isReverse) keyed.reverse();
  return keyed.map(({ item }) => item);
}

function compared(a: unknown, b: unknown): number {
  if (typeof a === "number" && typeof b === "number") return a - b;
  const [left, right] = [keyText(a), keyText(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

function keyText(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

function valueAt(item: unknown, path: readonly string[]): unknown {
  let value = item;
  for (const name of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Shown)[name];
  }
  return value;
}

function reduced(item: Shown, columns: readonly (readonly string[])[]): Shown {
  if (columns.length === 0) return item;
  const result: Record<string, unknown> = Object.create(null) as Record<string, unknown>;
  for (const path of columns) {
    const value = valueAt(item, path);
    if (value !== undefined) place(result, path, value);
  }
  return result;
}

function place(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [name = "", ...rest] = path;
  if (rest.length === 0) {
    target[name] = value;
    return;
  }
  const before = target[name];
  const inner = typeof before === "object" && before !== null ? { ...before } : {};
  place(inner, rest, value);
  target[name] = inner;
}
