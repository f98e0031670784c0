// /api/exchanges: exchanges, publishing to them, and what leads away from and to them. In a path the
// default exchange is called "amq.default".

import type { ExchangeView } from "../../broker/management/topology.ts";
import { LIMITS } from "../../limits.ts";
import { BrokerError } from "../../model/errors.ts";
import { tableToPlain } from "../../model/field-table-plain.ts";
import { CREATED, json, NO_CONTENT } from "../answers.ts";
import { payloadFromJson, propertiesFromJson } from "../message-json.ts";
import type { Answer, Call, Route } from "../route.ts";
import { bindingJson } from "./bindings.ts";
import { flag, optionalText, table, text } from "./fields.ts";
import { listOf, oneOf } from "./listing.ts";
import { visible } from "./node.ts";

export const EXCHANGE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/exchanges",
    summary: "The exchanges of all vhosts.",
    role: "viewer",
    handler: (call) => listed(call),
  },
  {
    method: "GET",
    path: "/api/exchanges/{vhost}",
    summary: "The exchanges of a vhost.",
    role: "viewer",
    handler: (call) => listed(call, call.vhost()),
  },
  {
    method: "GET",
    path: "/api/exchanges/{vhost}/{name}",
    summary: "One exchange.",
    role: "viewer",
    handler: (call) => oneOf(call, { incoming: [], outgoing: [], ...exchangeJson(exchangeOf(call)) }),
  },
  {
    method: "PUT",
    path: "/api/exchanges/{vhost}/{name}",
    summary: "Declares an exchange: {type, durable, auto_delete, internal, arguments}.",
    role: "viewer",
    handler: declare,
  },
  {
    method: "DELETE",
    path: "/api/exchanges/{vhost}/{name}",
    summary: "Deletes an exchange. Query: if-unused.",
    role: "viewer",
    handler: async (call) => {
      const { topology, committed } = call.admin.broker.management;
      topology.deleteExchange(call.actor, call.vhost(), exchangeName(call), call.query.get("if-unused") === "true");
      await committed();
      return NO_CONTENT;
    },
  },
  {
    method: "POST",
    path: "/api/exchanges/{vhost}/{name}/publish",
    summary: "Publishes {routing_key, properties, payload, payload_encoding}; tells {routed} once it is stored.",
    role: "viewer",
    handler: publish,
  },
  {
    method: "GET",
    path: "/api/exchanges/{vhost}/{name}/bindings/source",
    summary: "What leads away from an exchange.",
    role: "viewer",
    handler: (call) => {
      const { vhost, name } = exchangeOf(call).settings;
      const items = call.admin.broker.management.topology.bindingsFrom(vhost, name);
      return listOf(call, { items, name: ({ destination }) => destination, show: bindingJson });
    },
  },
  {
    method: "GET",
    path: "/api/exchanges/{vhost}/{name}/bindings/destination",
    summary: "What leads to an exchange.",
    role: "viewer",
    handler: (call) => {
      const { vhost, name } = exchangeOf(call).settings;
      const items = call.admin.broker.management.topology.bindingsTo(vhost, "exchange", name);
      return listOf(call, { items, name: ({ source }) => source, show: bindingJson });
    },
  },
];

function listed(call: Call, vhost?: string): Answer {
  const exchanges = call.admin.broker.management.topology.exchanges(vhost);
  const items = visible(call, exchanges, ({ settings }) => settings.vhost);
  return listOf(call, { items, name: ({ settings }) => settings.name, show: exchangeJson });
}

/** The name in the path; "amq.default" is the default exchange. */
export function exchangeName(call: Call, parameter = "name"): string {
  const name = call.parameter(parameter);
  return name === "amq.default" ? "" : name;
}

/** Throws "not-found". */
function exchangeOf(call: Call): ExchangeView {
  const vhost = call.vhost();
  const name = exchangeName(call);
  const exchange = call.admin.broker.management.topology.exchange(vhost, name);
  if (exchange === undefined) throw new BrokerError("not-found", `no exchange '${name}' in vhost '${vhost}'`);
  return exchange;
}

function exchangeJson({ settings, policy }: ExchangeView): Readonly<Record<string, unknown>> {
  return {
    arguments: tableToPlain(settings.arguments),
    auto_delete: settings.autoDelete,
    durable: settings.durable,
    internal: settings.internal,
    name: settings.name,
    ...(policy.policy === undefined ? {} : { policy: policy.policy }),
    type: settings.type,
    vhost: settings.vhost,
  };
}

async function declare(call: Call): Promise<Answer> {
  const body = await call.object();
  const { topology, committed } = call.admin.broker.management;
  const isNew = topology.declareExchange(call.actor, call.vhost(), {
    name: exchangeName(call),
    type: optionalText(body, "type") ?? "direct",
    passive: false,
    durable: flag(body, "durable", false),
    autoDelete: flag(body, "auto_delete", false),
    internal: flag(body, "internal", false),
    arguments: table(body, "arguments"),
  });
  await committed();
  return isNew ? CREATED : NO_CONTENT;
}

async function publish(call: Call): Promise<Answer> {
  const body = await call.object(LIMITS.httpLargeBodyBytesMax);
  const message = {
    routingKey: text(body, "routing_key"),
    properties: propertiesFromJson(body["properties"] ?? {}),
    body: payloadFromJson(text(body, "payload"), optionalText(body, "payload_encoding") ?? "string"),
  };
  const { messages } = call.admin.broker.management;
  const routed = await messages.publish(call.actor, call.vhost(), exchangeName(call), message);
  return json({ routed });
}
