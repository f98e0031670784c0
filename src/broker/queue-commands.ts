// queue.declare, queue.delete and queue.purge: checks, refusals, decisions.

import { LIMITS } from "../limits.ts";
import { BrokerError } from "../model/errors.ts";
import type { Grants } from "./access/grants.ts";
import { departure } from "./auto-delete.ts";
import type { QueueDeclaration, QueueStatus } from "./facade.ts";
import { cleanName, type Namespace } from "./namespace.ts";
import { checkQueueArguments, checkSameQueue } from "./queue-arguments.ts";
import { limitReached, locked, notFound, preconditionFailed, reservedName, resource } from "./refusals.ts";
import type { OpenSession } from "./sessions.ts";
import type { Queue, Vhost } from "./topology.ts";

/** Random bytes in a server-made name: two never meet. */
const NAME_BYTES = 16;

/** A declared queue, and whether this declaration made it. */
export interface Declared {
  readonly queue: Queue;
  readonly isNew: boolean;
}

export function declareQueue(namespace: Namespace, session: OpenSession, wanted: QueueDeclaration): Declared {
  const declaration = withDefaultType(wanted, session.home);
  const { home: vhost, grants } = session;
  const asked = cleanName(declaration.name);
  if (declaration.passive) return { queue: visibleQueue(session, asked), isNew: false };
  if (asked.startsWith("amq.")) throw reservedName("queue", asked);
  const { durable, quorum } = checkQueueArguments(declaration, asked, vhost.name);
  const name = asked === "" ? serverMadeName(namespace) : asked;
  grants.check("configure", { kind: "queue", name });
  const ownerId = declaration.exclusive ? session.id : 0;
  const existing = vhost.queues.get(asked);
  if (existing !== undefined) {
    checkSameQueue(existing.record, declaration, ownerId);
    return { queue: existing, isNew: false };
  }
  if (namespace.topology.queuesById.size >= LIMITS.queuesMax) {
    throw limitReached(resource("queue", asked, vhost.name), LIMITS.queuesMax, "queues");
  }
  checkQueueLimit(vhost, name);
  checkDeadLetterRights(grants, name, declaration);
  const { autoDelete } = declaration;
  const settings = { vhost: vhost.name, name, durable, autoDelete, ownerId, quorum, arguments: declaration.arguments };
  return { queue: namespace.createQueue(settings), isNew: true };
}

/** A vhost may have a type for queues that name none; what that type cannot be stays classic, as in RabbitMQ. */
function withDefaultType(declaration: QueueDeclaration, vhost: Vhost): QueueDeclaration {
  const { defaultQueueType } = vhost.record;
  const { passive, durable, exclusive, autoDelete, name } = declaration;
  if (defaultQueueType === undefined || declaration.arguments.has("x-queue-type")) return declaration;
  if (passive || !durable || exclusive || autoDelete || name === "") return declaration;
  return { ...declaration, arguments: new Map([...declaration.arguments, ["x-queue-type", defaultQueueType]]) };
}

/** A missing queue is fine: the client wanted it gone. Returns the ready messages dropped. */
export function deleteQueue(
  namespace: Namespace,
  session: OpenSession,
  rawName: string,
  options: { readonly ifUnused: boolean; readonly ifEmpty: boolean },
): number {
  const name = cleanName(rawName);
  session.grants.check("configure", { kind: "queue", name });
  const queue = session.home.queues.get(name);
  if (queue === undefined) return 0;
  checkOwner(queue, session);
  const { ready } = namespace.shard.counts(queue.record.id);
  const thing = resource("queue", name, session.home.name);
  if (options.ifUnused && queue.consumers > 0) throw preconditionFailed(`${thing} in use`);
  if (options.ifEmpty && ready > 0) throw preconditionFailed(`${thing} not empty`);
  dropQueues(namespace, [queue]);
  return ready;
}

/** Drops the ready messages; returns their number. */
export function purgeQueue(namespace: Namespace, session: OpenSession, rawName: string): number {
  const queue = readableQueue(session, rawName);
  return namespace.shard.purge(queue.record.id);
}

/** Deletes queues, and the auto-delete exchanges that lose their last binding with them, in one step. */
export function dropQueues(namespace: Namespace, queues: readonly Queue[]): void {
  namespace.commit(departure({ queues }));
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

/** The queue by name, to take messages from. Throws "access-refused", "not-found", "resource-locked". */
export function readableQueue(session: OpenSession, rawName: string): Queue {
  const name = cleanName(rawName);
  session.grants.check("read", { kind: "queue", name });
  return usableQueue(session, name);
}

/** The queue by name, to look at: any permission will do, as in RabbitMQ. */
function visibleQueue(session: OpenSession, name: string): Queue {
  const thing = { kind: "queue", name } as const;
  const { grants } = session;
  if (!grants.may("read", thing) && !grants.may("write", thing)) grants.check("configure", thing);
  return usableQueue(session, name);
}

function usableQueue(session: OpenSession, name: string): Queue {
  const { home: vhost } = session;
  const queue = vhost.queues.get(name);
  if (queue === undefined) throw notFound("queue", name, vhost.name);
  checkOwner(queue, session);
  return queue;
}

/** Throws "resource-locked" when the queue is another session's own. */
export function checkOwner(queue: Queue, session: OpenSession): void {
  const { ownerId, name, vhost } = queue.record;
  if (ownerId !== 0 && ownerId !== session.id) throw locked(name, vhost);
}

export function statusOf(namespace: Namespace, queue: Queue): QueueStatus {
  const { ready } = namespace.shard.counts(queue.record.id);
  return { name: queue.record.name, messageCount: ready, consumerCount: queue.consumers };
}

function checkQueueLimit(vhost: Vhost, name: string): void {
  const { maxQueues } = vhost.record.limits;
  if (maxQueues === undefined || vhost.queues.size < maxQueues) return;
  throw preconditionFailed(
    `cannot declare queue '${name}': queue limit in vhost '${vhost.name}' (${maxQueues}) is reached`,
  );
}

/** Dead letters go from the queue to the exchange with the rights of whoever declares it. */
function checkDeadLetterRights(grants: Grants, name: string, declaration: QueueDeclaration): void {
  const exchange = declaration.arguments.get("x-dead-letter-exchange");
  if (typeof exchange !== "string") return;
  grants.check("read", { kind: "queue", name });
  grants.check("write", { kind: "exchange", name: exchange });
}

function serverMadeName(namespace: Namespace): string {
  return `amq.gen-${Buffer.from(namespace.random.bytes(NAME_BYTES)).toString("base64url")}`;
}

/** Throws "resource-locked": basic.get would go past the one consumer whose turn it is (as RabbitMQ has it for quorum queues). */
export function checkGet({ record }: Queue): void {
  if (!record.quorum || record.arguments.get("x-single-active-consumer") !== true) return;
  throw new BrokerError(
    "resource-locked",
    `cannot obtain access to locked ${resource("queue", record.name, record.vhost)}. ` +
      "basic.get operations are not supported by quorum queues with single active consumer",
  );
}
