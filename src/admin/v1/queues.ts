// /v1/queues: queues, what is in them, and looking at it without taking it.

import type { TakenFate } from "../../broker/management/messages.ts";
import type { QueueView } from "../../broker/management/topology.ts";
import { LIMITS } from "../../limits.ts";
import { DecodeError } from "../../model/errors.ts";
import { tableToPlain } from "../../model/field-table-plain.ts";
import type { Admin } from "../admin.ts";
import { json } from "../answers.ts";
import { optionalInteger, optionalText } from "../rabbitmq/fields.ts";
import { visible } from "../rabbitmq/node.ts";
import { byVhostAndName, queueOf } from "../rabbitmq/queues.ts";
import type { Answer, Call, Route } from "../route.ts";
import { messageJson } from "./messages.ts";
import { integerOf, pageOf } from "./paging.ts";

const FATES: readonly TakenFate[] = ["ack", "requeue", "reject"];

export const QUEUE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/queues",
    summary: "Queues, ordered by vhost and name. Query: vhost, name (a part of it), limit (1000 at most), offset.",
    role: "viewer",
    handler: listed,
  },
  {
    method: "GET",
    path: "/v1/queues/{vhost}/{name}",
    summary: "One queue, with its bindings.",
    role: "viewer",
    handler: (call) => {
      const queue = queueOf(call);
      const { vhost, name } = queue.record;
      const bindings = call.admin.broker.management.topology.bindingsTo(vhost, "queue", name);
      const shown = bindings.map(({ source, routingKey, arguments: args }) => {
        return { source, routingKey, arguments: tableToPlain(args) };
      });
      return json({ ...viewOf(call.admin, queue), bindings: shown });
    },
  },
  {
    method: "GET",
    path: "/v1/queues/{vhost}/{name}/messages",
    summary:
      "Looks at messages; they stay as they are, in their places. Query: skip, count (10; at most 1000), bodyBytes.",
    role: "viewer",
    handler: peek,
  },
  {
    method: "POST",
    path: "/v1/queues/{vhost}/{name}/get",
    summary: "Takes messages from the head: {count, then: ack, requeue or reject}.",
    role: "viewer",
    handler: get,
  },
  {
    method: "DELETE",
    path: "/v1/queues/{vhost}/{name}/messages",
    summary: "Drops the messages that are ready; tells {purged}.",
    role: "viewer",
    handler: async (call) => {
      const { topology, committed } = call.admin.broker.management;
      const purged = topology.purgeQueue(call.actor, call.vhost(), call.parameter("name"));
      await committed();
      return json({ purged });
    },
  },
];

function listed(call: Call): Answer {
  const vhost = call.query.get("vhost");
  const part = call.query.get("name") ?? "";
  const { topology } = call.admin.broker.management;
  const queues = topology.queues(vhost === null ? undefined : call.vhost(vhost));
  const found = visible(call, queues, ({ record }) => record.vhost).filter(({ record }) => record.name.includes(part));
  const shown = pageOf(call, found.toSorted(byVhostAndName)).map((queue) => viewOf(call.admin, queue));
  return json({ total: found.length, queues: shown });
}

function viewOf(admin: Admin, { record, counts, policy }: QueueView) {
  const { published, delivered, acked } = admin.rates.queue(record.id);
  return {
    vhost: record.vhost,
    name: record.name,
    type: record.quorum ? "quorum" : "classic",
    durable: record.durable,
    exclusive: record.ownerId !== 0,
    autoDelete: record.autoDelete,
    arguments: tableToPlain(record.arguments),
    policy: policy.policy,
    operatorPolicy: policy.operatorPolicy,
    messagesReady: counts.ready,
    messagesUnacked: counts.inFlight,
    messagesDelayed: counts.delayed,
    consumers: counts.consumers,
    bytes: counts.bytes,
    counters: counts.counters,
    perSecond: { published, delivered, acked },
  };
}

async function peek(call: Call): Promise<Answer> {
  const skip = integerOf(call.query, "skip", 0);
  const count = Math.min(integerOf(call.query, "count", 10), LIMITS.httpMessagesMax);
  const bodyBytes = integerOf(call.query, "bodyBytes", LIMITS.messageBytesMax);
  if (skip > LIMITS.peekSkipMax) throw new DecodeError(`skip is at most ${LIMITS.peekSkipMax}`);
  const { messages } = call.admin.broker.management;
  const { counts } = queueOf(call);
  const found = await messages.peek(call.actor, call.vhost(), call.parameter("name"), { skip, count });
  const shown = found.map((each) => ({ ...messageJson(each, bodyBytes), deliveries: each.deliveries }));
  return json({ messagesReady: counts.ready, skip, messages: shown });
}

async function get(call: Call): Promise<Answer> {
  const body = await call.object();
  const then = optionalText(body, "then") ?? "ack";
  const fate = FATES.find((each) => each === then);
  if (fate === undefined) throw new DecodeError(`then is one of ${FATES.join(", ")}`);
  const count = Math.min(optionalInteger(body, "count") ?? 1, LIMITS.httpMessagesMax);
  const { messages } = call.admin.broker.management;
  const taken = await messages.take(call.actor, call.vhost(), call.parameter("name"), { count, fate });
  const shown = taken.map((each) => ({ ...messageJson(each), redelivered: each.redelivered }));
  return json({ messagesReady: taken.at(-1)?.readyLeft ?? 0, messages: shown });
}
