// /api/queues: queues, their messages and what is bound to them.

import type { QueueView } from "../../broker/management/topology.ts";
import type { TakenFate } from "../../broker/management/messages.ts";
import { LIMITS } from "../../limits.ts";
import { BrokerError, DecodeError } from "../../model/errors.ts";
import { tableToPlain } from "../../model/field-table-plain.ts";
import type { Admin } from "../admin.ts";
import { CREATED, json, NO_CONTENT } from "../answers.ts";
import { payloadToJson, propertiesToJson } from "../message-json.ts";
import type { Answer, Call, Route } from "../route.ts";
import { bindingJson } from "./bindings.ts";
import { consumersOf, connectionName } from "./connections.ts";
import { flag, optionalInteger, optionalText, table } from "./fields.ts";
import { listOf, oneOf } from "./listing.ts";
import { messageStats, queueTotals } from "./message-stats.ts";
import { NODE, visible } from "./node.ts";

export const QUEUE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/queues",
    summary:
      "The queues of all vhosts. Query, as for every list: page, page_size, name, use_regex, sort, sort_reverse, columns.",
    role: "viewer",
    handler: (call) => listed(call),
  },
  {
    method: "GET",
    path: "/api/queues/{vhost}",
    summary: "The queues of a vhost.",
    role: "viewer",
    handler: (call) => listed(call, call.vhost()),
  },
  {
    method: "GET",
    path: "/api/queues/{vhost}/{name}",
    summary: "One queue, with its consumers.",
    role: "viewer",
    handler: (call) => {
      const queue = queueOf(call);
      const consumers = consumersOf(call.admin, queue.record.id);
      return oneOf(call, {
        consumer_details: consumers,
        deliveries: [],
        incoming: [],
        ...queueJson(call.admin, queue),
      });
    },
  },
  {
    method: "PUT",
    path: "/api/queues/{vhost}/{name}",
    summary: "Declares a queue: {durable, auto_delete, arguments}.",
    role: "viewer",
    handler: declare,
  },
  {
    method: "DELETE",
    path: "/api/queues/{vhost}/{name}",
    summary: "Deletes a queue. Query: if-unused, if-empty.",
    role: "viewer",
    handler: async (call) => {
      const { topology, committed } = call.admin.broker.management;
      const options = {
        ifUnused: call.query.get("if-unused") === "true",
        ifEmpty: call.query.get("if-empty") === "true",
      };
      topology.deleteQueue(call.actor, call.vhost(), call.parameter("name"), options);
      await committed();
      return NO_CONTENT;
    },
  },
  {
    method: "DELETE",
    path: "/api/queues/{vhost}/{name}/contents",
    summary: "Drops the messages that are ready.",
    role: "viewer",
    handler: async (call) => {
      const { topology, committed } = call.admin.broker.management;
      topology.purgeQueue(call.actor, call.vhost(), call.parameter("name"));
      await committed();
      return NO_CONTENT;
    },
  },
  {
    method: "GET",
    path: "/api/queues/{vhost}/{name}/bindings",
    summary: "What leads to a queue.",
    role: "viewer",
    handler: (call) => {
      const { vhost, name } = queueOf(call).record;
      const items = call.admin.broker.management.topology.bindingsTo(vhost, "queue", name);
      return listOf(call, { items, name: ({ source }) => source, show: bindingJson });
    },
  },
  {
    method: "POST",
    path: "/api/queues/{vhost}/{name}/get",
    summary: "Takes messages from the head: {count, ackmode, encoding, truncate}. To look without taking: /v1.",
    role: "viewer",
    handler: get,
  },
  {
    method: "POST",
    path: "/api/queues/{vhost}/{name}/actions",
    summary: "RabbitMQ's sync and cancel_sync, which have nothing to do here.",
    role: "viewer",
    handler: async (call) => {
      const action = optionalText(await call.object(), "action");
      queueOf(call);
      if (action === "sync" || action === "cancel_sync") return NO_CONTENT;
      throw new DecodeError("the action is sync or cancel_sync");
    },
  },
];

function listed(call: Call, vhost?: string): Answer {
  const queues = visible(call, call.admin.broker.management.topology.queues(vhost), ({ record }) => record.vhost);
  const items = queues.toSorted(byVhostAndName);
  return listOf(call, { items, name: ({ record }) => record.name, show: (queue) => queueJson(call.admin, queue) });
}

