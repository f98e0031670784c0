// Users, their permissions and limits, for administrators.

import { LIMITS } from "../../limits.ts";
import { DecodeError } from "../../model/errors.ts";
import type { Logins } from "../access/logins.ts";
import type { PermissionRecord, TopicPermissionRecord, UserLimits, UserRecord } from "../access/records.ts";
import { requireRole, type Actor } from "../access/roles.ts";
import { isRabbitHash, NO_SECRET, rabbitSecret, type Secret } from "../access/secrets.ts";
import {
  deletePermission,
  deleteTopicPermission,
  deleteUser,
  putPermission,
  putTopicPermission,
  putUser,
  userOf,
} from "../access/user-commands.ts";
import type { Namespace } from "../namespace.ts";
import { preconditionFailed } from "../refusals.ts";
import type { Sessions } from "../sessions.ts";

export interface UserView {
  readonly name: string;
  readonly tags: readonly string[];
  readonly limits: UserLimits;
  /** May log in with a password at all. */
  readonly hasPassword: boolean;
}

/** What is left out stays as it is. */
export interface UserSettings {
  readonly tags?: readonly string[];
  /** "" takes the password away: nobody logs in with one then. */
  readonly password?: string;
  /** A hash as definitions have it, instead of a password. */
  readonly passwordHash?: string;
  /** RabbitMQ's name; default "rabbit_password_hashing_sha256". */
  readonly hashingAlgorithm?: string;
}

export class UserManagement {
  readonly #namespace: Namespace;
  readonly #sessions: Sessions;
  readonly #logins: Logins;

  constructor(namespace: Namespace, sessions: Sessions, logins: Logins) {
    this.#namespace = namespace;
    this.#sessions = sessions;
    this.#logins = logins;
  }

  list(): readonly UserView[] {
    return Array.from(this.#namespace.state.access.users.values(), viewOf);
  }

  get(name: string): UserView | undefined {
    const user = this.#namespace.state.access.users.get(name);
    return user && viewOf(user);
  }

  /**
   * Makes a user or changes it: what is left out stays as it is. A new password is hashed first, in the line
   * of logins. Rejects with "access-refused", "precondition-failed", "resource-limit".
   */
  async put(actor: Actor, name: string, settings: UserSettings): Promise<{ readonly isNew: boolean }> {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    const secret = await this.#secret(settings);
    const isNew = !this.#namespace.state.access.users.has(name);
    putUser(this.#namespace, name, {
      ...(settings.tags === undefined ? {} : { tags: settings.tags }),
      ...(secret === undefined ? {} : { secret }),
    });
    return { isNew };
  }

  /** The user's permissions go with it, and its connections end. Throws "access-refused", "not-found". */
  delete(actor: Actor, name: string): void {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    deleteUser(this.#namespace, name);
    this.#sessions.closeWhere(({ user }) => user === name, `user '${name}' is deleted`);
  }

  /** Sets or, with undefined, lifts limits; those that are left out stay. Throws "access-refused", "not-found". */
  limit(actor: Actor, name: string, change: Partial<UserLimits>): void {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    putUser(this.#namespace, name, { limits: { ...userOf(this.#namespace, name).limits, ...change } });
  }

  permissions(): readonly PermissionRecord[] {
    return [...this.#namespace.state.access.permissions()];
  }

  permission(vhost: string, user: string): PermissionRecord | undefined {
    return this.#namespace.state.access.permission(vhost, user);
  }

  /** Throws "access-refused", "not-found", "precondition-failed". */
  putPermission(actor: Actor, permission: PermissionRecord): void {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    putPermission(this.#namespace, permission);
  }

  /** One that is missing is fine. Throws "access-refused", "not-found" for an unknown vhost or user. */
  deletePermission(actor: Actor, vhost: string, user: string): void {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    deletePermission(this.#namespace, vhost, user);
  }

  topicPermissions(): readonly TopicPermissionRecord[] {
    return [...this.#namespace.state.access.topicPermissions()];
  }

  /** Throws "access-refused", "not-found", "precondition-failed". */
  putTopicPermission(actor: Actor, permission: TopicPermissionRecord): void {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    putTopicPermission(this.#namespace, permission);
  }

  /** Without an exchange, all of the user's in the vhost. Throws as `deletePermission`. */
  deleteTopicPermission(
    actor: Actor,
    which: { readonly vhost: string; readonly user: string; readonly exchange?: string },
  ): void {
    requireRole(actor, "admin");
    this.#namespace.assertAvailable();
    deleteTopicPermission(this.#namespace, which);
  }

  #secret(settings: UserSettings): Promise<Secret> | Secret | undefined {
    const { password, passwordHash, hashingAlgorithm = "rabbit_password_hashing_sha256" } = settings;
    if (password !== undefined && passwordHash !== undefined) {
      throw preconditionFailed("a user gets a password or the hash of one, not both");
    }
    if (password === undefined)
      return passwordHash === undefined ? undefined : secretFromHash(passwordHash, hashingAlgorithm);
    if (password === "") return NO_SECRET;
    if (Buffer.byteLength(password) > LIMITS.passwordBytesMax) {
      throw preconditionFailed(`a password has at most ${LIMITS.passwordBytesMax} bytes`);
    }
    return this.#logins.secretOf(password);
  }
}

/** The empty hash lets nobody in with a password, as in RabbitMQ. Throws "precondition-failed". */
function secretFromHash(hash: string, algorithmName: string): Secret {
  if (hash === "") return NO_SECRET;
  const algorithm = algorithmName.replace(/^rabbit_password_hashing_/, "");
  if (!isRabbitHash(algorithm)) throw preconditionFailed(`unknown password hashing algorithm '${algorithmName}'`);
  try {
    return rabbitSecret(algorithm, hash);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw preconditionFailed(`the password hash is none: ${error.message}`);
  }
}

function viewOf({ name, tags, secret, limits }: UserRecord): UserView {
  return { name, tags, limits, hasPassword: secret.kind !== "none" };
}
