// /api beside the management interface of a real RabbitMQ: the same requests to both give the same status
// and, where both have a field, the same type. And rabbitmqadmin, unmodified, works with it.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { promisify } from "node:util";
import { type ChannelModel, connect } from "amqplib";
import { ask, type HttpAnswer } from "../wire/http-world.ts";
import { type Broker, startQuayside, startRabbitmq } from "./brokers.ts";
import { missing, RABBITMQ } from "./peers.ts";

const run = promisify(execFile);
const RABBITMQADMIN = [
  "/usr/bin/rabbitmqadmin",
  "/usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8/plugins/rabbitmq_management-3.10.8/priv/www/cli/rabbitmqadmin",
].find((path) => existsSync(path));

const stops: (() => Promise<void>)[] = [];
after(async () => {
  for (const stop of stops) await stop();
});

interface Peer {
  /** Of HTTP. */
  readonly port: number;
  readonly amqpPort: number;
}

async function quaysideHttp(): Promise<Peer> {
  const broker: Broker = await startQuayside();
  stops.push(() => broker.stop());
  return { port: broker.httpPort, amqpPort: broker.port };
}

async function rabbitmqHttp(program: string): Promise<Peer> {
  const broker = await startRabbitmq(program);
  stops.push(() => broker.stop());
  return { port: broker.httpPort, amqpPort: broker.port };
}

/** A connection with a channel and a consumer. */
async function connectedClient(port: number): Promise<ChannelModel> {
  const url = `amqp://guest:guest@127.0.0.1:${port}`;
  const client = await connect(url, { clientProperties: { connection_name: "tester" } });
  const channel = await client.createConfirmChannel();
  await channel.prefetch(7);
  await channel.consume("q1", () => undefined, { consumerTag: "t" });
  return client;
}

/** Resolves when the client is in all lists: RabbitMQ collects what it shows every few seconds. */
async function whenListed(port: number): Promise<void> {
  for (;;) {
    const [connections, channels] = await Promise.all(
      ["connections", "channels"].map(
        async (list) => (await ask(port, `/api/${list}`)).json as Record<string, unknown>[],
      ),
    );
    const isListed = connections?.[0]?.["recv_oct"] !== undefined && channels?.[0]?.["consumer_count"] === 1;
    if (isListed) return;
    await once(AbortSignal.timeout(200), "abort");
  }
}

type Shape = string | { readonly [name: string]: Shape };

/** The types of a value. Of a list, what its items have together. */
function shapeOf(value: unknown): Shape {
  if (value === null) return "null";
  if (Array.isArray(value)) return { "[]": merged(value.map(shapeOf)) };
  if (typeof value !== "object") return typeof value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, shapeOf(each)]));
}

function merged(shapes: readonly Shape[]): Shape {
  return shapes.reduce((all, shape) => {
    if (typeof all !== "object" || typeof shape !== "object") return all === "null" ? shape : all;
    const names = new Set([...Object.keys(all), ...Object.keys(shape)]);
    const both = (name: string): Shape => merged([all[name], shape[name]].filter((each) => each !== undefined));
    return Object.fromEntries([...names].map((name) => [name, both(name)]));
  }, shapes[0] ?? "null");
}

interface Difference {
  readonly lacks: string[];
  readonly differs: string[];
}

/** What `ours` lacks of `theirs`, and where both have something else. "null" goes with everything. */
function compare(theirs: Shape, ours: Shape, at: string, found: Difference): void {
  if (theirs === "null" || ours === "null") return;
  if (typeof theirs === "string" || typeof ours === "string") {
    if (theirs !== ours) found.differs.push(`${at}: ${JSON.stringify(theirs)} here ${JSON.stringify(ours)}`);
    return;
  }
  for (const [name, shape] of Object.entries(theirs)) {
    const own = ours[name];
    const path = at === "" ? name : `${at}.${name}`;
    if (own === undefined) found.lacks.push(path.replaceAll("[].", ""));
    else compare(shape, own, path, found);
  }
}

