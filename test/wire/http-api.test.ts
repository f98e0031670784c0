// /api over real sockets: what tools for RabbitMQ's management interface rely on. Its shapes are compared
// with a real RabbitMQ in test/interop/management.test.ts.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { connect, type ChannelModel } from "amqplib";
import { ask, type HttpWorld, startHttpWorld } from "./http-world.ts";

let world: HttpWorld;
before(async () => {
  world = await startHttpWorld();
});
after(() => world.close());

type Json = Readonly<Record<string, unknown>>;
const items = async (path: string): Promise<readonly Json[]> => (await world.get(path)).json as readonly Json[];
const one = async (path: string): Promise<Json> => (await world.get(path)).json as Json;

test("what is declared is listed, found by name and deleted again", async () => {
  assert.equal(
    (await world.put("/api/queues/%2F/orders", { durable: true, arguments: { "x-max-length": 9 } })).status,
    201,
  );
  assert.equal(
    (await world.put("/api/queues/%2F/orders", { durable: "true", arguments: { "x-max-length": 9 } })).status,
    204,
  );
  const again = await world.put("/api/queues/%2F/orders", { durable: false });
  assert.equal(again.status, 400);
  assert.match(String((again.json as Json)["reason"]), /^inequivalent arg 'durable' for queue 'orders' in vhost '\/'/);
  const queue = await one("/api/queues/%2F/orders");
  assert.deepEqual([queue["name"], queue["vhost"], queue["durable"], queue["type"]], ["orders", "/", true, "classic"]);
  assert.deepEqual(queue["arguments"], { "x-max-length": 9 });
  assert.equal((await world.delete("/api/queues/%2F/orders")).status, 204);
  assert.equal((await world.get("/api/queues/%2F/orders")).status, 404);
  assert.equal((await world.delete("/api/queues/%2F/orders")).status, 404);
});

test("a vhost whose name needs encoding is a place like others: its queues are its own", async () => {
  const vhost = encodeURIComponent("a/b %2F?");
  assert.equal((await world.put(`/api/vhosts/${vhost}`, { description: "odd", tags: "x,y" })).status, 201);
  assert.equal((await world.put(`/api/queues/${vhost}/q%2Fq`, { durable: true })).status, 201);
  assert.deepEqual(
    (await items(`/api/queues/${vhost}`)).map(({ name }) => name),
    ["q/q"],
  );
  assert.deepEqual(
    (await items("/api/queues/%2F")).map(({ name }) => name),
    [],
  );
  assert.deepEqual((await one(`/api/vhosts/${vhost}`))["tags"], ["x", "y"]);
  assert.equal((await world.delete(`/api/vhosts/${vhost}`)).status, 204);
  assert.equal((await world.get(`/api/queues/${vhost}`)).status, 404);
});

test("messages are published, looked at and taken: bodies as text or base64, routed or not", async () => {
  await world.put("/api/queues/%2F/m", { durable: true });
  const publish = (routingKey: string, payload: string, encoding: string): Promise<unknown> => {
    const properties = { delivery_mode: 2, headers: { n: 1 }, timestamp: 7, message_id: "i" };
    const body = { routing_key: routingKey, payload, payload_encoding: encoding, properties };
    return world.post("/api/exchanges/%2F/amq.default/publish", body).then(({ json }) => json);
  };
  assert.deepEqual(await publish("m", "grüß", "string"), { routed: true });
  assert.deepEqual(await publish("m", "AAH/", "base64"), { routed: true });
  assert.deepEqual(await publish("nobody", "x", "string"), { routed: false });
  const get = (body: Json) => world.post("/api/queues/%2F/m/get", body).then(({ json }) => json as readonly Json[]);
  const looked = await get({ count: "5", ackmode: "ack_requeue_true", encoding: "auto" });
  assert.deepEqual(
    looked.map(({ payload }) => payload),
    ["grüß", "AAH/"],
  );
  assert.deepEqual(
    looked.map(({ payload_encoding: encoding }) => encoding),
    ["string", "base64"],
  );
  assert.deepEqual(looked[0]!["properties"], { delivery_mode: 2, headers: { n: 1 }, timestamp: 7, message_id: "i" });
  const taken = await get({ count: 1, ackmode: "ack_requeue_false", encoding: "base64", truncate: 2 });
  assert.deepEqual([taken[0]!["payload"], taken[0]!["redelivered"], taken[0]!["payload_bytes"]], ["Z3I=", true, 6]);
  const left = await one("/api/queues/%2F/m");
  const stats = left["message_stats"] as Json;
  assert.deepEqual(
    [left["messages"], stats["publish"], stats["deliver_get"], stats["redeliver"], stats["ack"]],
    [1, 2, 3, 1, 1],
  );
  assert.equal((await world.delete("/api/queues/%2F/m/contents")).status, 204);
  assert.equal((await one("/api/queues/%2F/m"))["messages"], 0);
  await world.delete("/api/queues/%2F/m");
});

