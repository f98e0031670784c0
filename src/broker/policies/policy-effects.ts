// Decided changes of policies and parameters, and their JSON in the meta log.

import { DecodeError } from "../../model/errors.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import { jsonOf, type JsonFields } from "../json-fields.ts";
import { isApplyTo } from "./policy-definition.ts";
import type { GlobalParameterRecord, ParameterRecord, PolicyRecord } from "./policy-records.ts";

export type PolicyEffect =
  /** Makes a policy or replaces the one of that name. */
  | { readonly kind: "policy-put" | "operator-policy-put"; readonly policy: PolicyRecord }
  | { readonly kind: "policy-deleted" | "operator-policy-deleted"; readonly vhost: string; readonly name: string }
  | { readonly kind: "parameter-put"; readonly parameter: ParameterRecord }
  | { readonly kind: "parameter-deleted"; readonly vhost: string; readonly component: string; readonly name: string }
  | { readonly kind: "global-parameter-put"; readonly parameter: GlobalParameterRecord }
  | { readonly kind: "global-parameter-deleted"; readonly name: string };

const KINDS: ReadonlySet<string> = new Set([
  "policy-put",
  "operator-policy-put",
  "policy-deleted",
  "operator-policy-deleted",
  "parameter-put",
  "parameter-deleted",
  "global-parameter-put",
  "global-parameter-deleted",
] satisfies PolicyEffect["kind"][]);

export function isPolicyEffect(effect: { readonly kind: string }): effect is PolicyEffect {
  return KINDS.has(effect.kind);
}

export function policyEffectToJson(effect: PolicyEffect): JsonValue {
  switch (effect.kind) {
    case "policy-put":
    case "operator-policy-put": {
      const { definition, ...rest } = effect.policy;
      return { kind: effect.kind, ...rest, definition: Object.fromEntries(definition) };
    }
    case "parameter-put":
    case "global-parameter-put":
      return { kind: effect.kind, ...effect.parameter };
    case "policy-deleted":
    case "operator-policy-deleted":
    case "parameter-deleted":
    case "global-parameter-deleted":
      return { ...effect };
  }
}

/** Reads what `policyEffectToJson` wrote. Throws DecodeError on anything else. */
export function policyEffectFromJson(kind: PolicyEffect["kind"], fields: JsonFields): PolicyEffect {
  const name = fields.string("name");
  switch (kind) {
    case "policy-put":
    case "operator-policy-put":
      return { kind, policy: policyFromJson(fields) };
    case "policy-deleted":
    case "operator-policy-deleted":
      return { kind, vhost: fields.string("vhost"), name };
    case "parameter-put": {
      const place = { vhost: fields.string("vhost"), component: fields.string("component") };
      return { kind, parameter: { ...place, name, value: jsonOf(fields.get("value")) } };
    }
    case "parameter-deleted":
      return { kind, vhost: fields.string("vhost"), component: fields.string("component"), name };
    case "global-parameter-put":
      return { kind, parameter: { name, value: jsonOf(fields.get("value")) } };
    case "global-parameter-deleted":
      return { kind, name };
  }
}

function policyFromJson(fields: JsonFields): PolicyRecord {
  const applyTo = fields.string("applyTo");
  if (!isApplyTo(applyTo)) throw new DecodeError(`a policy applies to ${applyTo}`);
  return {
    vhost: fields.string("vhost"),
    name: fields.string("name"),
    pattern: fields.string("pattern"),
    applyTo,
    priority: fields.integer("priority"),
    definition: fields.values("definition"),
  };
}