/** Changes, in this order, each made on both. */
const CHANGES: readonly (readonly [method: string, path: string, body?: unknown])[] = [
  ["PUT", "/api/queues/%2F/q1", { durable: true, arguments: { "x-max-length": 10 } }],
  ["PUT", "/api/queues/%2F/q1", { durable: true, arguments: { "x-max-length": 10 } }],
  ["PUT", "/api/queues/%2F/q1", { durable: true, arguments: { "x-max-length": 11 } }],
  ["PUT", "/api/queues/%2F/amq.x", { durable: true }],
  ["PUT", "/api/exchanges/%2F/x1", { type: "topic", durable: true }],
  ["PUT", "/api/exchanges/%2F/x1", { type: "direct", durable: true }],
  ["PUT", "/api/exchanges/%2F/x2", { type: "nonsense" }],
  ["DELETE", "/api/exchanges/%2F/none"],
  ["DELETE", "/api/queues/%2F/none"],
  ["POST", "/api/bindings/%2F/e/x1/q/q1", { routing_key: "a.b", arguments: {} }],
  ["POST", "/api/bindings/%2F/e/x1/q/q1", { routing_key: "", arguments: { a: 1 } }],
  ["POST", "/api/bindings/%2F/e/x1/e/amq.topic", { routing_key: "k" }],
  ["POST", "/api/bindings/%2F/e/x1/q/none", { routing_key: "k" }],
  ["DELETE", "/api/bindings/%2F/e/x1/q/q1/none"],
  [
    "POST",
    "/api/exchanges/%2F/x1/publish",
    { properties: { headers: { h: 1 } }, routing_key: "a.b", payload: "x", payload_encoding: "string" },
  ],
  [
    "POST",
    "/api/exchanges/%2F/amq.default/publish",
    { properties: {}, routing_key: "none", payload: "x", payload_encoding: "string" },
  ],
  ["POST", "/api/exchanges/%2F/amq.default/publish", { routing_key: "none" }],
  ["POST", "/api/queues/%2F/q1/get", { count: 5, ackmode: "ack_requeue_true", encoding: "auto" }],
  [
    "PUT",
    "/api/policies/%2F/p1",
    { pattern: "^q", definition: { "max-length": 5 }, priority: 1, "apply-to": "queues" },
  ],
  ["PUT", "/api/policies/%2F/p2", { pattern: "^q", definition: { nonsense: 5 } }],
  ["PUT", "/api/operator-policies/%2F/o1", { pattern: "^q", definition: { "max-length": 50 }, "apply-to": "queues" }],
  ["PUT", "/api/users/u1", { password: "p", tags: "management" }],
  ["PUT", "/api/users/u1", { password: "p", tags: "management" }],
  ["PUT", "/api/users/u2", { password: "p" }],
  ["PUT", "/api/vhosts/v1", { description: "d", tags: "a,b" }],
  ["PUT", "/api/permissions/v1/u1", { configure: ".*", write: ".*", read: "x" }],
  ["PUT", "/api/permissions/v1/none", { configure: ".*", write: ".*", read: "x" }],
  ["PUT", "/api/permissions/v1/u1", { configure: "*", write: ".*", read: "x" }],
  ["PUT", "/api/topic-permissions/v1/u1", { exchange: "amq.topic", write: ".*", read: "x" }],
  ["PUT", "/api/user-limits/u1/max-connections", { value: 5 }],
  ["PUT", "/api/vhost-limits/v1/max-queues", { value: 5 }],
  ["PUT", "/api/global-parameters/g1", { value: { a: 1 } }],
];

const QUESTIONS = [
  "overview",
  "cluster-name",
  "nodes",
  "whoami",
  "extensions",
  "feature-flags",
  "vhosts",
  "vhosts/v1",
  "vhosts/none",
  "vhosts/v1/permissions",
  "vhosts/v1/topic-permissions",
  "users",
  "users/u1",
  "users/none",
  "users/u1/permissions",
  "users/u1/topic-permissions",
  "users/without-permissions",
  "permissions",
  "permissions/v1/u1",
  "permissions/v1/none",
  "topic-permissions",
  "topic-permissions/v1/u1",
  "user-limits",
  "user-limits/u1",
  "vhost-limits",
  "vhost-limits/v1",
  "parameters",
  "global-parameters",
  "global-parameters/g1",
  "queues",
  "queues/%2F",
  "queues/none",
  "queues/%2F/q1",
  "queues/%2F/none",
  "queues/%2F/q1/bindings",
  "queues?page=1&page_size=2&columns=name&sort=name&sort_reverse=true",
  "queues?page=9",
  "queues?page=1&name=Q&use_regex=true",
  "queues?columns=name,message_stats.publish",
  "exchanges",
  "exchanges/%2F/x1",
  "exchanges/%2F/amq.default",
  "exchanges/%2F/none",
  "exchanges/%2F/x1/bindings/source",
  "exchanges/%2F/x1/bindings/destination",
  "bindings",
  "bindings/%2F",
  "bindings/%2F/e/x1/q/q1",
  "bindings/%2F/e/x1/q/q1/a.b",
  "bindings/%2F/e/x1/q/q1/none",
  "connections",
  "connections/none",
  "channels",
  "channels/none",
  "consumers",
  "consumers/%2F",
  "policies",
  "policies/%2F",
  "policies/%2F/p1",
  "policies/%2F/none",
  "operator-policies",
  "operator-policies/%2F/o1",
  "definitions",
  "definitions/%2F",
  "auth",
  "health/checks/alarms",
  "health/checks/local-alarms",
  "health/checks/virtual-hosts",
  "health/checks/node-is-quorum-critical",
  "health/checks/node-is-mirror-sync-critical",
  "health/checks/port-listener/1",
  "health/checks/protocol-listener/amqp",
  "health/checks/protocol-listener/none",
  "aliveness-test/%2F",
  "none",
];

