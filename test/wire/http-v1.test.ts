// /v1 over real sockets.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { connect } from "amqplib";
import { type HttpWorld, startHttpWorld } from "./http-world.ts";

let world: HttpWorld;
before(async () => {
  world = await startHttpWorld();
});
after(() => world.close());

type Json = Readonly<Record<string, unknown>>;
const one = async (path: string): Promise<Json> => (await world.get(path)).json as Json;

test("messages are looked at as often as wanted: they stay in their places and are not marked as redelivered", async () => {
  await world.put("/api/queues/%2F/peeked", { durable: true });
  for (const body of ["first", "second", "third"]) {
    const message = { routingKey: "peeked", body, properties: { headers: { n: 1 }, delivery_mode: 2 } };
    const answer = await world.post("/v1/exchanges/%2F/amq.default/publish", message);
    assert.deepEqual(answer.json, { routed: true });
  }
  for (let look = 0; look < 3; look++) {
    const answer = await one("/v1/queues/%2F/peeked/messages?skip=1&count=2&bodyBytes=3");
    assert.deepEqual(answer, {
      messagesReady: 3,
      skip: 1,
      messages: [
        { ...SHOWN, bodyBytes: 6, body: "sec" },
        { ...SHOWN, bodyBytes: 5, body: "thi" },
      ],
    });
  }
  const taken = (await world.post("/v1/queues/%2F/peeked/get", { count: 5, then: "requeue" })).json as Json;
  const bodies = (taken["messages"] as readonly Json[]).map(({ body, redelivered }) => [body, redelivered]);
  assert.deepEqual(bodies, [
    ["first", false],
    ["second", false],
    ["third", false],
  ]);
  const again = (await one("/v1/queues/%2F/peeked/messages?count=1"))["messages"] as readonly Json[];
  assert.equal(again[0]!["deliveries"], 1);
  assert.deepEqual((await world.delete("/v1/queues/%2F/peeked/messages")).json, { purged: 3 });
  assert.equal((await one("/v1/queues/%2F/peeked"))["messagesReady"], 0);
});

const SHOWN = {
  exchange: "",
  routingKey: "peeked",
  properties: { delivery_mode: 2, headers: { n: 1 } },
  bodyEncoding: "string",
  deliveries: 0,
};

test("queues and exchanges are listed by vhost and part of the name, in pages", async () => {
  for (const name of ["list-b", "list-a", "list-c"]) await world.put(`/api/queues/%2F/${name}`, { durable: true });
  const answer = await one("/v1/queues?name=list-&limit=2&offset=1");
  assert.equal(answer["total"], 3);
  assert.deepEqual(
    (answer["queues"] as readonly Json[]).map(({ name }) => name),
    ["list-b", "list-c"],
  );
  const exchanges = await one("/v1/exchanges?vhost=%2F&name=amq.f");
  assert.deepEqual(
    (exchanges["exchanges"] as readonly Json[]).map(({ name, type }) => [name, type]),
    [["amq.fanout", "fanout"]],
  );
  assert.equal((await world.get("/v1/queues?limit=-1")).status, 400);
  assert.equal((await world.get("/v1/queues?vhost=none")).status, 404);
});

test("the overview counts what there is, and names alarms and listeners", async () => {
  const overview = await one("/v1/overview");
  const { queues, exchanges } = overview["totals"] as Json;
  assert.deepEqual([typeof queues, typeof exchanges, overview["status"]], ["number", "number", "ok"]);
  assert.deepEqual(overview["alarms"], { memory: false, disk: false });
  const protocols = (overview["listeners"] as readonly Json[]).map(({ protocol }) => protocol);
  assert.deepEqual(protocols, ["amqp", "http", "metrics"]);
});

test("a connection is listed with what it does, and ended", async () => {
  const client = await connect(`amqp://guest:guest@127.0.0.1:${world.amqpPort}`);
  await client.createChannel();
  const closed = new Promise((resolve) => client.on("close", resolve));
  const { total, connections } = await one("/v1/connections");
  const [connection] = connections as readonly Json[];
  assert.deepEqual([total, connection!["user"], (connection!["channels"] as unknown[]).length], [1, "guest", 1]);
  assert.equal((await world.delete("/v1/connections/999999")).status, 404);
  assert.equal((await world.delete(`/v1/connections/${String(connection!["id"])}?reason=bye`)).status, 204);
  await closed;
});

test("safe defaults are a policy that gives queues retries and a dead-letter queue", async () => {
  const answer = await world.put("/v1/safe-defaults/%2F", { pattern: "^safe", name: "safe" });
  assert.equal(answer.status, 200);
  assert.equal((await world.get("/api/policies/%2F/safe")).status, 200);
  await world.put("/api/queues/%2F/safe-one", { durable: true });
  assert.equal((await one("/v1/queues/%2F/safe-one"))["policy"], "safe");
});

test("refusals say what happened and, where somebody can do something about it, what", async () => {
  const missing = await world.get("/v1/queues/%2F/none");
  assert.deepEqual(
    [missing.status, missing.json],
    [404, { error: "not-found", message: "no queue 'none' in vhost '/'" }],
  );
  const login = await world.ask("/v1/overview", { login: null });
  assert.deepEqual(Object.keys(login.json as Json), ["error", "message", "hint"]);
  const bad = await world.post("/v1/exchanges/%2F/amq.default/publish", {
    routingKey: "x",
    body: "x",
    properties: { nope: 1 },
  });
  assert.deepEqual(bad.json, { error: "bad-request", message: "there is no property 'nope'" });
});