test("bindings are made, named by the location that the answer tells, and removed by it", async () => {
  await world.put("/api/exchanges/%2F/x", { type: "topic", durable: true });
  await world.put("/api/queues/%2F/b", { durable: true });
  for (const [key, args] of [
    ["a.b", {}],
    ["", {}],
    ["a/b ~%", {}],
    ["k", { n: 1 }],
    ["", { n: 2 }],
  ] as const) {
    const path = "/api/bindings/%2F/e/x/q/b";
    const made = await world.post(path, { routing_key: key, arguments: args });
    assert.equal(made.status, 201);
    const propertiesKey = String(made.headers["location"]).split("/").at(-1)!;
    const found = await one(`${path}/${propertiesKey}`);
    assert.deepEqual([found["routing_key"], found["arguments"]], [key, args]);
    assert.equal((await world.delete(`${path}/${propertiesKey}`)).status, 204);
    assert.equal((await world.get(`${path}/${propertiesKey}`)).status, 404);
  }
  assert.equal((await world.post("/api/bindings/%2F/e/x/e/amq.fanout", { routing_key: "#" })).status, 201);
  assert.deepEqual(
    (await items("/api/exchanges/%2F/x/bindings/source")).map((each) => each["destination"]),
    ["amq.fanout"],
  );
  assert.deepEqual(
    (await items("/api/exchanges/%2F/amq.fanout/bindings/destination")).map((each) => each["source"]),
    ["x"],
  );
  assert.deepEqual(
    (await items("/api/queues/%2F/b/bindings")).map((each) => each["source"]),
    [""],
  );
  await world.delete("/api/exchanges/%2F/x");
  await world.delete("/api/queues/%2F/b");
});

test("lists are cut into pages, filtered by name, sorted and reduced to columns", async () => {
  for (const name of ["page-a", "page-b", "page-c", "other"])
    await world.put(`/api/queues/%2F/${name}`, { durable: true });
  const query = "page=2&page_size=2&name=PAGE-&columns=name&sort=name&sort_reverse=true";
  assert.deepEqual((await world.get(`/api/queues?${query}`)).json, {
    filtered_count: 3,
    item_count: 1,
    items: [{ name: "page-a" }],
    page: 2,
    page_count: 2,
    page_size: 2,
    total_count: 4,
  });
  const regex = await one(`/api/queues?page=1&name=${encodeURIComponent("^page-[ab]$")}&use_regex=true`);
  assert.equal(regex["filtered_count"], 2);
  assert.equal((await world.get("/api/queues?page=1&name=(&use_regex=true")).status, 400);
  assert.equal((await world.get("/api/queues?page=9")).status, 400);
  assert.equal((await world.get("/api/queues?page=x")).status, 400);
  assert.deepEqual((await items("/api/queues/%2F?columns=name,message_stats.publish_details.rate"))[0], {
    name: "other",
    message_stats: { publish_details: { rate: 0 } },
  });
  for (const name of ["page-a", "page-b", "page-c", "other"]) await world.delete(`/api/queues/%2F/${name}`);
});

test("a connection is listed with its channels and consumers, and ended with the reason that is given", async () => {
  const url = `amqp://guest:guest@127.0.0.1:${world.amqpPort}`;
  const client: ChannelModel = await connect(url, { clientProperties: { connection_name: "tester" } });
  const channel = await client.createChannel();
  await channel.assertQueue("watched");
  await channel.prefetch(7);
  await channel.consume("watched", () => undefined, { consumerTag: "t" });
  const [connection] = await items("/api/connections/");
  assert.equal(connection!["user_provided_name"], "tester");
  assert.match(String(connection!["name"]), /^127\.0\.0\.1:\d+ -> 127\.0\.0\.1:\d+$/);
  const [open] = await items("/api/channels");
  assert.deepEqual([open!["number"], open!["consumer_count"]], [1, 1]);
  const [consumer] = await items("/api/consumers/%2F");
  assert.deepEqual([consumer!["consumer_tag"], consumer!["prefetch_count"]], ["t", 7]);
  assert.equal(((await one("/api/queues/%2F/watched"))["consumer_details"] as readonly unknown[]).length, 1);
  // amqplib tells a forced close by "close" alone.
  const errors = once(client, "close") as Promise<[Error]>;
  const path = `/api/connections/${encodeURIComponent(String(connection!["name"]))}`;
  const ended = await world.ask(path, { method: "DELETE", headers: { "x-reason": "maintenance" } });
  assert.equal(ended.status, 204);
  const [error] = await errors;
  assert.match(error.message, /320.*maintenance/);
  assert.equal((await world.get(path)).status, 404);
});

