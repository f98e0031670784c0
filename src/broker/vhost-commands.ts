// Making, changing and deleting vhosts: checks, refusals, decisions.

import { LIMITS } from "../limits.ts";
import { BrokerError, DecodeError } from "../model/errors.ts";
import type { JsonValue } from "../model/field-table-json.ts";
import type { Effect, VhostLimits } from "./effects.ts";
import { JsonFields } from "./json-fields.ts";
import { checkNameLength, type Namespace } from "./namespace.ts";
import { preconditionFailed } from "./refusals.ts";

/** What is left out keeps its value, or its default in a new vhost. */
export interface VhostSettings {
  readonly description?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly defaultQueueType?: string | undefined;
  readonly limits?: VhostLimits | undefined;
  /** A user who may do everything in the vhost if it is made now. */
  readonly owner?: string;
}

const NO_LIMITS: VhostLimits = { maxConnections: undefined, maxQueues: undefined };

const QUEUE_TYPES: ReadonlySet<string> = new Set(["classic", "quorum", "stream"]);

/** Returns whether the vhost is new. Throws "precondition-failed", "resource-limit". */
export function putVhost(namespace: Namespace, name: string, settings: VhostSettings): boolean {
  const { vhosts } = namespace.topology;
  checkNameLength(name);
  if (name === "") throw preconditionFailed("a vhost has a name");
  const existing = vhosts.get(name)?.record;
  if (existing === undefined && vhosts.size >= LIMITS.vhostsMax) {
    throw new BrokerError(
      "resource-limit",
      `cannot create vhost '${name}': the limit of ${LIMITS.vhostsMax} vhosts is reached`,
    );
  }
  const { description = existing?.description ?? "", tags = existing?.tags ?? [] } = settings;
  const defaultQueueType = settings.defaultQueueType ?? existing?.defaultQueueType;
  if (defaultQueueType !== undefined && !QUEUE_TYPES.has(defaultQueueType)) {
    throw preconditionFailed(`vhost '${name}' cannot have the default queue type '${defaultQueueType}'`);
  }
  const limits = settings.limits ?? existing?.limits ?? NO_LIMITS;
  for (const limit of Object.values(limits)) {
    if (limit !== undefined && !(Number.isSafeInteger(limit) && limit >= 0)) {
      throw preconditionFailed(`a limit is an integer of at least 0, not ${limit}`);
    }
  }
  const effects: Effect[] = [{ kind: "vhost-put", vhost: { name, description, tags, defaultQueueType, limits } }];
  const { owner } = settings;
  if (existing === undefined && owner !== undefined && namespace.state.access.users.has(owner)) {
    const everything = { configure: ".*", write: ".*", read: ".*" };
    effects.push({ kind: "permission-put", permission: { vhost: name, user: owner, ...everything } });
  }
  namespace.commit(effects);
  return existing === undefined;
}

/** Throws "not-found". */
export function deleteVhost(namespace: Namespace, name: string): void {
  if (!namespace.topology.vhosts.has(name)) throw new BrokerError("not-found", `vhost '${name}' does not exist`);
  namespace.commit([{ kind: "vhost-deleted", name }]);
}

/** The limits as RabbitMQ's parameter "vhost-limits" says them. Throws "precondition-failed". */
export function vhostLimitsOf(value: JsonValue): VhostLimits {
  try {
    const fields = new JsonFields(value);
    const limit = (name: string): number | undefined => {
      const found = fields.optionalInteger(name);
      // A negative limit is RabbitMQ's way of saying none.
      return found === undefined || found < 0 ? undefined : found;
    };
    return { maxConnections: limit("max-connections"), maxQueues: limit("max-queues") };
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw preconditionFailed(`the limits of a vhost are max-connections and max-queues: ${error.message}`);
  }
}
