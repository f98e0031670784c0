// What RabbitMQ's user tags mean here. A tag that is not listed grants nothing.
//
//   viewer    sees everything of the vhosts that it may enter     management, monitoring
//   operator  changes policies and parameters there as well       policymaker
//   admin     changes users, vhosts, permissions, limits          administrator

import { accessRefused } from "../refusals.ts";

export type Role = "viewer" | "operator" | "admin";

/** Somebody who uses the management interface, as `authenticate` found them. */
export interface Actor {
  readonly user: string;
  readonly tags: readonly string[];
}

const RANKS = { viewer: 1, operator: 2, admin: 3 } as const;
const ROLES: ReadonlyMap<string, Role> = new Map([
  ["management", "viewer"],
  ["monitoring", "viewer"],
  ["policymaker", "operator"],
  ["administrator", "admin"],
]);

/** The highest role among the tags; undefined when they open nothing. */
export function roleOf(tags: readonly string[]): Role | undefined {
  const roles = tags.map((tag) => ROLES.get(tag)).filter((role) => role !== undefined);
  return roles.sort((a, b) => RANKS[b] - RANKS[a])[0];
}

export function hasRole({ tags }: Actor, role: Role): boolean {
  const own = roleOf(tags);
  return own !== undefined && RANKS[own] >= RANKS[role];
}

/** Throws "access-refused". */
export function requireRole(actor: Actor, role: Role): void {
  if (!hasRole(actor, role)) throw accessRefused(`user '${actor.user}' needs the role '${role}' for this`);
}
