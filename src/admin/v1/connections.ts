// /v1/connections: who is connected.

import { BrokerError, DecodeError } from "../../model/errors.ts";
import { tableToPlain } from "../../model/field-table-plain.ts";
import { NO_CONTENT, json } from "../answers.ts";
import { type Connected, connectionName, seen } from "../rabbitmq/connections.ts";
import type { Route } from "../route.ts";
import { pageOf } from "./paging.ts";

export const CONNECTION_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/connections",
    summary: "Connections: the user's own, with monitoring or administrator all. Query: limit (1000 at most), offset.",
    role: "viewer",
    handler: (call) => {
      const found = seen(call);
      return json({ total: found.length, connections: pageOf(call, found).map(viewOf) });
    },
  },
  {
    method: "DELETE",
    path: "/v1/connections/{id}",
    summary: "Ends a connection. Query: reason, which the client is told.",
    role: "viewer",
    handler: (call) => {
      const id = Number(call.parameter("id"));
      if (!Number.isSafeInteger(id)) throw new DecodeError("the id of a connection is a number");
      const reason = call.query.get("reason") ?? "closed by an operator";
      const found = seen(call).some((session) => session.id === id);
      if (!found) throw new BrokerError("not-found", `there is no connection ${id}`);
      call.admin.broker.management.sessions.close(call.actor, id, reason.slice(0, 200));
      return NO_CONTENT;
    },
  },
];

function viewOf({ id, user, vhost, client }: Connected) {
  const channels = client.channels();
  return {
    id,
    name: connectionName(client),
    user,
    vhost,
    protocol: client.protocol,
    encrypted: client.encrypted,
    connectedAtMs: client.connectedAtMs,
    clientProperties: tableToPlain(client.clientProperties),
    receivedBytes: client.receivedBytes,
    sentBytes: client.sentBytes,
    channels: channels.map(({ number, prefetch, unacked, unconfirmed, consumers }) => {
      return { number, prefetch, unacked, unconfirmed, consumers: consumers.length };
    }),
  };
}