/** Where Quayside answers with another status, and why. */
const STATUS_DIFFERS: Readonly<Record<string, string>> = {
  'PUT /api/queues/%2F/amq.x {"durable":true}': "403: the login is right, so 401 would make a browser ask for another",
  'PUT /api/permissions/v1/none {"configure":".*","write":".*","read":"x"}': "404: the user is what is not there",
};

/** Fields that RabbitMQ has and Quayside has not, and why. */
const LACKS: readonly { readonly why: string; readonly fields: RegExp }[] = [
  {
    why: "they tell of Erlang's processes, files and tables",
    fields:
      /^(backing_queue_status|garbage_collection|recoverable_slaves|reductions|config_files|db_dir|log_files|os_pid|processors|net_ticktime|run_queue|cluster_links|sample_retention_policies|release_series_support_status|pending_raft_commands|mem_calculation_strategy|metrics_gc_queue_length|context_switches|(gc|fd|proc|sockets|io|ra|mnesia|msg_store|queue_index)_\w+)(_details)?$/,
  },
  { why: "the node has another name", fields: /^cluster_state\./ },
  { why: "options of sockets are not shown", fields: /^listeners\.socket_opts\.|^(ssl|peer_cert)_\w+$/ },
  {
    why: "no message is in memory alone",
    fields: /(^messages?|_bytes|_ready|_unacknowledged)_(paged_out|persistent|ram)$/,
  },
  {
    why: "deliveries are counted, not by way of consuming; nor what exchanges and connections did",
    fields:
      /^message_stats(\.(confirm|deliver_no_ack|get|get_empty|get_no_ack|disk_reads|disk_writes|drop_unroutable|return_unroutable)(_details)?)?$/,
  },
  {
    why: "not counted",
    fields:
      /^((churn_rates|(channel|connection|queue)_(closed|created|declared|deleted)|(recv|send)_(cnt|oct|pend)|mem_used|disk_free)(_details)?)$/,
  },
  { why: "not noted", fields: /^(auth_mechanism|head_message_timestamp|idle_since|user_who_performed_action)$/ },
  { why: "hashes of passwords are in definitions only", fields: /^(password_hash|hashing_algorithm)$/ },
  { why: "the definitions of one vhost can be imported into another", fields: /^(parameters|policies)\.vhost$/ },
];

test("the same requests to RabbitMQ and to Quayside have the same status, and fields of the same type", async (t) => {
  if (RABBITMQ === undefined) return missing(t, "rabbitmq-server");
  const [theirs, ours] = [await rabbitmqHttp(RABBITMQ), await quaysideHttp()];
  const both = async (method: string, path: string, body?: unknown): Promise<readonly [HttpAnswer, HttpAnswer]> => {
    return [await ask(theirs.port, path, { method, body }), await ask(ours.port, path, { method, body })];
  };
  const found: Difference = { lacks: [], differs: [] };
  const statuses: string[] = [];
  const take = (what: string, [their, our]: readonly [HttpAnswer, HttpAnswer]): void => {
    if (their.status !== our.status && STATUS_DIFFERS[what] === undefined) {
      statuses.push(`${what}: ${their.status}, here ${our.status} ${our.text}`);
    }
    if (their.status === 200 && our.status === 200) compare(shapeOf(their.json), shapeOf(our.json), "", found);
  };
  for (const [method, path, body] of CHANGES) {
    take(`${method} ${path} ${JSON.stringify(body ?? null)}`, await both(method, path, body));
  }
  const clients = await Promise.all([connectedClient(theirs.amqpPort), connectedClient(ours.amqpPort)]);
  await Promise.all([theirs, ours].map((broker) => whenListed(broker.port)));
  for (const question of QUESTIONS) take(`GET ${question}`, await both("GET", `/api/${question}`));
  for (const client of clients) await client.close();
  assert.deepEqual(statuses, []);
  assert.deepEqual(found.differs, []);
  const lacks = [...new Set(found.lacks.map((field) => field.replace(/^items\./, "")))];
  assert.deepEqual(
    lacks.filter((field) => !LACKS.some(({ fields }) => fields.test(field))),
    [],
  );
  const stale = LACKS.filter(({ fields }) => !lacks.some((field) => fields.test(field)));
  assert.deepEqual(stale, []);
});