test("roles: a viewer sees its own vhosts and changes nothing of the broker's; a policymaker sets policies there", async () => {
  await world.put("/api/vhosts/own", {});
  await world.put("/api/users/viewer", { password: "v", tags: "management" });
  await world.put("/api/users/policies", { password: "p", tags: ["policymaker"] });
  await world.put("/api/users/nobody", { password: "n", tags: "" });
  for (const user of ["viewer", "policies"]) {
    await world.put(`/api/permissions/own/${user}`, { configure: "^q", write: "", read: "^q" });
  }
  const as = (login: string, method: string, path: string, body?: unknown) =>
    ask(world.port, path, { method, body, login });
  const status = async (...what: Parameters<typeof as>): Promise<number> => (await as(...what)).status;
  const vhosts = (await as("viewer:v", "GET", "/api/vhosts")).json as readonly Json[];
  assert.deepEqual(
    vhosts.map(({ name }) => name),
    ["own"],
  );
  assert.equal(await status("viewer:v", "GET", "/api/queues/%2F"), 403);
  assert.equal(await status("viewer:v", "PUT", "/api/queues/own/q1", {}), 201);
  assert.equal(await status("viewer:v", "PUT", "/api/queues/own/other", {}), 403);
  assert.equal(await status("viewer:v", "PUT", "/api/queues/%2F/q1", {}), 403);
  assert.equal(
    await status("viewer:v", "POST", "/api/exchanges/own/amq.default/publish", { routing_key: "q1", payload: "x" }),
    403,
  );
  assert.equal(
    await status("viewer:v", "PUT", "/api/policies/own/p", { pattern: ".", definition: { "max-length": 1 } }),
    403,
  );
  assert.equal(
    await status("policies:p", "PUT", "/api/policies/own/p", { pattern: ".", definition: { "max-length": 1 } }),
    201,
  );
  assert.equal(
    await status("policies:p", "PUT", "/api/policies/%2F/p", { pattern: ".", definition: { "max-length": 1 } }),
    403,
  );
  assert.equal(
    await status("policies:p", "PUT", "/api/operator-policies/own/p", { pattern: ".", definition: {} }),
    403,
  );
  for (const path of ["/api/users", "/api/permissions", "/api/definitions", "/api/user-limits"]) {
    assert.equal(await status("policies:p", "GET", path), 403, path);
  }
  assert.equal(await status("nobody:n", "GET", "/api/whoami"), 403);
  assert.deepEqual((await as("viewer:v", "GET", "/api/whoami")).json, { name: "viewer", tags: ["management"] });
  await world.delete("/api/vhosts/own");
});

test("definitions go out and come in again; what is there stays, what fails is told, the rest is done", async () => {
  await world.put("/api/queues/%2F/kept", { durable: true });
  await world.put("/api/policies/%2F/limit", {
    pattern: "^kept",
    definition: { "max-length": 3 },
    "apply-to": "queues",
  });
  const definitions = await one("/api/definitions");
  await world.delete("/api/queues/%2F/kept");
  await world.delete("/api/policies/%2F/limit");
  assert.equal((await world.post("/api/definitions", definitions)).status, 204);
  assert.equal((await one("/api/queues/%2F/kept"))["policy"], "limit");
  const queue = { durable: true, auto_delete: false, arguments: {} };
  const binding = { source: "amq.direct", destination_type: "queue", routing_key: "", arguments: {} };
  const answer = await world.post("/api/definitions/%2F", {
    queues: [
      { ...queue, name: "fresh" },
      { ...queue, name: "kept", durable: false },
    ],
    bindings: [
      { ...binding, destination: "missing" },
      { ...binding, destination: "fresh" },
    ],
  });
  assert.equal(answer.status, 400);
  assert.match(String((answer.json as Json)["reason"]), /missing/);
  assert.equal((await one("/api/queues/%2F/kept"))["durable"], true);
  assert.equal((await items("/api/queues/%2F/fresh/bindings")).length, 2);
  assert.equal((await world.get("/api/queues/%2F/fresh")).status, 200);
  for (const body of [{ queues: 1 }, [], { queues: [{}] }, "x"]) {
    assert.equal((await world.post("/api/definitions", JSON.stringify(body))).status, 400);
  }
});

test("health checks answer 200 while all is well, and the aliveness test goes through a queue", async () => {
  const checks = ["alarms", "local-alarms", "virtual-hosts", "node-is-quorum-critical", "ready-to-serve-clients"];
  const ports = [`port-listener/${world.amqpPort}`, "protocol-listener/amqp", "protocol-listener/http"];
  for (const check of [...checks, ...ports]) {
    assert.equal((await world.get(`/api/health/checks/${check}`)).status, 200, check);
  }
  assert.equal((await world.get("/api/health/checks/port-listener/1")).status, 503);
  assert.equal((await world.get("/api/health/checks/protocol-listener/mqtt")).status, 503);
  assert.deepEqual(await one("/api/aliveness-test/%2F"), { status: "ok" });
});
