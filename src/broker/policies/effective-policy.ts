// Which policy holds for a queue or an exchange, and what it says: of those that match, the one with the
// highest priority; of operator policies likewise, merged in so that nobody gets more than the operator
// grants. Compiled patterns are kept until the policies of the vhost change.

import { LIMITS } from "../../limits.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import type { ExchangeSettings, QueueRecord } from "../effects.ts";
import { NamePattern } from "../name-pattern.ts";
import type { ApplyTo, PolicyKind, PolicyRecord, PolicyRecords } from "./policy-records.ts";

export type Definition = ReadonlyMap<string, JsonValue>;

export interface EffectivePolicy {
  /** Names of the policies that hold; undefined when none does. */
  readonly policy: string | undefined;
  readonly operatorPolicy: string | undefined;
  /** What each says, by RabbitMQ's names. */
  readonly own: Definition;
  readonly operators: Definition;
  /** What they say together. */
  readonly definition: Definition;
}

const NOTHING: Definition = new Map();

export const NO_POLICY: EffectivePolicy = {
  policy: undefined,
  operatorPolicy: undefined,
  own: NOTHING,
  operators: NOTHING,
  definition: NOTHING,
};

/** Quayside's own key: dead letters of queue Q go to queue Q + suffix, which the broker declares. */
const SUFFIX = "dead-letter-suffix";

interface Compiled {
  readonly record: PolicyRecord;
  readonly pattern: NamePattern;
}

export class Policies {
  readonly #records: PolicyRecords;
  readonly #compiled = new Map<string, Readonly<Record<PolicyKind, readonly Compiled[]>>>();

  constructor(records: PolicyRecords) {
    this.#records = records;
  }

  /** To be called when a policy of the vhost, or the vhost itself, has changed. */
  forget(vhost: string): void {
    this.#compiled.delete(vhost);
  }

  ofQueue(queue: QueueRecord): EffectivePolicy {
    const types: ReadonlySet<ApplyTo> = queue.quorum ? QUORUM : CLASSIC;
    return this.#effective(queue.vhost, queue.name, (record) => types.has(record.applyTo) && fits(record, queue));
  }

  ofExchange({ vhost, name }: ExchangeSettings): EffectivePolicy {
    return this.#effective(vhost, name, ({ applyTo }) => applyTo === "exchanges" || applyTo === "all");
  }

  #effective(vhost: string, name: string, applies: (record: PolicyRecord) => boolean): EffectivePolicy {
    const compiled = this.#compile(vhost);
    if (compiled.policy.length === 0 && compiled["operator-policy"].length === 0) return NO_POLICY;
    const find = (kind: PolicyKind): PolicyRecord | undefined => {
      return compiled[kind].find(({ record, pattern }) => applies(record) && pattern.matches(name))?.record;
    };
    const [policy, operatorPolicy] = [find("policy"), find("operator-policy")];
    if (policy === undefined && operatorPolicy === undefined) return NO_POLICY;
    const own = withDeadLetterQueue(name, policy?.definition ?? NOTHING);
    const operators = operatorPolicy?.definition ?? NOTHING;
    const definition = merged(own, operators);
    return { policy: policy?.name, operatorPolicy: operatorPolicy?.name, own, operators, definition };
  }

  #compile(vhost: string): Readonly<Record<PolicyKind, readonly Compiled[]>> {
    let compiled = this.#compiled.get(vhost);
    if (compiled === undefined) {
      const ofKind = (kind: PolicyKind): readonly Compiled[] => {
        const records = [...this.#records.policies(kind, vhost).values()].sort(byPriority);
        return records.map((record) => ({ record, pattern: NamePattern.compile(record.pattern, "the pattern") }));
      };
      compiled = { policy: ofKind("policy"), "operator-policy": ofKind("operator-policy") };
      this.#compiled.set(vhost, compiled);
    }
    return compiled;
  }
}

/** The queue that takes the dead letters of a queue with this policy, where the broker declares it. */
export function deadLetterQueueName(name: string, { definition }: EffectivePolicy): string | undefined {
  const suffix = definition.get(SUFFIX);
  return typeof suffix === "string" ? name + suffix : undefined;
}

export function samePolicy(a: EffectivePolicy, b: EffectivePolicy): boolean {
  if (a === b) return true;
  if (a.policy !== b.policy || a.operatorPolicy !== b.operatorPolicy) return false;
  return sameDefinition(a.own, b.own) && sameDefinition(a.operators, b.operators);
}

function sameDefinition(a: Definition, b: Definition): boolean {
  const text = (definition: Definition): string => JSON.stringify([...definition].sort(([x], [y]) => (x < y ? -1 : 1)));
  return a === b || text(a) === text(b);
}

const CLASSIC: ReadonlySet<ApplyTo> = new Set(["all", "queues", "classic_queues"]);
const QUORUM: ReadonlySet<ApplyTo> = new Set(["all", "queues", "quorum_queues"]);

/** The highest priority first; among equals the first name, so that it does not depend on history. */
function byPriority(a: PolicyRecord, b: PolicyRecord): number {
  return b.priority - a.priority || (a.name < b.name ? -1 : 1);
}

/**
 * A policy that gives queues a dead-letter queue of their own leaves out what is not there to stay: each reply
 * queue of a client would leave a durable queue behind.
 */
function fits({ definition }: PolicyRecord, { name, durable, autoDelete, ownerId }: QueueRecord): boolean {
  const suffix = definition.get(SUFFIX);
  if (typeof suffix !== "string") return true;
  const stays = durable && !autoDelete && ownerId === 0 && !name.startsWith("amq.");
  return stays && (name.endsWith(suffix) || Buffer.byteLength(name + suffix) <= LIMITS.nameBytesMax);
}

/** What comes to rest in a dead-letter queue stays there, however often somebody looks at it. */
const DEAD_LETTERS: Definition = new Map([["delivery-limit", -1]]);

function withDeadLetterQueue(name: string, definition: Definition): Definition {
  const suffix = definition.get(SUFFIX);
  if (typeof suffix !== "string") return definition;
  if (name.endsWith(suffix)) return DEAD_LETTERS;
  return new Map<string, JsonValue>([
    ...definition,
    ["dead-letter-exchange", ""],
    ["dead-letter-routing-key", name + suffix],
  ]);
}

function merged(own: Definition, operators: Definition): Definition {
  if (operators.size === 0) return own;
  const result = new Map(own);
  for (const [key, limit] of operators) {
    const value = own.get(key);
    result.set(key, value === undefined ? limit : stricter(key, value, limit));
  }
  return result;
}

/** As RabbitMQ merges: limits take the smaller value, the rest is the operator's. */
function stricter(key: string, value: JsonValue, limit: JsonValue): JsonValue {
  if (typeof value !== "number" || typeof limit !== "number" || key === "queue-version") return limit;
  // A negative delivery limit means none: any limit is stricter.
  if (key === "delivery-limit" && (value < 0 || limit < 0)) return Math.max(value, limit);
  return Math.min(value, limit);
}