/** By code units, so that the order is the same everywhere. */
export function byVhostAndName({ record: a }: QueueView, { record: b }: QueueView): number {
  if (a.vhost !== b.vhost) return a.vhost < b.vhost ? -1 : 1;
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

/** Throws "not-found". */
export function queueOf(call: Call): QueueView {
  const vhost = call.vhost();
  const name = call.parameter("name");
  const queue = call.admin.broker.management.topology.queue(vhost, name);
  if (queue === undefined) throw new BrokerError("not-found", `no queue '${name}' in vhost '${vhost}'`);
  return queue;
}

function queueJson(admin: Admin, queue: QueueView): Readonly<Record<string, unknown>> {
  const { record, counts, policy } = queue;
  const perSecond = admin.rates.queue(record.id);
  const owner = queue.ownerId === undefined ? undefined : admin.broker.management.sessions.get(queue.ownerId)?.client;
  const { peerHost, peerPort } = owner ?? {};
  const ownerDetails = owner && { name: connectionName(owner), peer_host: peerHost, peer_port: peerPort };
  return {
    arguments: tableToPlain(record.arguments),
    auto_delete: record.autoDelete,
    consumer_capacity: counts.consumers > 0 ? 1 : 0,
    consumer_utilisation: counts.consumers > 0 ? 1 : 0,
    consumers: counts.consumers,
    durable: record.durable,
    effective_policy_definition: Object.fromEntries(policy.definition),
    exclusive: record.ownerId !== 0,
    exclusive_consumer_tag: null,
    ...(ownerDetails === undefined ? {} : { owner_pid_details: ownerDetails }),
    memory: 0,
    message_bytes: counts.bytes,
    message_bytes_ready: counts.readyBytes,
    message_bytes_unacknowledged: Math.max(0, counts.bytes - counts.readyBytes),
    message_stats: messageStats(counts.counters, perSecond),
    ...queueTotals({ messagesReady: counts.ready, messagesUnacked: counts.inFlight }, perSecond),
    messages_delayed: counts.delayed,
    name: record.name,
    node: NODE,
    operator_policy: policy.operatorPolicy ?? null,
    policy: policy.policy ?? null,
    single_active_consumer_tag: null,
    state: "running",
    type: record.quorum ? "quorum" : "classic",
    vhost: record.vhost,
  };
}

async function declare(call: Call): Promise<Answer> {
  const body = await call.object();
  const { topology, committed } = call.admin.broker.management;
  const isNew = topology.declareQueue(call.actor, call.vhost(), {
    name: call.parameter("name"),
    passive: false,
    durable: flag(body, "durable", false),
    exclusive: flag(body, "exclusive", false),
    autoDelete: flag(body, "auto_delete", false),
    arguments: table(body, "arguments"),
  });
  await committed();
  return isNew ? CREATED : NO_CONTENT;
}

const FATES: ReadonlyMap<string, TakenFate> = new Map([
  ["ack_requeue_false", "ack"],
  ["ack_requeue_true", "requeue"],
  ["reject_requeue_true", "requeue"],
  ["reject_requeue_false", "reject"],
]);

async function get(call: Call): Promise<Answer> {
  const body = await call.object();
  const requeue = flag(body, "requeue", true);
  const mode = optionalText(body, "ackmode") ?? (requeue ? "ack_requeue_true" : "ack_requeue_false");
  const fate = FATES.get(mode);
  if (fate === undefined) throw new DecodeError(`ackmode is one of ${[...FATES.keys()].join(", ")}`);
  const encoding = optionalText(body, "encoding") ?? "auto";
  if (encoding !== "auto" && encoding !== "base64") throw new DecodeError("encoding is auto or base64");
  const count = Math.min(optionalInteger(body, "count") ?? 1, LIMITS.httpMessagesMax);
  const truncate = optionalInteger(body, "truncate");
  const { messages } = call.admin.broker.management;
  const taken = await messages.take(call.actor, call.vhost(), call.parameter("name"), { count, fate });
  return json(
    taken.map((message) => ({
      payload_bytes: message.body.length,
      redelivered: message.redelivered,
      exchange: message.exchange,
      routing_key: message.routingKey,
      message_count: message.readyLeft,
      properties: propertiesToJson(message.properties),
      ...payloadToJson(message.body, encoding, truncate),
    })),
  );
}
