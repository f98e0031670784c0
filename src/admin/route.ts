// What a route is, and what its handler gets: the request with its parts read and checked, and who asks.

import type { Actor, Role } from "../broker/access/roles.ts";
import { hasRole } from "../broker/access/roles.ts";
import { LIMITS } from "../limits.ts";
import { BrokerError, DecodeError } from "../model/errors.ts";
import type { HttpRequest } from "../ports/http.ts";
import type { Admin } from "./admin.ts";
import { parseJson } from "./json-text.ts";

/**
 * Who may ask: everybody; without a login whoever is on this machine, others with the role "viewer"; whoever
 * has this role.
 */
export type Access = "everybody" | "local" | Role;

export interface Route {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  /** With names of parameters in braces: `/api/queues/{vhost}/{name}`. */
  readonly path: string;
  /** One sentence for the documentation. */
  readonly summary: string;
  readonly role: Access;
  readonly handler: (call: Call) => Answer | Promise<Answer>;
}

/** What a handler answers. */
export interface Answer {
  readonly status: number;
  readonly contentType?: string;
  /** Text as it is; anything else becomes JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

interface CallParts {
  readonly admin: Admin;
  readonly request: HttpRequest;
  readonly parameters: Readonly<Record<string, string | undefined>>;
  readonly query: URLSearchParams;
  readonly actor: Actor | undefined;
}

export class Call {
  readonly admin: Admin;
  readonly query: URLSearchParams;
  readonly #request: HttpRequest;
  readonly #parameters: CallParts["parameters"];
  readonly #actor: Actor | undefined;

  constructor({ admin, request, parameters, query, actor }: CallParts) {
    this.admin = admin;
    this.query = query;
    this.#request = request;
    this.#parameters = parameters;
    this.#actor = actor;
  }

  /** Who asks; routes without a login have nobody. */
  get actor(): Actor {
    if (this.#actor === undefined) throw new BrokerError("access-refused", "this needs a login");
    return this.#actor;
  }

  /** Nobody had to log in: the route is open to whoever asks from here. */
  get isAnonymous(): boolean {
    return this.#actor === undefined;
  }

  /** A parameter of the path, decoded. */
  parameter(name: string): string {
    return this.#parameters[name] ?? "";
  }

  /** A vhost that exists and that the actor may see. Throws "not-found", "access-refused". */
  vhost(name = this.parameter("vhost")): string {
    const { vhosts } = this.admin.broker.management;
    if (!vhosts.exists(name)) throw new BrokerError("not-found", `vhost '${name}' does not exist`);
    if (!this.sees(name)) {
      throw new BrokerError("access-refused", `user '${this.actor.user}' has no permission in vhost '${name}'`);
    }
    return name;
  }

  /** The actor may look into this vhost. */
  sees(vhost: string): boolean {
    return this.seesAll || this.admin.broker.management.vhosts.mayEnter(this.actor, vhost);
  }

  /** The actor sees every vhost and every connection. */
  get seesAll(): boolean {
    return hasRole(this.actor, "admin") || this.actor.tags.includes("monitoring");
  }

  header(name: string): string | undefined {
    return this.#request.header(name);
  }

  /** The body as parsed JSON; undefined when there is none. Rejects with DecodeError, BodyRefused. */
  async json(bytesMax: number = LIMITS.httpBodyBytesMax): Promise<unknown> {
    const bytes = await this.#request.body(bytesMax);
    return bytes.length === 0 ? undefined : parseJson(bytes);
  }

  /** The body as a JSON object; an empty one counts as {}. Rejects with DecodeError, BodyRefused. */
  async object(bytesMax: number = LIMITS.httpBodyBytesMax): Promise<Readonly<Record<string, unknown>>> {
    const value = (await this.json(bytesMax)) ?? {};
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new DecodeError("the body is not a JSON object");
    }
    return value as Readonly<Record<string, unknown>>;
  }
}
