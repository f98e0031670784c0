// queue.declare, queue.delete and queue.purge: checks, refusals, decisions.

import { LIMITS } from "../limits.ts";
import { BrokerError } from "../model/errors.ts";
import type { Effect } from "./effects.ts";
import type { QueueDeclaration, QueueStatus, Session } from "./facade.ts";
import { cleanName, type Namespace } from "./namespace.ts";
import { checkQueueArguments, checkSameQueue } from "./queue-arguments.ts";
import { limitReached, locked, notFound, preconditionFailed, reservedName, resource } from "./refusals.ts";
import type { Exchange, Queue } from "./topology.ts";

/** Random bytes in a server-made name: two never meet. */
const NAME_BYTES = 16;

/** A declared queue, and whether this declaration made it. */
export interface Declared {
  readonly queue: Queue;
  readonly isNew: boolean;
}

export function declareQueue(namespace: Namespace, session: Session, declaration: QueueDeclaration): Declared {
  const { topology } = namespace;
  const asked = cleanName(declaration.name);
  if (declaration.passive) return { queue: usableQueue(namespace, session, asked), isNew: false };
  if (asked.startsWith("amq.")) throw reservedName("queue", asked);
  const { durable, quorum } = checkQueueArguments(declaration, asked);
  const ownerId = declaration.exclusive ? session.id : 0;
  const existing = topology.queues.get(asked);
  if (existing !== undefined) {
    checkSameQueue(existing.record, declaration, ownerId);
    return { queue: existing, isNew: false };
  }
  if (topology.queues.size >= LIMITS.queuesMax) throw limitReached("queue", asked, LIMITS.queuesMax, "queues");
  const name = asked === "" ? serverMadeName(namespace) : asked;
  const { autoDelete } = declaration;
  const settings = { name, durable, autoDelete, ownerId, quorum, arguments: declaration.arguments };
  return { queue: namespace.createQueue(settings), isNew: true };
}

/** A missing queue is fine: the client wanted it gone. Returns the ready messages dropped. */
export function deleteQueue(
  namespace: Namespace,
  session: Session,
  rawName: string,
  options: { readonly ifUnused: boolean; readonly ifEmpty: boolean },
): number {
  const name = cleanName(rawName);
  const queue = namespace.topology.queues.get(name);
  if (queue === undefined) return 0;
  checkOwner(queue, session);
  const { ready } = namespace.shard.counts(queue.record.id);
  if (options.ifUnused && queue.consumers > 0) throw preconditionFailed(`${resource("queue", name)} in use`);
  if (options.ifEmpty && ready > 0) throw preconditionFailed(`${resource("queue", name)} not empty`);
  dropQueues(namespace, [queue]);
  return ready;
}

/** Drops the ready messages; returns their number. */
export function purgeQueue(namespace: Namespace, session: Session, rawName: string): number {
  const queue = usableQueue(namespace, session, cleanName(rawName));
  return namespace.shard.purge(queue.record.id);
}

/** Deletes queues, and the auto-delete exchanges that lose their last binding with them, in one step. */
export function dropQueues(namespace: Namespace, queues: readonly Queue[]): void {
  const lost = new Map<Exchange, number>();
  for (const queue of queues) {
    for (const { from } of queue.bindings) lost.set(from, (lost.get(from) ?? 0) + 1);
  }
  const effects: Effect[] = queues.map((queue) => ({ kind: "queue-deleted", queueId: queue.record.id }));
  for (const [exchange, count] of lost) {
    if (exchange.settings.autoDelete && exchange.bindings.size === count) {
      effects.push({ kind: "exchange-deleted", name: exchange.settings.name });
    }
  }
  namespace.commit(effects);
}

/**
 * Like `dropQueues`, for a client that has gone and hears no refusal. When storage has failed the queues
 * stay: the process is about to end, and what should have gone is gone or comes back with the restart.
 */
export function dropAbandonedQueues(namespace: Namespace, queues: readonly Queue[]): void {
  try {
    dropQueues(namespace, queues);
  } catch (error) {
    if (!(error instanceof BrokerError && error.code === "unavailable")) throw error;
  }
}

/** The queue by name, if the session may use it. Throws "not-found", "resource-locked". */
export function usableQueue(namespace: Namespace, session: Session, name: string): Queue {
  const queue = namespace.topology.queues.get(name);
  if (queue === undefined) throw notFound("queue", name);
  checkOwner(queue, session);
  return queue;
}

/** Throws "resource-locked" when the queue is another session's own. */
export function checkOwner(queue: Queue, session: Session): void {
  const { ownerId, name } = queue.record;
  if (ownerId !== 0 && ownerId !== session.id) throw locked(name);
}

export function statusOf(namespace: Namespace, queue: Queue): QueueStatus {
  const { ready } = namespace.shard.counts(queue.record.id);
  return { name: queue.record.name, messageCount: ready, consumerCount: queue.consumers };
}

function serverMadeName(namespace: Namespace): string {
  return `amq.gen-${Buffer.from(namespace.random.bytes(NAME_BYTES)).toString("base64url")}`;
}
