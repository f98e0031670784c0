// This broker as the one node of a cluster, which is how RabbitMQ's tools see a broker.

import { RABBITMQ_VERSION, VERSION } from "../../version.ts";
import type { Admin, ListenerView } from "../admin.ts";
import { json } from "../answers.ts";
import type { Call, Route } from "../route.ts";
import { totalsOf } from "../totals.ts";
import { queueTotals, totalMessageStats } from "./message-stats.ts";
import { listOf, oneOf } from "./listing.ts";
import { BrokerError } from "../../model/errors.ts";

export const NODE = "quayside@localhost";
const CLUSTER = "quayside";

const EXCHANGE_TYPES = ["direct", "fanout", "topic", "headers", "x-consistent-hash", "x-modulus-hash", "x-random"].map(
  (name) => ({ name, description: `${name} exchange`, enabled: true }),
);
const MECHANISMS = ["PLAIN", "AMQPLAIN", "EXTERNAL"].map((name) => ({ name, description: name, enabled: true }));

export const NODE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/overview",
    summary: "The broker in numbers.",
    role: "viewer",
    handler: (call) => oneOf(call, overview(call.admin)),
  },
  {
    method: "GET",
    path: "/api/cluster-name",
    summary: "The name of the cluster, which is always the same.",
    role: "viewer",
    handler: () => json({ name: CLUSTER }),
  },
  {
    method: "GET",
    path: "/api/nodes",
    summary: "The one node, with its memory, disk and alarms.",
    role: "viewer",
    handler: (call) => listOf(call, { items: [NODE], name: (name) => name, show: () => node(call.admin) }),
  },
  {
    method: "GET",
    path: "/api/nodes/{node}",
    summary: "The same by its name.",
    role: "viewer",
    handler: (call) => {
      if (call.parameter("node") !== NODE) throw new BrokerError("not-found", "Not Found");
      return oneOf(call, node(call.admin));
    },
  },
  {
    method: "GET",
    path: "/api/whoami",
    summary: "The user who asks.",
    role: "viewer",
    handler: ({ actor }) => json({ name: actor.user, tags: actor.tags }),
  },
  {
    method: "GET",
    path: "/api/extensions",
    summary: "Extensions of RabbitMQ's user interface: none.",
    role: "viewer",
    handler: () => json([]),
  },
  {
    method: "GET",
    path: "/api/feature-flags",
    summary: "RabbitMQ's feature flags that name something this broker has.",
    role: "viewer",
    handler: () => json(FEATURES),
  },
  {
    method: "GET",
    path: "/api/auth",
    summary: "How to log in: with basic authentication, never by OAuth.",
    role: "everybody",
    handler: () => json({ enable_uaa: false, uaa_client_id: "", uaa_location: "", oauth_enabled: false }),
  },
];

const FEATURES = ["implicit_default_bindings", "quorum_queue", "user_limits", "virtual_host_metadata"].map((name) => ({
  name,
  desc: name,
  doc_url: "",
  state: "enabled",
  stability: "stable",
  provided_by: "quayside",
}));

function overview(admin: Admin): Readonly<Record<string, unknown>> {
  const totals = totalsOf(admin);
  const { connections, channels, consumers, exchanges, queues } = totals;
  return {
    management_version: RABBITMQ_VERSION,
    rates_mode: "basic",
    exchange_types: EXCHANGE_TYPES,
    product_version: VERSION,
    product_name: "Quayside",
    rabbitmq_version: RABBITMQ_VERSION,
    cluster_name: CLUSTER,
    erlang_version: "0",
    erlang_full_version: "none",
    disable_stats: false,
    enable_queue_totals: false,
    message_stats: totalMessageStats(admin),
    queue_totals: queueTotals(totals, admin.rates.totals),
    object_totals: { channels, connections, consumers, exchanges, queues },
    statistics_db_event_queue: 0,
    node: NODE,
    listeners: admin.listeners().map(listener),
    contexts: [],
  };
}

function listener({ protocol, host, port }: ListenerView): unknown {
  return { node: NODE, protocol: listenerProtocol(protocol), ip_address: host, port, socket_opts: {} };
}

/** RabbitMQ's names of protocols. */
export function listenerProtocol(protocol: ListenerView["protocol"]): string {
  if (protocol === "amqps") return "amqp/ssl";
  return protocol === "metrics" ? "http/prometheus" : protocol;
}

function node(admin: Admin): Readonly<Record<string, unknown>> {
  const { broker, machine, monitor, clock } = admin;
  const { alarms } = broker;
  return {
    name: NODE,
    type: "disc",
    running: !admin.failed(),
    being_drained: admin.draining(),
    partitions: [],
    uptime: Math.max(0, Math.round(clock.wallMs() - broker.startedAtMs)),
    mem_used: machine.residentBytes(),
    mem_limit: Math.round(monitor.memoryLimitBytes),
    mem_alarm: alarms.includes("memory"),
    disk_free: monitor.diskFreeBytes ?? 0,
    disk_free_limit: monitor.diskLimitBytes,
    disk_free_alarm: alarms.includes("disk"),
    rates_mode: "basic",
    exchange_types: EXCHANGE_TYPES,
    auth_mechanisms: MECHANISMS,
    applications: [{ name: "quayside", description: "Quayside", version: VERSION }],
    contexts: [],
    enabled_plugins: [],
  };
}

/** Where a call's vhost is not a path parameter but part of what is listed: what the actor sees of it. */
export function visible<T>(call: Call, items: Iterable<T>, vhostOf: (item: T) => string): readonly T[] {
  const seen = new Map<string, boolean>();
  const sees = (vhost: string): boolean => {
    const known = seen.get(vhost) ?? call.sees(vhost);
    seen.set(vhost, known);
    return known;
  };
  return Array.from(items).filter((item) => sees(vhostOf(item)));
}
