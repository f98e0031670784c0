// Vhosts and their limits, for administrators.

import { BrokerError } from "../../model/errors.ts";
import { hasRole, requireRole, type Actor } from "../access/roles.ts";
import type { VhostLimits, VhostRecord } from "../effects.ts";
import type { Namespace } from "../namespace.ts";
import type { Sessions } from "../sessions.ts";
import { deleteVhost, putVhost, type VhostSettings } from "../vhost-commands.ts";

export interface VhostView extends VhostRecord {
  readonly queueCount: number;
  readonly sessionCount: number;
}

export class VhostManagement {
  readonly #namespace: Namespace;
  readonly #sessions: Sessions;

  constructor(namespace: Namespace, sessions: Sessions) {
    this.#namespace = namespace;
    this.#sessions = sessions;
  }

  /** Every vhost, the oldest first. */
  list(): readonly VhostView[] {
    const sessions = new Map<string, number>();
    for (const { vhost } of this.#sessions.all()) sessions.set(vhost, (sessions.get(vhost) ?? 0) + 1);
    return Array.from(this.#namespace.topology.vhosts.values(), ({ name, record, queues }) => {
      return { ...record, queueCount: queues.size, sessionCount: sessions.get(name) ?? 0 };
    });
  }

  exists(name: string): boolean {
    return this.#namespace.topology.vhosts.has(name);
  }

  get(name: string): VhostView | undefined {
    return this.list().find((vhost) => vhost.name === name);
  }

  /** The vhosts that somebody sees: where the user may enter; all for monitoring and administrators. */
  visibleTo(actor: Actor): readonly VhostView[] {
    if (hasRole(actor, "admin") || actor.tags.includes("monitoring")) return this.list();
    return this.list().filter(({ name }) => this.mayEnter(actor, name));
  }

  /** The user has a permission in the vhost. */
  mayEnter({ user }: Actor, vhost: string): boolean {
    return this.#namespace.state.access.permission(vhost, user) !== undefined;
  }

  /**
   * Makes a vhost or changes its settings; who makes one may do everything in it. Returns whether it is new.
   * Throws "access-refused", "precondition-failed", "resource-limit".
   */
  put(actor: Actor, name: string, settings: VhostSettings): boolean {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    return putVhost(this.#namespace, name, { ...settings, owner: actor.user });
  }

  /** Deletes a vhost with everything in it and ends its connections. Throws "access-refused", "not-found". */
  delete(actor: Actor, name: string): void {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    deleteVhost(this.#namespace, name);
    this.#sessions.closeWhere(({ home }) => home.deleted, `vhost '${name}' is deleted`);
  }

  /** Sets or, with undefined, lifts limits; those that are left out stay. Throws as `put`, "not-found". */
  limit(actor: Actor, name: string, change: Partial<VhostLimits>): void {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    const vhost = this.#namespace.topology.vhosts.get(name);
    if (vhost === undefined) throw new BrokerError("not-found", `vhost '${name}' does not exist`);
    putVhost(this.#namespace, name, { limits: { ...vhost.record.limits, ...change } });
  }
}
