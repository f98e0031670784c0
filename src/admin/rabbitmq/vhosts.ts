// /api/vhosts and /api/vhost-limits.

import type { VhostView } from "../../broker/management/vhosts.ts";
import { BrokerError } from "../../model/errors.ts";
import type { Admin } from "../admin.ts";
import { CREATED, NO_CONTENT } from "../answers.ts";
import type { Answer, Call, Route } from "../route.ts";
import { optionalInteger, optionalText, optionalWords } from "./fields.ts";
import { listOf, oneOf } from "./listing.ts";
import { queueTotals } from "./message-stats.ts";
import { NODE } from "./node.ts";

const LIMIT_NAMES = { "max-connections": "maxConnections", "max-queues": "maxQueues" } as const;

export const VHOST_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/vhosts",
    summary: "The vhosts that the user sees.",
    role: "viewer",
    handler: (call) => {
      const items = call.admin.broker.management.vhosts.visibleTo(call.actor);
      return listOf(call, { items, name: ({ name }) => name, show: (vhost) => vhostJson(call.admin, vhost) });
    },
  },
  {
    method: "GET",
    path: "/api/vhosts/{vhost}",
    summary: "One vhost.",
    role: "viewer",
    handler: (call) => oneOf(call, vhostJson(call.admin, vhostOf(call))),
  },
  {
    method: "PUT",
    path: "/api/vhosts/{vhost}",
    summary: "Makes a vhost or changes it: {description, tags, default_queue_type}.",
    role: "admin",
    handler: put,
  },
  {
    method: "DELETE",
    path: "/api/vhosts/{vhost}",
    summary: "Deletes a vhost with everything in it.",
    role: "admin",
    handler: async (call) => {
      const { vhosts, committed } = call.admin.broker.management;
      vhosts.delete(call.actor, call.parameter("vhost"));
      await committed();
      return NO_CONTENT;
    },
  },
  {
    method: "POST",
    path: "/api/vhosts/{vhost}/start/{node}",
    summary: "RabbitMQ's restart of a vhost, which never stops here.",
    role: "admin",
    handler: (call) => {
      vhostOf(call);
      return NO_CONTENT;
    },
  },
  {
    method: "GET",
    path: "/api/vhost-limits",
    summary: "The vhosts with limits.",
    role: "viewer",
    handler: (call) => limits(call, call.admin.broker.management.vhosts.visibleTo(call.actor)),
  },
  {
    method: "GET",
    path: "/api/vhost-limits/{vhost}",
    summary: "The limits of a vhost.",
    role: "viewer",
    handler: (call) => limits(call, [vhostOf(call)]),
  },
  {
    method: "PUT",
    path: "/api/vhost-limits/{vhost}/{limit}",
    summary: "Sets max-connections or max-queues: {value}; a negative one lifts it.",
    role: "admin",
    handler: async (call) => {
      const value = optionalInteger(await call.object(), "value");
      return limit(call, value === undefined || value < 0 ? undefined : value);
    },
  },
  {
    method: "DELETE",
    path: "/api/vhost-limits/{vhost}/{limit}",
    summary: "Lifts a limit.",
    role: "admin",
    handler: (call) => limit(call, undefined),
  },
];

/** Throws "not-found", "access-refused". */
function vhostOf(call: Call): VhostView {
  const name = call.vhost();
  const vhost = call.admin.broker.management.vhosts.get(name);
  if (vhost === undefined) throw new BrokerError("not-found", `vhost '${name}' does not exist`);
  return vhost;
}

function vhostJson(admin: Admin, { name, description, tags, defaultQueueType }: VhostView) {
  let [messagesReady, messagesUnacked, ready, unacked] = [0, 0, 0, 0];
  for (const { record, counts } of admin.broker.management.topology.queues(name)) {
    const perSecond = admin.rates.queue(record.id);
    messagesReady += counts.ready;
    messagesUnacked += counts.inFlight;
    ready += perSecond.ready;
    unacked += perSecond.unacked;
  }
  const perSecond = { published: 0, delivered: 0, redelivered: 0, acked: 0, ready, unacked };
  return {
    cluster_state: { [NODE]: "running" },
    default_queue_type: defaultQueueType ?? "undefined",
    description,
    metadata: { description, tags },
    ...queueTotals({ messagesReady, messagesUnacked }, perSecond),
    name,
    tags,
    tracing: false,
  };
}

async function put(call: Call): Promise<Answer> {
  const body = await call.object();
  const { vhosts, committed } = call.admin.broker.management;
  const description = optionalText(body, "description");
  const tags = optionalWords(body, "tags");
  const type = optionalText(body, "default_queue_type") ?? optionalText(body, "defaultqueuetype");
  const isNew = vhosts.put(call.actor, call.parameter("vhost"), {
    ...(description === undefined ? {} : { description }),
    ...(tags === undefined ? {} : { tags }),
    ...(type === undefined || type === "undefined" ? {} : { defaultQueueType: type }),
  });
  await committed();
  return isNew ? CREATED : NO_CONTENT;
}

function limits(call: Call, vhosts: readonly VhostView[]): Answer {
  const found = vhosts.map(({ name, limits: { maxConnections, maxQueues } }) => {
    const value = { "max-connections": maxConnections, "max-queues": maxQueues };
    return { vhost: name, value: Object.fromEntries(Object.entries(value).filter(([, limit]) => limit !== undefined)) };
  });
  const items = found.filter(({ value }) => Object.keys(value).length > 0);
  return listOf(call, { items, name: ({ vhost }) => vhost, show: (item) => item });
}

async function limit(call: Call, value: number | undefined): Promise<Answer> {
  const name = call.parameter("limit");
  if (name !== "max-connections" && name !== "max-queues") {
    throw new BrokerError("precondition-failed", `there is no limit '${name}' of vhosts`);
  }
  const { vhosts, committed } = call.admin.broker.management;
  vhosts.limit(call.actor, call.parameter("vhost"), { [LIMIT_NAMES[name]]: value });
  await committed();
  return NO_CONTENT;
}