/** Each line is a command for rabbitmqadmin and what it must print. */
const SESSION: readonly (readonly [words: readonly string[], prints: RegExp])[] = [
  [["declare", "vhost", "name=shop"], /vhost declared/],
  [["declare", "user", "name=clerk", "password=secret", "tags=management"], /user declared/],
  [["declare", "permission", "vhost=shop", "user=clerk", "configure=.*", "write=.*", "read=.*"], /permission declared/],
  [["declare", "vhost_limit", "vhost=shop", "name=max-queues", "value=9"], /vhost_limit declared/],
  [["-V", "shop", "declare", "queue", "name=orders", "durable=true", 'arguments={"x-max-length":5}'], /queue declared/],
  [["-V", "shop", "declare", "exchange", "name=in", "type=fanout"], /exchange declared/],
  [["-V", "shop", "declare", "binding", "source=in", "destination=orders", "routing_key=k"], /binding declared/],
  [
    ["-V", "shop", "declare", "policy", "name=p", "pattern=.", 'definition={"max-length":3}', "priority=2"],
    /policy declared/,
  ],
  [["-V", "shop", "publish", "exchange=in", "routing_key=k", "payload=hello"], /Message published/],
  [["-V", "shop", "publish", "exchange=amq.default", "routing_key=none", "payload=hello"], /NOT routed/],
  [["-V", "shop", "get", "queue=orders", "count=2"], /hello/],
  [["-V", "shop", "get", "queue=orders", "ackmode=ack_requeue_false"], /True/],
  [["-V", "shop", "purge", "queue", "name=orders"], /queue purged/],
  [["list", "queues", "vhost", "name", "messages", "policy"], /shop +\| orders \| 0 +\| p /],
  [["list", "vhosts"], /shop/],
  [["list", "users"], /clerk +\| management/],
  [["list", "permissions"], /shop +\| \.\*/],
  [["list", "bindings"], /in +\| orders +\| k/],
  [["list", "exchanges"], /in +\| fanout/],
  [["list", "policies"], /max-length/],
  [["list", "nodes"], /quayside@/],
  [["list", "connections"], /No items/],
  [["list", "channels"], /No items/],
  [["list", "consumers"], /No items/],
  [["show", "overview"], /queue_totals\.messages/],
  [["-u", "clerk", "-p", "secret", "list", "vhosts"], /shop/],
  [
    [
      "-V",
      "shop",
      "delete",
      "binding",
      "source=in",
      "destination_type=queue",
      "destination=orders",
      "properties_key=k",
    ],
    /deleted/,
  ],
  [["-V", "shop", "delete", "policy", "name=p"], /policy deleted/],
  [["-V", "shop", "delete", "exchange", "name=in"], /exchange deleted/],
];

test("rabbitmqadmin, unmodified, declares, lists, publishes, gets, exports, imports and deletes", async (t) => {
  if (RABBITMQADMIN === undefined) return missing(t, "rabbitmq-server");
  const port = String((await quaysideHttp()).port);
  const admin = async (...words: string[]): Promise<string> => {
    const { stdout } = await run("python3", [RABBITMQADMIN, "-P", port, ...words]);
    return stdout;
  };
  for (const [words, prints] of SESSION) assert.match(await admin(...words), prints, words.join(" "));
  const folder = mkdtempSync(join(tmpdir(), "rabbitmqadmin-"));
  const file = join(folder, "definitions.json");
  assert.match(await admin("export", file), /Exported/);
  assert.match(readFileSync(file, "utf8"), /"orders"/);
  assert.match(await admin("delete", "vhost", "name=shop"), /vhost deleted/);
  assert.match(await admin("import", file), /Uploaded/);
  rmSync(folder, { recursive: true });
  assert.match(await admin("list", "queues", "vhost", "name"), /shop +\| orders/);
  assert.match(await admin("-V", "shop", "delete", "queue", "name=orders"), /queue deleted/);
  await assert.rejects(admin("-u", "guest", "-p", "wrong", "list", "queues"), /Access refused/);
});
