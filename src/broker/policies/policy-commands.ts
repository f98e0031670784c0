// Making, changing and deleting policies and parameters: checks, refusals, decisions.

import { LIMITS } from "../../limits.ts";
import { BrokerError } from "../../model/errors.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import { NamePattern } from "../name-pattern.ts";
import { checkNameLength, type Namespace } from "../namespace.ts";
import { preconditionFailed } from "../refusals.ts";
import { checkDefinition } from "./policy-definition.ts";
import type { ParameterRecord, PolicyKind, PolicyRecord } from "./policy-records.ts";

const PRIORITY_MAX = 2 ** 31;
const VALUE_BYTES_MAX = 64 * 1024;

/** Makes a policy or replaces the one of that name. Throws "not-found", "precondition-failed", "resource-limit". */
export function putPolicy(namespace: Namespace, kind: PolicyKind, policy: PolicyRecord): void {
  const { vhost, name, pattern, priority, definition } = policy;
  checkVhost(namespace, vhost);
  checkNameLength(name);
  if (name === "") throw preconditionFailed("a policy has a name");
  NamePattern.compile(pattern, `the pattern of policy '${name}'`);
  if (!Number.isSafeInteger(priority) || Math.abs(priority) > PRIORITY_MAX) {
    throw preconditionFailed(`the priority of a policy is an integer, not ${priority}`);
  }
  checkDefinition(kind, definition);
  checkSize(Object.fromEntries(definition), `the definition of policy '${name}'`);
  checkRoom(namespace, namespace.state.policies.policies(kind, vhost).get(name));
  namespace.commit([{ kind: `${kind}-put`, policy }]);
}

/** Throws "not-found". */
export function deletePolicy(namespace: Namespace, kind: PolicyKind, vhost: string, name: string): void {
  checkVhost(namespace, vhost);
  if (!namespace.state.policies.policies(kind, vhost).has(name)) {
    const what = kind === "policy" ? "policy" : "operator policy";
    throw new BrokerError("not-found", `${what} '${name}' does not exist in vhost '${vhost}'`);
  }
  namespace.commit([{ kind: `${kind}-deleted`, vhost, name }]);
}

/** Throws "not-found", "precondition-failed", "resource-limit". */
export function putParameter(namespace: Namespace, parameter: ParameterRecord): void {
  const { vhost, component, name, value } = parameter;
  checkVhost(namespace, vhost);
  for (const each of [component, name]) checkNameLength(each);
  checkSize(value, `parameter '${name}' of '${component}'`);
  checkRoom(namespace, namespace.state.policies.parameter(vhost, component, name));
  namespace.commit([{ kind: "parameter-put", parameter }]);
}

/** Throws "not-found". */
export function deleteParameter(namespace: Namespace, vhost: string, component: string, name: string): void {
  checkVhost(namespace, vhost);
  if (namespace.state.policies.parameter(vhost, component, name) === undefined) {
    throw new BrokerError("not-found", `parameter '${name}' of '${component}' does not exist in vhost '${vhost}'`);
  }
  namespace.commit([{ kind: "parameter-deleted", vhost, component, name }]);
}

/** Throws "precondition-failed", "resource-limit". */
export function putGlobalParameter(namespace: Namespace, name: string, value: JsonValue): void {
  checkNameLength(name);
  checkSize(value, `global parameter '${name}'`);
  checkRoom(namespace, namespace.state.policies.globalParameters.get(name));
  namespace.commit([{ kind: "global-parameter-put", parameter: { name, value } }]);
}

/** Throws "not-found". */
export function deleteGlobalParameter(namespace: Namespace, name: string): void {
  if (!namespace.state.policies.globalParameters.has(name)) {
    throw new BrokerError("not-found", `global parameter '${name}' does not exist`);
  }
  namespace.commit([{ kind: "global-parameter-deleted", name }]);
}

function checkVhost(namespace: Namespace, vhost: string): void {
  if (!namespace.topology.vhosts.has(vhost)) throw new BrokerError("not-found", `vhost '${vhost}' does not exist`);
}

function checkSize(value: JsonValue, what: string): void {
  const bytes = Buffer.byteLength(JSON.stringify(value));
  if (bytes > VALUE_BYTES_MAX) throw preconditionFailed(`${what} has ${bytes} bytes, at most ${VALUE_BYTES_MAX}`);
}

function checkRoom(namespace: Namespace, existing: unknown): void {
  if (existing === undefined && namespace.state.policies.count >= LIMITS.policiesMax) {
    throw new BrokerError("resource-limit", `the limit of ${LIMITS.policiesMax} policies and parameters is reached`);
  }
}
