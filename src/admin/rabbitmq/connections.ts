// /api/connections, /api/channels, /api/consumers: who is connected and does what.

import type { ChannelView, ClientConnection, ConsumerView, SessionView } from "../../broker/facade.ts";
import { BrokerError } from "../../model/errors.ts";
import { tableToPlain } from "../../model/field-table-plain.ts";
import type { Admin } from "../admin.ts";
import { NO_CONTENT } from "../answers.ts";
import type { Answer, Call, Route } from "../route.ts";
import { listOf, oneOf } from "./listing.ts";
import { NODE } from "./node.ts";

export interface Connected extends SessionView {
  readonly client: ClientConnection;
}

export interface OpenChannel {
  readonly session: Connected;
  readonly channel: ChannelView;
}

interface OpenConsumer extends OpenChannel {
  readonly consumer: ConsumerView;
}

export const CONNECTION_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/connections",
    summary: "The connections that the user sees: its own, with monitoring or administrator all.",
    role: "viewer",
    handler: (call) => connections(call, seen(call)),
  },
  {
    method: "GET",
    path: "/api/vhosts/{vhost}/connections",
    summary: "Those in a vhost.",
    role: "viewer",
    handler: (call) => connections(call, inVhost(call)),
  },
  {
    method: "GET",
    path: "/api/connections/username/{user}",
    summary: "Those of a user.",
    role: "viewer",
    handler: (call) =>
      connections(
        call,
        seen(call).filter(({ user }) => user === call.parameter("user")),
      ),
  },
  {
    method: "GET",
    path: "/api/connections/{name}",
    summary: "One connection.",
    role: "viewer",
    handler: (call) => oneOf(call, connectionJson(connectionOf(call))),
  },
  {
    method: "DELETE",
    path: "/api/connections/{name}",
    summary: "Ends a connection; the header x-reason tells the client why.",
    role: "viewer",
    handler: (call) => close(call, [connectionOf(call)]),
  },
  {
    method: "DELETE",
    path: "/api/connections/username/{user}",
    summary: "Ends the connections of a user.",
    role: "viewer",
    handler: (call) =>
      close(
        call,
        seen(call).filter(({ user }) => user === call.parameter("user")),
      ),
  },
  {
    method: "GET",
    path: "/api/connections/{name}/channels",
    summary: "The channels of a connection.",
    role: "viewer",
    handler: (call) => channels(call, [connectionOf(call)]),
  },
  {
    method: "GET",
    path: "/api/channels",
    summary: "The channels that the user sees.",
    role: "viewer",
    handler: (call) => channels(call, seen(call)),
  },
  {
    method: "GET",
    path: "/api/vhosts/{vhost}/channels",
    summary: "Those in a vhost.",
    role: "viewer",
    handler: (call) => channels(call, inVhost(call)),
  },
  {
    method: "GET",
    path: "/api/channels/{name}",
    summary: "One channel, with its consumers.",
    role: "viewer",
    handler: (call) => {
      const found = channelsOf(seen(call)).find((each) => channelName(each) === call.parameter("name"));
      if (found === undefined) throw new BrokerError("not-found", "Not Found");
      const consumers = consumersIn([found]).map((each) => consumerJson(call.admin, each));
      return oneOf(call, { consumer_details: consumers, deliveries: [], publishes: [], ...channelJson(found) });
    },
  },
  {
    method: "GET",
    path: "/api/consumers",
    summary: "The consumers that the user sees.",
    role: "viewer",
    handler: (call) => consumers(call, seen(call)),
  },
  {
    method: "GET",
    path: "/api/consumers/{vhost}",
    summary: "Those in a vhost.",
    role: "viewer",
    handler: (call) => consumers(call, inVhost(call)),
  },
];

/** The connections that the actor sees. */
export function seen(call: Call): readonly Connected[] {
  const all = Array.from(call.admin.broker.management.sessions.list()).filter(isConnected);
  return call.seesAll ? all : all.filter(({ user }) => user === call.actor.user);
}

function inVhost(call: Call): readonly Connected[] {
  const wanted = call.vhost();
  return seen(call).filter(({ vhost }) => vhost === wanted);
}

export function isConnected(session: SessionView): session is Connected {
  return session.client !== undefined;
}

/** Throws "not-found". */
function connectionOf(call: Call): Connected {
  const found = seen(call).find(({ client }) => connectionName(client) === call.parameter("name"));
  if (found === undefined) throw new BrokerError("not-found", "Not Found");
  return found;
}

