// Policies, operator policies and parameters.

import { BrokerError } from "../../model/errors.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import { hasRole, requireRole, type Actor, type Role } from "../access/roles.ts";
import type { Namespace } from "../namespace.ts";
import {
  deleteGlobalParameter,
  deleteParameter,
  deletePolicy,
  putGlobalParameter,
  putParameter,
  putPolicy,
} from "../policies/policy-commands.ts";
import { isApplyTo } from "../policies/policy-definition.ts";
import type { GlobalParameterRecord, ParameterRecord, PolicyKind, PolicyRecord } from "../policies/policy-records.ts";
import { safeDefaults } from "../policies/safe-defaults.ts";
import { accessRefused, preconditionFailed } from "../refusals.ts";
import { putVhost, vhostLimitsOf } from "../vhost-commands.ts";

/** A policy as tools write it; what is left out has RabbitMQ's default. */
export interface PolicySettings {
  readonly pattern: string;
  readonly definition: ReadonlyMap<string, JsonValue>;
  /** Default "all". */
  readonly applyTo?: string;
  /** Default 0. */
  readonly priority?: number;
}

/** In RabbitMQ the limits of a vhost are a parameter. */
const VHOST_LIMITS = { component: "vhost-limits", name: "limits" } as const;

export class PolicyManagement {
  readonly #namespace: Namespace;

  constructor(namespace: Namespace) {
    this.#namespace = namespace;
  }

  /** The policies of one kind in one vhost, or in all. */
  list(kind: PolicyKind, vhost?: string): readonly PolicyRecord[] {
    const { policies } = this.#namespace.state;
    return vhost === undefined ? [...policies.allPolicies(kind)] : [...policies.policies(kind, vhost).values()];
  }

  get(kind: PolicyKind, vhost: string, name: string): PolicyRecord | undefined {
    return this.#namespace.state.policies.policies(kind, vhost).get(name);
  }

  /** Returns whether it is new. Throws "access-refused", "not-found", "precondition-failed". */
  put(actor: Actor, kind: PolicyKind, vhost: string, name: string, settings: PolicySettings): boolean {
    this.#admit(actor, roleFor(kind), vhost);
    const isNew = this.get(kind, vhost, name) === undefined;
    const { pattern, definition, applyTo = "all", priority = 0 } = settings;
    if (!isApplyTo(applyTo)) throw preconditionFailed(`a policy applies to no '${applyTo}'`);
    putPolicy(this.#namespace, kind, { vhost, name, pattern, applyTo, priority, definition });
    return isNew;
  }

  /** The policy that gives queues retries and a dead-letter queue each; see policies/safe-defaults.ts. */
  putSafeDefaults(actor: Actor, vhost: string, pattern: string, name?: string): PolicyRecord {
    this.#admit(actor, "operator", vhost);
    const policy = safeDefaults(vhost, pattern, name);
    putPolicy(this.#namespace, "policy", policy);
    return policy;
  }

  /** Throws "access-refused", "not-found". */
  delete(actor: Actor, kind: PolicyKind, vhost: string, name: string): void {
    this.#admit(actor, roleFor(kind), vhost);
    deletePolicy(this.#namespace, kind, vhost, name);
  }

  /** The runtime parameters of all vhosts; limits of vhosts are not among them. */
  parameters(): readonly ParameterRecord[] {
    return [...this.#namespace.state.policies.parameters()];
  }

  parameter(vhost: string, component: string, name: string): ParameterRecord | undefined {
    return this.#namespace.state.policies.parameter(vhost, component, name);
  }

  /** Throws "access-refused", "not-found", "precondition-failed". */
  putParameter(actor: Actor, parameter: ParameterRecord): void {
    const { vhost, component, name, value } = parameter;
    if (component === VHOST_LIMITS.component && name === VHOST_LIMITS.name) {
      this.#admit(actor, "admin", vhost);
      if (!this.#namespace.topology.vhosts.has(vhost)) {
        throw new BrokerError("not-found", `vhost '${vhost}' does not exist`);
      }
      putVhost(this.#namespace, vhost, { limits: vhostLimitsOf(value) });
      return;
    }
    this.#admit(actor, "operator", vhost);
    putParameter(this.#namespace, parameter);
  }

  /** Throws "access-refused", "not-found". */
  deleteParameter(actor: Actor, vhost: string, component: string, name: string): void {
    this.#admit(actor, "operator", vhost);
    deleteParameter(this.#namespace, vhost, component, name);
  }

  globalParameters(): readonly GlobalParameterRecord[] {
    return [...this.#namespace.state.policies.globalParameters.values()];
  }

  /** Throws "access-refused", "precondition-failed". */
  putGlobalParameter(actor: Actor, name: string, value: JsonValue): void {
    this.#admit(actor, "operator");
    putGlobalParameter(this.#namespace, name, value);
  }

  /** Throws "access-refused", "not-found". */
  deleteGlobalParameter(actor: Actor, name: string): void {
    this.#admit(actor, "operator");
    deleteGlobalParameter(this.#namespace, name);
  }

  /** Operators act in the vhosts that they may enter, administrators in all. */
  #admit(actor: Actor, role: Role, vhost?: string): void {
    requireRole(actor, role);
    this.#namespace.assertAvailable();
    if (vhost === undefined || hasRole(actor, "admin")) return;
    if (this.#namespace.state.access.permission(vhost, actor.user) !== undefined) return;
    throw accessRefused(`user '${actor.user}' has no access to vhost '${vhost}'`);
  }
}

function roleFor(kind: PolicyKind): Role {
  return kind === "policy" ? "operator" : "admin";
}
