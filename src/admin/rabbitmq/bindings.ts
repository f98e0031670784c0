// /api/bindings: bindings by their two ends and, among those with the same ends, by their properties key.

import type { BindingView } from "../../broker/management/topology.ts";
import { BrokerError } from "../../model/errors.ts";
import { tableToPlain } from "../../model/field-table-plain.ts";
import { json, NO_CONTENT } from "../answers.ts";
import type { Answer, Call, Route } from "../route.ts";
import { optionalText, table } from "./fields.ts";
import { listOf } from "./listing.ts";
import { visible } from "./node.ts";

/** "q" leads to a queue, "e" to an exchange. */
const KINDS = [
  { letter: "q", type: "queue" },
  { letter: "e", type: "exchange" },
] as const;

interface Ends {
  readonly vhost: string;
  readonly source: string;
  readonly destination: string;
  readonly destinationType: BindingView["destinationType"];
}

export const BINDING_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/bindings",
    summary: "The bindings of all vhosts, those of the default exchange included.",
    role: "viewer",
    handler: (call) => {
      const items = visible(call, call.admin.broker.management.topology.bindings(), ({ vhost }) => vhost);
      return listOf(call, { items, name: ({ source }) => source, show: bindingJson });
    },
  },
  {
    method: "GET",
    path: "/api/bindings/{vhost}",
    summary: "The bindings of a vhost.",
    role: "viewer",
    handler: (call) => {
      const items = call.admin.broker.management.topology.bindings(call.vhost());
      return listOf(call, { items, name: ({ source }) => source, show: bindingJson });
    },
  },
  ...KINDS.flatMap(({ letter, type }) => routesTo(letter, type)),
];

function routesTo(letter: "q" | "e", type: BindingView["destinationType"]): readonly Route[] {
  const path = `/api/bindings/{vhost}/e/{source}/${letter}/{destination}`;
  return [
    {
      method: "GET",
      path,
      summary: `The bindings from an exchange to a${type === "queue" ? " queue" : "nother one"}.`,
      role: "viewer",
      handler: (call) => {
        return listOf(call, {
          items: between(call, ends(call, type)),
          name: ({ source }) => source,
          show: bindingJson,
        });
      },
    },
    {
      method: "POST",
      path,
      summary: "Makes a binding: {routing_key, arguments}. The header location ends with its properties key.",
      role: "viewer",
      handler: (call) => bind(call, ends(call, type)),
    },
    {
      method: "GET",
      path: `${path}/{properties}`,
      summary: "One binding by its properties key.",
      role: "viewer",
      handler: (call) => json(bindingJson(bindingOf(call, ends(call, type)))),
    },
    {
      method: "DELETE",
      path: `${path}/{properties}`,
      summary: "Removes a binding.",
      role: "viewer",
      handler: async (call) => {
        const { topology, committed } = call.admin.broker.management;
        const found = bindingOf(call, ends(call, type));
        topology.unbind(call.actor, found.vhost, found, found.propertiesKey);
        await committed();
        return NO_CONTENT;
      },
    },
  ];
}

function ends(call: Call, destinationType: BindingView["destinationType"]): Ends {
  const source = call.parameter("source");
  return {
    vhost: call.vhost(),
    source: source === "amq.default" ? "" : source,
    destination: call.parameter("destination"),
    destinationType,
  };
}

function between(call: Call, { vhost, source, destination, destinationType }: Ends): readonly BindingView[] {
  const { topology } = call.admin.broker.management;
  return topology.bindingsTo(vhost, destinationType, destination).filter((binding) => binding.source === source);
}

/** Throws "not-found". */
function bindingOf(call: Call, endsOf: Ends): BindingView {
  const key = call.parameter("properties");
  const found = between(call, endsOf).find(({ propertiesKey }) => propertiesKey === key);
  if (found === undefined) throw new BrokerError("not-found", "Not Found");
  return found;
}

async function bind(call: Call, { vhost, source, destination, destinationType }: Ends): Promise<Answer> {
  const body = await call.object();
  const { topology, committed } = call.admin.broker.management;
  const routingKey = optionalText(body, "routing_key") ?? "";
  const args = table(body, "arguments");
  const key = topology.bind(call.actor, vhost, { source, destination, destinationType, routingKey, arguments: args });
  await committed();
  const location = `${encodeURIComponent(destination)}/${encodeURIComponent(key)}`;
  return { status: 201, headers: { location } };
}

export function bindingJson(binding: BindingView): Readonly<Record<string, unknown>> {
  return {
    source: binding.source,
    vhost: binding.vhost,
    destination: binding.destination,
    destination_type: binding.destinationType,
    routing_key: binding.routingKey,
    arguments: tableToPlain(binding.arguments),
    properties_key: binding.propertiesKey,
  };
}
