// A policy for people who want none of the usual accidents: a message that fails is tried again later and
// later, and ends in a queue beside its own instead of being tried for ever or lost.

import type { JsonValue } from "../../model/field-table-json.ts";
import type { PolicyRecord } from "./policy-records.ts";

/** Five attempts, 1 s, 4 s, 16 s, 64 s and 256 s apart, give or take a fifth. */
const DEFINITION: ReadonlyMap<string, JsonValue> = new Map<string, JsonValue>([
  ["delivery-limit", 5],
  ["delayed-retry-type", "all"],
  ["delayed-retry-min", 1_000],
  ["delayed-retry-max", 300_000],
  ["delayed-retry-multiplier", 4],
  ["delayed-retry-jitter", 0.2],
  ["dead-letter-suffix", ".dlq"],
]);

/** For durable queues whose names match `pattern`; each gets a queue `<its name>.dlq`. */
export function safeDefaults(vhost: string, pattern: string, name = "safe-defaults"): PolicyRecord {
  return { vhost, name, pattern, applyTo: "queues", priority: 0, definition: DEFINITION };
}
