// Making, changing and deleting users and what they may do: checks, refusals, decisions.

import { LIMITS } from "../../limits.ts";
import { BrokerError } from "../../model/errors.ts";
import { NamePattern } from "../name-pattern.ts";
import { checkNameLength, type Namespace } from "../namespace.ts";
import { preconditionFailed } from "../refusals.ts";
import {
  NO_LIMITS,
  type PermissionRecord,
  type TopicPermissionRecord,
  type UserLimits,
  type UserRecord,
} from "./records.ts";
import { NO_SECRET, type Secret } from "./secrets.ts";

/** What is left out keeps its value; a new user has no tags, no password and no limits. */
export interface UserChange {
  readonly tags?: readonly string[];
  readonly secret?: Secret;
  readonly limits?: UserLimits;
}

const TAGS_MAX = 32;

/** Throws "precondition-failed", "resource-limit". */
export function putUser(namespace: Namespace, name: string, change: UserChange): void {
  const { users } = namespace.state.access;
  checkUserName(name);
  const existing = users.get(name);
  if (existing === undefined && users.size >= LIMITS.usersMax) throw full("users", LIMITS.usersMax);
  const tags = change.tags ?? existing?.tags ?? [];
  if (tags.length > TAGS_MAX) throw preconditionFailed(`a user has at most ${TAGS_MAX} tags`);
  for (const tag of tags) checkNameLength(tag);
  const { limits = existing?.limits ?? NO_LIMITS } = change;
  for (const limit of Object.values(limits)) {
    if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 0)) {
      throw preconditionFailed(`a limit is an integer of at least 0, not ${limit}`);
    }
  }
  const user: UserRecord = {
    name,
    tags,
    secret: change.secret ?? existing?.secret ?? NO_SECRET,
    limits,
  };
  namespace.commit([{ kind: "user-put", user }]);
}

/** The user's permissions go with it. Throws "not-found". */
export function deleteUser(namespace: Namespace, name: string): void {
  userOf(namespace, name);
  namespace.commit([{ kind: "user-deleted", name }]);
}

/** Throws "not-found", "precondition-failed", "resource-limit". */
export function putPermission(namespace: Namespace, permission: PermissionRecord): void {
  checkPlace(namespace, permission);
  for (const kind of ["configure", "write", "read"] as const) {
    NamePattern.compile(permission[kind], `the pattern for '${kind}'`);
  }
  checkRoom(namespace, namespace.state.access.permission(permission.vhost, permission.user));
  namespace.commit([{ kind: "permission-put", permission }]);
}

/** One that is missing is fine. Throws "not-found" for an unknown user or vhost. */
export function deletePermission(namespace: Namespace, vhost: string, user: string): void {
  checkPlace(namespace, { vhost, user });
  if (namespace.state.access.permission(vhost, user) === undefined) return;
  namespace.commit([{ kind: "permission-deleted", vhost, user }]);
}

/** Throws "not-found", "precondition-failed", "resource-limit". */
export function putTopicPermission(namespace: Namespace, permission: TopicPermissionRecord): void {
  const { vhost, user, exchange } = permission;
  checkPlace(namespace, permission);
  checkNameLength(exchange);
  for (const kind of ["write", "read"] as const) NamePattern.compile(permission[kind], `the pattern for '${kind}'`);
  checkRoom(namespace, namespace.state.access.topicPermission(vhost, user, exchange));
  namespace.commit([{ kind: "topic-permission-put", permission }]);
}

/** Without an exchange, all of the user's in the vhost. Those that are missing are fine. */
export function deleteTopicPermission(
  namespace: Namespace,
  { vhost, user, exchange }: { readonly vhost: string; readonly user: string; readonly exchange?: string },
): void {
  checkPlace(namespace, { vhost, user });
  const all = [...namespace.state.access.topicPermissions()];
  const gone = all.filter(
    (each) => each.vhost === vhost && each.user === user && (exchange ?? each.exchange) === each.exchange,
  );
  namespace.commit(gone.map((each) => ({ kind: "topic-permission-deleted", vhost, user, exchange: each.exchange })));
}

export function userOf(namespace: Namespace, name: string): UserRecord {
  const user = namespace.state.access.users.get(name);
  if (user === undefined) throw new BrokerError("not-found", `user '${name}' does not exist`);
  return user;
}

function checkUserName(name: string): void {
  checkNameLength(name);
  if (name === "") throw preconditionFailed("a user has a name");
}

function checkPlace(namespace: Namespace, { vhost, user }: { readonly vhost: string; readonly user: string }): void {
  userOf(namespace, user);
  if (!namespace.topology.vhosts.has(vhost)) throw new BrokerError("not-found", `vhost '${vhost}' does not exist`);
}

function checkRoom(namespace: Namespace, existing: unknown): void {
  const { access } = namespace.state;
  if (existing === undefined && access.permissionCount >= LIMITS.permissionsMax) {
    throw full("permissions", LIMITS.permissionsMax);
  }
}

function full(what: string, limit: number): BrokerError {
  return new BrokerError("resource-limit", `the limit of ${limit} ${what} is reached`);
}
