// Who there is and who may do what: the part of the meta log's state that access decisions are made of.
// A state machine like the topology: `apply` is the only way in.

import { assert, unreachable } from "../../assert.ts";
import type { AccessEffect } from "./access-effects.ts";
import type { Secret } from "./secrets.ts";

export interface UserLimits {
  readonly maxConnections: number | undefined;
  readonly maxChannels: number | undefined;
}

export interface UserRecord {
  readonly name: string;
  readonly tags: readonly string[];
  readonly secret: Secret;
  readonly limits: UserLimits;
}

/** What a user may do in a vhost, as patterns on the names of queues and exchanges. */
export interface PermissionRecord {
  readonly vhost: string;
  readonly user: string;
  readonly configure: string;
  readonly write: string;
  readonly read: string;
}

/** What a user may do with a topic exchange, as patterns on routing keys. */
export interface TopicPermissionRecord {
  readonly vhost: string;
  readonly user: string;
  readonly exchange: string;
  readonly write: string;
  readonly read: string;
}

export const NO_LIMITS: UserLimits = { maxConnections: undefined, maxChannels: undefined };

export class AccessRecords {
  readonly users = new Map<string, UserRecord>();
  /** By vhost and user. */
  readonly #permissions = new Map<string, PermissionRecord>();
  /** By vhost and user, then by exchange. */
  readonly #topicPermissions = new Map<string, Map<string, TopicPermissionRecord>>();
  /** Rises with every change. */
  version = 1;

  /** Applies one decided change. Throws InvariantError when it does not fit the state: a bug. */
  apply(effect: AccessEffect): void {
    this.version++;
    switch (effect.kind) {
      case "user-put":
        this.users.set(effect.user.name, effect.user);
        return;
      case "user-deleted":
        assert(this.users.delete(effect.name), "a deleted user exists");
        this.#forget((each) => each.user === effect.name);
        return;
      case "permission-put":
        this.#permissions.set(keyOf(effect.permission), effect.permission);
        return;
      case "permission-deleted":
        assert(this.#permissions.delete(keyOf(effect)), "a deleted permission exists");
        return;
      case "topic-permission-put":
        this.#putTopicPermission(effect.permission);
        return;
      case "topic-permission-deleted":
        this.#deleteTopicPermission(effect);
        return;
      default:
        unreachable(effect);
    }
  }

  /** What was granted in a vhost goes with it. */
  vhostDeleted(vhost: string): void {
    this.version++;
    this.#forget((each) => each.vhost === vhost);
  }

  permission(vhost: string, user: string): PermissionRecord | undefined {
    return this.#permissions.get(keyOf({ vhost, user }));
  }

  permissions(): IterableIterator<PermissionRecord> {
    return this.#permissions.values();
  }

  get permissionCount(): number {
    return this.#permissions.size + this.#topicPermissions.size;
  }

  topicPermission(vhost: string, user: string, exchange: string): TopicPermissionRecord | undefined {
    return this.#topicPermissions.get(keyOf({ vhost, user }))?.get(exchange);
  }

  *topicPermissions(): Generator<TopicPermissionRecord> {
    for (const byExchange of this.#topicPermissions.values()) yield* byExchange.values();
  }

  /** The state as effects that rebuild it. */
  *durableState(): Generator<AccessEffect> {
    for (const user of this.users.values()) yield { kind: "user-put", user };
    for (const permission of this.permissions()) yield { kind: "permission-put", permission };
    for (const permission of this.topicPermissions()) yield { kind: "topic-permission-put", permission };
  }

  #putTopicPermission(permission: TopicPermissionRecord): void {
    const key = keyOf(permission);
    const byExchange = this.#topicPermissions.get(key) ?? new Map<string, TopicPermissionRecord>();
    byExchange.set(permission.exchange, permission);
    this.#topicPermissions.set(key, byExchange);
  }

  #deleteTopicPermission(what: { readonly vhost: string; readonly user: string; readonly exchange: string }): void {
    const key = keyOf(what);
    const byExchange = this.#topicPermissions.get(key);
    assert(byExchange?.delete(what.exchange) === true, "a deleted topic permission exists");
    if (byExchange.size === 0) this.#topicPermissions.delete(key);
  }

  #forget(concerns: (permission: { readonly vhost: string; readonly user: string }) => boolean): void {
    for (const [key, permission] of this.#permissions) if (concerns(permission)) this.#permissions.delete(key);
    for (const [key, byExchange] of this.#topicPermissions) {
      const [first] = byExchange.values();
      if (first !== undefined && concerns(first)) this.#topicPermissions.delete(key);
    }
  }
}

/** The first part is told by its length, so that no two pairs share a key. */
function keyOf({ vhost, user }: { readonly vhost: string; readonly user: string }): string {
  return `${vhost.length}:${vhost}${user}`;
}
