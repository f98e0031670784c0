// What a policy may say: its keys, as RabbitMQ names them, with those that only Quayside has, and the
// values of each. An unknown key is refused: a typing error must not pass for a limit.

import { preconditionFailed } from "../refusals.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import type { ApplyTo, PolicyKind } from "./policy-records.ts";

interface Key {
  readonly expected: string;
  readonly accepts: (value: JsonValue) => boolean;
  /** Operator policies may set it. */
  readonly operator?: true;
}

const integer = (min: number, max = Number.MAX_SAFE_INTEGER): Key["accepts"] => {
  return (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max;
};
const text: Key["accepts"] = (value) => typeof value === "string";
const boolean: Key["accepts"] = (value) => typeof value === "boolean";
const oneOf = (...values: readonly string[]): Key => ({
  expected: `one of ${values.join(", ")}`,
  accepts: (value) => typeof value === "string" && values.includes(value),
});
const number = (min: number, max: number): Key["accepts"] => {
  return (value) => typeof value === "number" && value >= min && value <= max;
};

const suffix: Key["accepts"] = (value) => typeof value === "string" && value !== "" && value.length <= 64;

const COUNT: Key = { expected: "an integer of at least 0", accepts: integer(0) };
const age: Key["accepts"] = (value) => typeof value === "string" && /^\d+[YMDhms]$/.test(value);

const KEYS: ReadonlyMap<string, Key> = new Map<string, Key>([
  ["alternate-exchange", { expected: "the name of an exchange", accepts: text }],
  ["consumer-disconnected-timeout", COUNT],
  ["consumer-timeout", COUNT],
  ["dead-letter-exchange", { expected: "the name of an exchange", accepts: text }],
  ["dead-letter-routing-key", { expected: "a routing key", accepts: text }],
  ["dead-letter-strategy", oneOf("at-most-once", "at-least-once")],
  ["message-ttl", { ...COUNT, operator: true }],
  ["expires", { expected: "an integer of at least 1", accepts: integer(1), operator: true }],
  ["max-length", { ...COUNT, operator: true }],
  ["max-length-bytes", { ...COUNT, operator: true }],
  ["max-in-memory-length", { ...COUNT, operator: true }],
  ["max-in-memory-bytes", { ...COUNT, operator: true }],
  ["queue-mode", oneOf("default", "lazy")],
  ["queue-version", { expected: "1 or 2", accepts: integer(1, 2), operator: true }],
  ["overflow", { ...oneOf("drop-head", "reject-publish", "reject-publish-dlx"), operator: true }],
  ["delivery-limit", { expected: "an integer", accepts: integer(Number.MIN_SAFE_INTEGER), operator: true }],
  ["max-age", { expected: "a number with one of the units Y M D h m s", accepts: age }],
  ["stream-max-segment-size-bytes", COUNT],
  ["stream-filter-size-bytes", { expected: "an integer from 16 to 255", accepts: integer(16, 255) }],
  ["queue-leader-locator", oneOf("client-local", "balanced", "random", "least-leaders")],
  ["initial-cluster-size", COUNT],
  ["target-group-size", COUNT],
  ["quorum-initial-group-size", COUNT],
  // Retries with a delay: the first three are RabbitMQ's, the others Quayside's.
  ["delayed-retry-type", oneOf("all", "failed", "returned", "disabled")],
  ["delayed-retry-min", COUNT],
  ["delayed-retry-max", COUNT],
  ["delayed-retry-multiplier", { expected: "a number from 1 to 100", accepts: number(1, 100) }],
  ["delayed-retry-jitter", { expected: "a number from 0 to 1", accepts: number(0, 1) }],
  ["delayed-retry-rejects", { expected: "true or false", accepts: boolean }],
  // Names of messages that came twice.
  ["message-deduplication", { expected: "true or false", accepts: boolean }],
  ["deduplication-header", { expected: "the name of a header", accepts: text }],
  ["cache-size", COUNT],
  ["cache-ttl", COUNT],
  // Dead letters of queue Q go to queue Q + suffix, which the broker declares.
  ["dead-letter-suffix", { expected: "a text of 1 to 64 characters", accepts: suffix }],
  // Mirroring went with RabbitMQ 4; definitions of older brokers still say these.
  ["ha-mode", { expected: "a mode", accepts: text }],
  ["ha-params", { expected: "anything", accepts: () => true }],
  ["ha-sync-mode", oneOf("manual", "automatic")],
  ["ha-sync-batch-size", COUNT],
  ["ha-promote-on-shutdown", oneOf("when-synced", "always")],
  ["ha-promote-on-failure", oneOf("when-synced", "always")],
  ["federation-upstream", { expected: "the name of an upstream", accepts: text }],
  ["federation-upstream-set", { expected: "the name of a set of upstreams", accepts: text }],
  ["federation-upstream-pattern", { expected: "a pattern", accepts: text }],
]);

const APPLY_TO: ReadonlySet<string> = new Set([
  "all",
  "queues",
  "exchanges",
  "classic_queues",
  "quorum_queues",
  "streams",
] satisfies ApplyTo[]);

export function isApplyTo(text: string): text is ApplyTo {
  return APPLY_TO.has(text);
}

/** Throws "precondition-failed" with the key that is wrong and what it should be. */
export function checkDefinition(kind: PolicyKind, definition: ReadonlyMap<string, JsonValue>): void {
  if (definition.size === 0) throw preconditionFailed("the definition of a policy sets at least one key");
  for (const [name, value] of definition) {
    const key = KEYS.get(name);
    if (key === undefined || (kind === "operator-policy" && key.operator !== true)) {
      throw preconditionFailed(`'${name}' is not a key of ${kind === "policy" ? "policies" : "operator policies"}`);
    }
    if (!key.accepts(value)) {
      throw preconditionFailed(`'${name}' is ${key.expected}, not ${JSON.stringify(value)}`);
    }
  }
}
