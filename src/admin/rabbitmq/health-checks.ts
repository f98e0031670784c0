// /api/health/checks and /api/aliveness-test.

import type { Admin } from "../admin.ts";
import { json } from "../answers.ts";
import { unreadiness } from "../health.ts";
import type { Answer, Call, Route } from "../route.ts";
import { EMPTY_TABLE } from "../../model/field-table.ts";
import { listenerProtocol } from "./node.ts";

const OK = json({ status: "ok" });
const SINGLE = json({ status: "ok", reason: "single node cluster" });

export const HEALTH_CHECK_ROUTES: readonly Route[] = [
  check("alarms", "503 while an alarm blocks publishers.", ({ admin }) => alarms(admin)),
  check("local-alarms", "The same.", ({ admin }) => alarms(admin)),
  check("virtual-hosts", "503 when storage has failed.", ({ admin }) => ready(admin)),
  check("node-is-quorum-critical", "There is one node: never critical.", () => SINGLE),
  check("node-is-mirror-sync-critical", "The same.", () => SINGLE),
  check("ready-to-serve-clients", "503 with the reason when clients are not served.", ({ admin }) => ready(admin)),
  check("port-listener/{port}", "503 unless something listens on this port.", portListener),
  check("protocol-listener/{protocol}", "503 unless something listens for this protocol.", protocolListener),
  {
    method: "GET",
    path: "/api/aliveness-test/{vhost}",
    summary: "Declares the queue aliveness-test, publishes a message to it and takes it, with the user's permissions.",
    role: "viewer",
    handler: aliveness,
  },
];

function check(name: string, summary: string, handler: (call: Call) => Answer): Route {
  return { method: "GET", path: `/api/health/checks/${name}`, summary, role: "viewer", handler };
}

function ready(admin: Admin): Answer {
  const reason = unreadiness(admin);
  return reason === undefined ? OK : json({ status: "failed", reason }, 503);
}

function alarms({ broker }: Admin): Answer {
  const raised = broker.alarms;
  if (raised.length === 0) return OK;
  return json({ status: "failed", reason: "There are alarms in effect", alarms: raised }, 503);
}

function portListener(call: Call): Answer {
  const ports = call.admin.listeners().map(({ port }) => port);
  const port = Number(call.parameter("port"));
  if (ports.includes(port)) return json({ status: "ok", port });
  const missing = Number.isInteger(port) ? port : call.parameter("port");
  return json({ status: "failed", reason: "No active listener", missing, ports }, 503);
}

const ALIASES: ReadonlyMap<string, string> = new Map([
  ["amqp091", "amqp"],
  ["amqp0.9.1", "amqp"],
  ["amqps", "amqp/ssl"],
  ["amqp-ssl", "amqp/ssl"],
  ["prometheus", "http/prometheus"],
]);

function protocolListener(call: Call): Answer {
  const asked = call.parameter("protocol");
  const protocol = ALIASES.get(asked) ?? asked;
  const protocols = [...new Set(call.admin.listeners().map((each) => listenerProtocol(each.protocol)))];
  if (protocols.includes(protocol)) return json({ status: "ok", protocol });
  return json({ status: "failed", reason: "No active listener", missing: asked, protocols }, 503);
}

async function aliveness(call: Call): Promise<Answer> {
  const { topology, messages } = call.admin.broker.management;
  const vhost = call.vhost();
  const name = "aliveness-test";
  const flags = { passive: false, durable: false, exclusive: false, autoDelete: false };
  topology.declareQueue(call.actor, vhost, { name, ...flags, arguments: EMPTY_TABLE });
  await messages.publish(call.actor, vhost, "", {
    routingKey: name,
    properties: {},
    body: Buffer.from("test_message"),
  });
  const taken = await messages.take(call.actor, vhost, name, { count: 1, fate: "ack" });
  if (taken.length > 0) return OK;
  return json({ status: "failed", reason: "the message did not come back" }, 503);
}
