// /v1/exchanges: exchanges, and publishing to them.

import { LIMITS } from "../../limits.ts";
import { tableToPlain } from "../../model/field-table-plain.ts";
import { json } from "../answers.ts";
import { payloadFromJson, propertiesFromJson } from "../message-json.ts";
import { exchangeName } from "../rabbitmq/exchanges.ts";
import { optionalText, text } from "../rabbitmq/fields.ts";
import { visible } from "../rabbitmq/node.ts";
import type { Answer, Call, Route } from "../route.ts";
import { pageOf } from "./paging.ts";

export const EXCHANGE_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/exchanges",
    summary: "Exchanges. Query: vhost, name (a part of it), limit (1000 at most), offset.",
    role: "viewer",
    handler: listed,
  },
  {
    method: "POST",
    path: "/v1/exchanges/{vhost}/{name}/publish",
    summary:
      "Publishes {routingKey, properties, body, bodyEncoding: string or base64}; tells {routed} once it is stored.",
    role: "viewer",
    handler: publish,
  },
];

function listed(call: Call): Answer {
  const vhost = call.query.get("vhost");
  const part = call.query.get("name") ?? "";
  const all = call.admin.broker.management.topology.exchanges(vhost === null ? undefined : call.vhost(vhost));
  const found = visible(call, all, (each) => each.settings.vhost).filter(({ settings }) =>
    settings.name.includes(part),
  );
  const exchanges = pageOf(call, found).map(({ settings, policy }) => ({
    ...settings,
    arguments: tableToPlain(settings.arguments),
    policy: policy.policy,
  }));
  return json({ total: found.length, exchanges });
}

async function publish(call: Call): Promise<Answer> {
  const body = await call.object(LIMITS.httpLargeBodyBytesMax);
  const message = {
    routingKey: text(body, "routingKey"),
    properties: propertiesFromJson(body["properties"] ?? {}),
    body: payloadFromJson(text(body, "body"), optionalText(body, "bodyEncoding") ?? "string"),
  };
  const { messages } = call.admin.broker.management;
  return json({ routed: await messages.publish(call.actor, call.vhost(), exchangeName(call), message) });
}
