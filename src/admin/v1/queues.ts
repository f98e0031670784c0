// /v1/queues: queues with what is in them.

import type { QueueView } from "../../broker/management/topology.ts";
import { BrokerError, DecodeError } from "../../model/errors.ts";
import { tableToJson } from "../../model/field-table-json.ts";
import { json } from "../answers.ts";
import type { Call, Route } from "../route.ts";

/** One answer lists at most this many. */
const LISTED_MAX = 1000;

export const QUEUE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/queues",
    summary: "Queues, ordered by vhost and name. Query: vhost, name (a part of it), limit (1000 at most), offset.",
    role: "viewer",
    handler: (call) => json(listed(call)),
  },
  {
    method: "GET",
    path: "/v1/queues/{vhost}/{name}",
    summary: "One queue.",
    role: "viewer",
    handler: (call) => {
      const vhost = call.vhost();
      const name = call.parameter("name");
      const queue = call.admin.broker.management.topology.queue(vhost, name);
      if (queue === undefined) throw new BrokerError("not-found", `no queue '${name}' in vhost '${vhost}'`);
      return json(viewOf(queue));
    },
  },
];

function listed(call: Call): unknown {
  const { query } = call;
  const vhost = query.get("vhost");
  const part = query.get("name") ?? "";
  const limit = Math.min(integerOf(query, "limit", LISTED_MAX), LISTED_MAX);
  const offset = integerOf(query, "offset", 0);
  const found: QueueView[] = [];
  for (const queue of call.admin.broker.management.topology.queues(vhost ?? undefined)) {
    if (queue.record.name.includes(part) && call.sees(queue.record.vhost)) found.push(queue);
  }
  found.sort(byVhostAndName);
  return { total: found.length, queues: found.slice(offset, offset + limit).map(viewOf) };
}

function integerOf(query: URLSearchParams, name: string, fallback: number): number {
  const text = query.get(name);
  if (text === null) return fallback;
  if (!/^\d{1,9}$/.test(text)) throw new DecodeError(`${name} is a number of at most nine digits`);
  return Number(text);
}

function viewOf({ record, counts }: QueueView): unknown {
  return {
    vhost: record.vhost,
    name: record.name,
    type: record.quorum ? "quorum" : "classic",
    durable: record.durable,
    exclusive: record.ownerId !== 0,
    autoDelete: record.autoDelete,
    arguments: tableToJson(record.arguments),
    messagesReady: counts.ready,
    messagesUnacked: counts.inFlight,
    consumers: counts.consumers,
    bytes: counts.bytes,
  };
}

/** By code units, so that the order is the same everywhere. */
function byVhostAndName({ record: a }: QueueView, { record: b }: QueueView): number {
  if (a.vhost !== b.vhost) return a.vhost < b.vhost ? -1 : 1;
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
