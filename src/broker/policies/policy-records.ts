// Policies, operator policies and parameters: the part of the meta log's state that settings of queues
// and exchanges are made of. A state machine: `apply` is the only way in.

import { assert, unreachable } from "../../assert.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import type { PolicyEffect } from "./policy-effects.ts";

export type ApplyTo = "all" | "queues" | "exchanges" | "classic_queues" | "quorum_queues" | "streams";

/** Operator policies are a list of their own, merged into the others. */
export type PolicyKind = "policy" | "operator-policy";

export interface PolicyRecord {
  readonly vhost: string;
  readonly name: string;
  readonly pattern: string;
  readonly applyTo: ApplyTo;
  readonly priority: number;
  readonly definition: ReadonlyMap<string, JsonValue>;
}

/** A runtime parameter of a vhost: kept for tools that put them there, without a meaning here. */
export interface ParameterRecord {
  readonly vhost: string;
  readonly component: string;
  readonly name: string;
  readonly value: JsonValue;
}

export interface GlobalParameterRecord {
  readonly name: string;
  readonly value: JsonValue;
}

type ByVhost<T> = Map<string, Map<string, T>>;

export class PolicyRecords {
  readonly globalParameters = new Map<string, GlobalParameterRecord>();
  readonly #policies: Readonly<Record<PolicyKind, ByVhost<PolicyRecord>>> = {
    policy: new Map(),
    "operator-policy": new Map(),
  };
  readonly #parameters: ByVhost<ParameterRecord> = new Map();

  /** Applies one decided change. Throws InvariantError when it does not fit the state: a bug. */
  apply(effect: PolicyEffect): void {
    switch (effect.kind) {
      case "policy-put":
      case "operator-policy-put":
        put(this.#policies[kindOf(effect.kind)], effect.policy.vhost, effect.policy.name, effect.policy);
        return;
      case "policy-deleted":
      case "operator-policy-deleted":
        remove(this.#policies[kindOf(effect.kind)], effect.vhost, effect.name);
        return;
      case "parameter-put":
        put(this.#parameters, effect.parameter.vhost, parameterKey(effect.parameter), effect.parameter);
        return;
      case "parameter-deleted":
        remove(this.#parameters, effect.vhost, parameterKey(effect));
        return;
      case "global-parameter-put":
        this.globalParameters.set(effect.parameter.name, effect.parameter);
        return;
      case "global-parameter-deleted":
        assert(this.globalParameters.delete(effect.name), "a deleted global parameter exists");
        return;
      default:
        unreachable(effect);
    }
  }

  /** Everything of a vhost goes with it. */
  vhostDeleted(vhost: string): void {
    this.#policies.policy.delete(vhost);
    this.#policies["operator-policy"].delete(vhost);
    this.#parameters.delete(vhost);
  }

  /** The policies of one kind in a vhost, by name. */
  policies(kind: PolicyKind, vhost: string): ReadonlyMap<string, PolicyRecord> {
    return this.#policies[kind].get(vhost) ?? NONE;
  }

  *allPolicies(kind: PolicyKind): Generator<PolicyRecord> {
    for (const byName of this.#policies[kind].values()) yield* byName.values();
  }

  parameter(vhost: string, component: string, name: string): ParameterRecord | undefined {
    return this.#parameters.get(vhost)?.get(parameterKey({ component, name }));
  }

  *parameters(): Generator<ParameterRecord> {
    for (const byKey of this.#parameters.values()) yield* byKey.values();
  }

  /** How many policies and parameters there are. Costs time in proportion to vhosts. */
  get count(): number {
    let count = this.globalParameters.size;
    for (const all of [this.#policies.policy, this.#policies["operator-policy"], this.#parameters]) {
      for (const inner of all.values()) count += inner.size;
    }
    return count;
  }

  /** The state as effects that rebuild it. */
  *durableState(): Generator<PolicyEffect> {
    for (const policy of this.allPolicies("policy")) yield { kind: "policy-put", policy };
    for (const policy of this.allPolicies("operator-policy")) yield { kind: "operator-policy-put", policy };
    for (const parameter of this.parameters()) yield { kind: "parameter-put", parameter };
    for (const parameter of this.globalParameters.values()) yield { kind: "global-parameter-put", parameter };
  }
}

const NONE: ReadonlyMap<string, PolicyRecord> = new Map();

function kindOf(kind: `${PolicyKind}-${"put" | "deleted"}`): PolicyKind {
  return kind.startsWith("operator-policy") ? "operator-policy" : "policy";
}

function put<T>(all: ByVhost<T>, vhost: string, key: string, value: T): void {
  const inner = all.get(vhost) ?? new Map<string, T>();
  inner.set(key, value);
  all.set(vhost, inner);
}

function remove<T>(all: ByVhost<T>, vhost: string, key: string): void {
  const inner = all.get(vhost);
  assert(inner?.delete(key) === true, "what is deleted exists");
  if (inner.size === 0) all.delete(vhost);
}

function parameterKey({ component, name }: { readonly component: string; readonly name: string }): string {
  return `${component.length}:${component}${name}`;
}
