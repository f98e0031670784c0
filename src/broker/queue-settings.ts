// What a queue does, as the shard is told: from the arguments of its declaration, its policy and its
// operator policy. Policy keys are the arguments without "x-". An argument beats the policy, except that
// of two limits or lifetimes the lower one holds; an operator policy can only lower them.

import { LIMITS } from "../limits.ts";
import type { FieldValue } from "../model/field-table.ts";
import type { JsonValue } from "../model/field-table-json.ts";
import { type DedupSettings, PLAIN_SETTINGS, type QueueSettings, type RetrySettings } from "../queues/shard-port.ts";
import type { QueueRecord } from "./effects.ts";

/** The definition of a policy. */
export type Definition = ReadonlyMap<string, JsonValue>;

const NO_DEFINITION: Definition = new Map();
/** RabbitMQ 4: a message of a quorum queue comes back at most so often. */
const QUORUM_DELIVERY_LIMIT = 20;
const RETRY_MIN_MS = 1000;
const RETRY_MAX_MS = 300_000;

/** The settings of a queue under its policies (those that apply to it; undefined: none does). */
export function queueSettings(
  record: Pick<QueueRecord, "durable" | "quorum" | "arguments">,
  policy: Definition = NO_DEFINITION,
  operatorPolicy: Definition = NO_DEFINITION,
): QueueSettings {
  const wishes = new Wishes(record.arguments, policy, operatorPolicy);
  const limit = wishes.least("delivery-limit") ?? (record.quorum ? QUORUM_DELIVERY_LIMIT : undefined);
  return {
    ...PLAIN_SETTINGS,
    durable: record.durable,
    deliverAfterCommit: record.quorum,
    priorityMax: wishes.number("max-priority") ?? 0,
    messageTtlMs: wishes.least("message-ttl"),
    lengthMax: wishes.least("max-length"),
    bytesMax: wishes.least("max-length-bytes"),
    overflow: overflowOf(wishes.text("overflow")),
    deadLetters: wishes.text("dead-letter-exchange") !== undefined,
    deliveryLimit: limit === undefined || limit < 0 ? undefined : limit,
    retry: retryOf(wishes),
    singleActiveConsumer: wishes.flag("single-active-consumer"),
    consumerTimeoutMs: consumerTimeout(record, policy, operatorPolicy),
    expiresMs: wishes.least("expires"),
    dedup: dedupOf(wishes),
    groups: wishes.flag("message-group"),
  };
}

/** How long a delivery of the queue may wait for its ack, ms; undefined: for ever. */
export function consumerTimeout(
  record: Pick<QueueRecord, "arguments">,
  policy: Definition = NO_DEFINITION,
  operatorPolicy: Definition = NO_DEFINITION,
): number | undefined {
  const timeoutMs = new Wishes(record.arguments, policy, operatorPolicy).number("consumer-timeout");
  return timeoutMs === 0 ? undefined : (timeoutMs ?? LIMITS.consumerTimeoutMs);
}

/** Where a queue's dead letters go, and the key they get; undefined: nowhere. */
export function deadLetterTarget(
  record: Pick<QueueRecord, "arguments">,
  policy: Definition = NO_DEFINITION,
): { readonly exchange: string; readonly routingKey: string | undefined } | undefined {
  const wishes = new Wishes(record.arguments, policy, NO_DEFINITION);
  const exchange = wishes.text("dead-letter-exchange");
  return exchange === undefined ? undefined : { exchange, routingKey: wishes.text("dead-letter-routing-key") };
}

class Wishes {
  readonly #arguments: QueueRecord["arguments"];
  readonly #policy: Definition;
  readonly #operatorPolicy: Definition;

  constructor(queueArguments: QueueRecord["arguments"], policy: Definition, operatorPolicy: Definition) {
    this.#arguments = queueArguments;
    this.#policy = policy;
    this.#operatorPolicy = operatorPolicy;
  }

  text(key: string): string | undefined {
    return this.#first(key, (value) => (typeof value === "string" ? value : undefined));
  }

  number(key: string): number | undefined {
    return this.#first(key, numberOf);
  }

  flag(key: string): boolean {
    return this.#first(key, (value) => (typeof value === "boolean" ? value : undefined)) ?? false;
  }

  /** The lowest number that anybody set; a negative one stands for no limit. */
  least(key: string): number | undefined {
    const values = [this.#arguments.get(`x-${key}`), this.#policy.get(key), this.#operatorPolicy.get(key)]
      .map((value) => numberOf(value))
      .filter((value) => value !== undefined);
    if (values.length === 0) return undefined;
    const limits = values.filter((value) => value >= 0);
    return limits.length === 0 ? -1 : Math.min(...limits);
  }

  #first<T>(key: string, read: (value: FieldValue | JsonValue | undefined) => T | undefined): T | undefined {
    return read(this.#arguments.get(`x-${key}`)) ?? read(this.#policy.get(key)) ?? read(this.#operatorPolicy.get(key));
  }
}

function numberOf(value: FieldValue | JsonValue | undefined): number | undefined {
  if (typeof value === "bigint") return Number(value);
  return typeof value === "number" ? value : undefined;
}

function overflowOf(text: string | undefined): QueueSettings["overflow"] {
  return text === "reject-publish" || text === "reject-publish-dlx" ? text : "drop-head";
}

function retryOf(wishes: Wishes): RetrySettings | undefined {
  const when = wishes.text("delayed-retry-type");
  if (when !== "all" && when !== "failed" && when !== "returned") return undefined;
  const minMs = wishes.number("delayed-retry-min") ?? RETRY_MIN_MS;
  return {
    when,
    minMs,
    maxMs: Math.max(minMs, wishes.number("delayed-retry-max") ?? RETRY_MAX_MS),
    multiplier: wishes.number("delayed-retry-multiplier") ?? 0,
    jitter: wishes.number("delayed-retry-jitter") ?? 0,
    rejectsToo: wishes.flag("delayed-retry-rejects"),
  };
}

function dedupOf(wishes: Wishes): DedupSettings | undefined {
  if (!wishes.flag("message-deduplication")) return undefined;
  return {
    header: wishes.text("deduplication-header") ?? "",
    cacheMax: Math.min(wishes.number("cache-size") ?? LIMITS.dedupNamesMax, LIMITS.dedupNamesMax),
    windowMs: wishes.number("cache-ttl"),
  };
}
