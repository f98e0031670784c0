// What the arguments of a queue declaration mean in this version. An argument that clients know and
// that would change what happens to messages is refused as long as it does nothing here: an argument
// that is ignored in silence loses messages, or keeps them, against the user's word.

import type { FieldTable } from "../model/field-table.ts";
import { sameFieldValue } from "../model/field-table-json.ts";
import type { QueueRecord } from "./effects.ts";
import type { QueueDeclaration } from "./facade.ts";
import {
  argumentsDiffer,
  assertEquivalent,
  locked,
  notYet,
  preconditionFailed,
  resource,
  wireType,
} from "./refusals.ts";

const TYPE = "x-queue-type";

/** Known to clients, without a meaning here yet. */
const NOT_YET: ReadonlySet<string> = new Set([
  "x-message-ttl",
  "x-expires",
  "x-max-length",
  "x-max-length-bytes",
  "x-overflow",
  "x-dead-letter-exchange",
  "x-dead-letter-routing-key",
  "x-dead-letter-strategy",
  "x-max-priority",
  "x-delivery-limit",
  "x-single-active-consumer",
  "x-consumer-timeout",
  "x-consumer-disconnected-timeout",
  "x-delayed-retry-type",
  "x-delayed-retry-min",
  "x-delayed-retry-max",
  "x-message-deduplication",
  "x-cache-size",
  "x-cache-ttl",
  "x-deduplication-header",
  "x-max-age",
  "x-stream-max-segment-size-bytes",
  "x-stream-filter-size-bytes",
  "x-name-prefix",
]);

/** Arguments without an effect on messages that a second declaration must repeat. */
const COMPARED_CLASSIC = ["x-queue-mode", "x-queue-version", "x-queue-leader-locator", "x-queue-master-locator"];
const COMPARED_QUORUM = [
  "x-quorum-initial-group-size",
  "x-max-in-memory-length",
  "x-max-in-memory-bytes",
  "x-queue-leader-locator",
];

/** Settings of a queue that follow from its declaration, once the declaration is found valid. */
export interface QueueTraits {
  readonly durable: boolean;
  readonly quorum: boolean;
}

/** Checks the arguments of a declaration. Throws "precondition-failed". */
export function checkQueueArguments(declaration: QueueDeclaration, name: string, vhost: string): QueueTraits {
  const thing = resource("queue", name, vhost);
  for (const argument of declaration.arguments.keys()) {
    if (NOT_YET.has(argument)) throw notYet(`argument '${argument}'`, thing);
  }
  // An exclusive queue dies with its connection, so durability means nothing to it (RabbitMQ drops the flag).
  const durable = declaration.durable && !declaration.exclusive;
  const quorum = queueType(declaration.arguments, thing) === "quorum";
  if (quorum) {
    if (declaration.name === "")
      throw preconditionFailed("Cannot declare a server-named queue for type rabbit_quorum_queue");
    if (declaration.autoDelete) throw preconditionFailed(`invalid property 'auto-delete' for ${thing}`);
    if (declaration.exclusive) throw preconditionFailed(`invalid property 'exclusive-owner' for ${thing}`);
    if (!durable) throw preconditionFailed(`invalid property 'non-durable' for ${thing}`);
  }
  return { durable, quorum };
}

/**
 * Checks that a second declaration asks for what the queue is. `ownerId` is the declaring session's id
 * when it asks for an exclusive queue, else 0. Throws "resource-locked" or "precondition-failed".
 */
export function checkSameQueue(record: QueueRecord, declaration: QueueDeclaration, ownerId: number): void {
  if (record.ownerId !== ownerId) throw locked(record.name, record.vhost);
  const thing = resource("queue", record.name, record.vhost);
  const durable = declaration.durable && !declaration.exclusive;
  assertEquivalent("durable", thing, { received: durable, current: record.durable });
  assertEquivalent("auto_delete", thing, { received: declaration.autoDelete, current: record.autoDelete });
  const received = declaration.arguments;
  assertEquivalent(TYPE, thing, { received: queueType(received, thing), current: queueType(record.arguments, thing) });
  for (const argument of record.quorum ? COMPARED_QUORUM : COMPARED_CLASSIC) {
    const now = received.get(argument);
    const then = record.arguments.get(argument);
    if (now === undefined && then === undefined) continue;
    if (now !== undefined && then !== undefined && sameFieldValue(now, then)) continue;
    throw argumentsDiffer(argument, thing, now, then);
  }
}

function queueType(args: FieldTable, thing: string): "classic" | "quorum" {
  const type = args.get(TYPE);
  if (type === undefined || type === "classic") return "classic";
  if (type === "quorum") return "quorum";
  if (type === "stream") throw notYet(`queue type 'stream'`, thing);
  const reason =
    typeof type === "string" ? `"unsupported queue type '${type}'"` : `{unacceptable_type,${wireType(type)}}`;
  throw preconditionFailed(`invalid arg '${TYPE}' for ${thing}: ${reason}`);
}
