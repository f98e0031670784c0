// Definitions as a whole: out for a backup or another broker, in from one, RabbitMQ's included.

import { BrokerError, DecodeError } from "../../model/errors.ts";
import { requireRole, type Actor } from "../access/roles.ts";
import { decodeDefinitions, type Definitions } from "../definitions/decode.ts";
import { exportBroker, exportVhost, type JsonObject } from "../definitions/export.ts";
import { importDefinitions, type ImportParts, type ImportReport } from "../definitions/import.ts";
import { preconditionFailed } from "../refusals.ts";
import type { Vhost } from "../topology.ts";

export class DefinitionManagement {
  readonly #parts: ImportParts;

  constructor(parts: ImportParts) {
    this.#parts = parts;
  }

  /**
   * The whole broker, password hashes included, or one vhost, without its name. Costs time in proportion to
   * what is declared. Throws "access-refused", "not-found".
   */
  export(actor: Actor, vhost?: string): JsonObject {
    requireRole(actor, "admin");
    const { state } = this.#parts.namespace;
    return vhost === undefined ? exportBroker(state) : exportVhost(state, this.#vhost(vhost));
  }

  /**
   * Imports a parsed definitions file into the broker or, with `vhost`, what belongs into a vhost into that
   * one. Rejects with "precondition-failed" when the file makes no sense, and nothing is done then; with
   * "access-refused", "not-found".
   */
  async import(actor: Actor, json: unknown, vhost?: string): Promise<ImportReport> {
    requireRole(actor, "admin");
    this.#parts.namespace.assertAvailable();
    if (vhost !== undefined) this.#vhost(vhost);
    return importDefinitions(this.#parts, decoded(json, vhost));
  }

  #vhost(name: string): Vhost {
    const vhost = this.#parts.namespace.topology.vhosts.get(name);
    if (vhost === undefined) throw new BrokerError("not-found", `vhost '${name}' does not exist`);
    return vhost;
  }
}

function decoded(json: unknown, vhost: string | undefined): Definitions {
  try {
    return decodeDefinitions(json, vhost);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw preconditionFailed(error.message);
  }
}