function close(call: Call, sessions: readonly Connected[]): Answer {
  const reason = call.header("x-reason") ?? "Closed via management plugin";
  for (const { id } of sessions) call.admin.broker.management.sessions.close(call.actor, id, reason.slice(0, 200));
  return NO_CONTENT;
}

function connections(call: Call, items: readonly Connected[]): Answer {
  return listOf(call, { items, name: ({ client }) => connectionName(client), show: connectionJson });
}

function channels(call: Call, sessions: readonly Connected[]): Answer {
  return listOf(call, { items: channelsOf(sessions), name: channelName, show: channelJson });
}

function consumers(call: Call, sessions: readonly Connected[]): Answer {
  const items = consumersIn(channelsOf(sessions));
  return listOf(call, { items, name: ({ consumer }) => consumer.tag, show: (each) => consumerJson(call.admin, each) });
}

export function channelsOf(sessions: readonly Connected[]): readonly OpenChannel[] {
  return sessions.flatMap((session) => session.client.channels().map((channel) => ({ session, channel })));
}

function consumersIn(open: readonly OpenChannel[]): readonly OpenConsumer[] {
  return open.flatMap((each) => each.channel.consumers.map((consumer) => ({ ...each, consumer })));
}

/** The consumers of a queue. */
export function consumersOf(admin: Admin, queueId: number): readonly unknown[] {
  const sessions = Array.from(admin.broker.management.sessions.list()).filter(isConnected);
  const found = consumersIn(channelsOf(sessions)).filter(({ consumer }) => consumer.queueId === queueId);
  return found.map((each) => consumerJson(admin, each));
}

/** "127.0.0.1:50000 -> 127.0.0.1:5672" */
export function connectionName({ peerHost, peerPort, host, port }: ClientConnection): string {
  return `${bracketed(peerHost)}:${peerPort} -> ${bracketed(host)}:${port}`;
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

export function channelName({ session, channel }: OpenChannel): string {
  return `${connectionName(session.client)} (${channel.number})`;
}

function connectionJson({ user, vhost, client }: Connected): Readonly<Record<string, unknown>> {
  const properties = tableToPlain(client.clientProperties);
  const given = properties["connection_name"];
  return {
    channel_max: client.channelMax,
    channels: client.channels().length,
    client_properties: properties,
    connected_at: client.connectedAtMs,
    frame_max: client.frameBytesMax,
    host: client.host,
    name: connectionName(client),
    node: NODE,
    peer_host: client.peerHost,
    peer_port: client.peerPort,
    port: client.port,
    protocol: client.protocol,
    recv_oct: client.receivedBytes,
    send_oct: client.sentBytes,
    ssl: client.encrypted,
    state: "running",
    timeout: client.heartbeatS,
    type: "network",
    user,
    ...(typeof given === "string" ? { user_provided_name: given } : {}),
    user_who_performed_action: user,
    vhost,
  };
}

function channelJson(open: OpenChannel): Readonly<Record<string, unknown>> {
  const { session, channel } = open;
  const { client, user, vhost } = session;
  return {
    acks_uncommitted: 0,
    confirm: channel.confirm,
    connection_details: { name: connectionName(client), peer_host: client.peerHost, peer_port: client.peerPort },
    consumer_count: channel.consumers.length,
    global_prefetch_count: channel.globalPrefetch,
    messages_unacknowledged: channel.unacked,
    messages_uncommitted: 0,
    messages_unconfirmed: channel.unconfirmed,
    name: channelName(open),
    node: NODE,
    number: channel.number,
    prefetch_count: channel.prefetch,
    state: "running",
    transactional: channel.transactional,
    user,
    user_who_performed_action: user,
    vhost,
  };
}

function consumerJson(admin: Admin, open: OpenConsumer): Readonly<Record<string, unknown>> {
  const { session, channel, consumer } = open;
  const { client, user } = session;
  const queue = admin.broker.management.topology.queueById(consumer.queueId)?.record;
  return {
    ack_required: !consumer.noAck,
    active: consumer.active,
    activity_status: consumer.active ? "up" : "waiting",
    arguments: tableToPlain(consumer.arguments),
    channel_details: {
      connection_name: connectionName(client),
      name: channelName(open),
      node: NODE,
      number: channel.number,
      peer_host: client.peerHost,
      peer_port: client.peerPort,
      user,
    },
    consumer_tag: consumer.tag,
    exclusive: consumer.exclusive,
    prefetch_count: consumer.prefetch,
    queue: { name: queue?.name ?? "", vhost: session.vhost },
  };
}
