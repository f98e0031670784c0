// What a user may do in a vhost. A decision costs a regular expression once per name; it is kept until
// users or permissions change.

import { LIMITS } from "../../limits.ts";
import { NamePattern } from "../name-pattern.ts";
import { accessRefused } from "../refusals.ts";
import type { AccessRecords } from "./records.ts";

export type Permission = "configure" | "write" | "read";

/** What permissions are asked for. The default exchange is asked for as "amq.default". */
export interface Named {
  readonly kind: "queue" | "exchange";
  readonly name: string;
}

/** The rights of one user in one vhost, or of the broker itself. */
export interface Grants {
  /** Throws "access-refused", in RabbitMQ's words. */
  check(permission: Permission, thing: Named): void;
  may(permission: Permission, thing: Named): boolean;
  /** Throws "access-refused" when the user's rights on this topic exchange leave out the routing key. */
  checkTopic(permission: "write" | "read", exchange: string, routingKey: string): void;
}

/** For what the broker does by itself. */
export const ALL_GRANTS: Grants = { check: () => undefined, may: () => true, checkTopic: () => undefined };

/** Gives out the rights of users, and forgets them all when anything about access changes. */
export class Access {
  readonly #records: AccessRecords;
  readonly #grants = new Map<string, Grants>();
  #version = 0;

  constructor(records: AccessRecords) {
    this.#records = records;
  }

  grantsOf(user: string, vhost: string): Grants {
    if (this.#version !== this.#records.version || this.#grants.size >= LIMITS.connectionsMax) {
      this.#grants.clear();
      this.#version = this.#records.version;
    }
    const key = `${vhost.length}:${vhost}${user}`;
    let grants = this.#grants.get(key);
    if (grants === undefined) {
      grants = new UserGrants(this.#records, user, vhost);
      this.#grants.set(key, grants);
    }
    return grants;
  }

  /** The user has any permission here at all: a condition for entering the vhost. */
  mayEnter(user: string, vhost: string): boolean {
    return this.#records.permission(vhost, user) !== undefined;
  }
}

class UserGrants implements Grants {
  readonly #records: AccessRecords;
  readonly #user: string;
  readonly #vhost: string;
  readonly #patterns: Readonly<Record<Permission, NamePattern>> | undefined;
  readonly #decisions = new Map<string, boolean>();
  readonly #topics = new Map<string, NamePattern>();

  constructor(records: AccessRecords, user: string, vhost: string) {
    this.#records = records;
    this.#user = user;
    this.#vhost = vhost;
    const permission = records.permission(vhost, user);
    this.#patterns = permission && {
      configure: patternOf(permission.configure),
      write: patternOf(permission.write),
      read: patternOf(permission.read),
    };
  }

  check(permission: Permission, thing: Named): void {
    if (this.may(permission, thing)) return;
    const name = `${thing.kind} '${nameOf(thing)}' in vhost '${this.#vhost}'`;
    throw accessRefused(`${permission} access to ${name} refused for user '${this.#user}'`);
  }

  may(permission: Permission, thing: Named): boolean {
    const pattern = this.#patterns?.[permission];
    if (pattern === undefined) return false;
    return this.#decide(`${permission}\0${nameOf(thing)}`, () => pattern.matches(nameOf(thing)));
  }

  checkTopic(permission: "write" | "read", exchange: string, routingKey: string): void {
    const record = this.#records.topicPermission(this.#vhost, this.#user, exchange);
    if (record === undefined) return;
    const allowed = this.#decide(`${permission} topic\0${exchange}\0${routingKey}`, () => {
      return this.#topicPattern(exchange, permission, record[permission]).matches(routingKey);
    });
    if (allowed) return;
    throw accessRefused(
      `${permission} access to topic '${routingKey}' in exchange ` +
        `'${exchange}' in vhost '${this.#vhost}' refused for user '${this.#user}'`,
    );
  }

  #decide(key: string, decide: () => boolean): boolean {
    let decision = this.#decisions.get(key);
    if (decision === undefined) {
      decision = decide();
      if (this.#decisions.size >= LIMITS.decisionsKeptMax) this.#decisions.clear();
      this.#decisions.set(key, decision);
    }
    return decision;
  }

  #topicPattern(exchange: string, permission: string, source: string): NamePattern {
    const key = `${permission}\0${exchange}`;
    let pattern = this.#topics.get(key);
    if (pattern === undefined) {
      // RabbitMQ's variables; {client_id} is MQTT's and stays as it is here.
      const filled = source
        .replaceAll("{username}", () => NamePattern.quote(this.#user))
        .replaceAll("{vhost}", () => NamePattern.quote(this.#vhost));
      pattern = patternOf(filled);
      this.#topics.set(key, pattern);
    }
    return pattern;
  }
}

function nameOf({ kind, name }: Named): string {
  return kind === "exchange" && name === "" ? "amq.default" : name;
}

/** The empty pattern grants nothing but the empty name. */
function patternOf(source: string): NamePattern {
  return NamePattern.compile(source === "" ? "^$" : source, "the pattern of a permission");
}
