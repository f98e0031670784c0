// Queues, exchanges, bindings and messages through the management interface.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { FieldTable } from "../../src/model/field-table.ts";
import { exchange, openBench, queue, refuses, type Bench } from "./broker-fixtures.ts";

const ADMIN = { user: "guest", tags: ["administrator"] };
const ANN = { user: "ann", tags: ["management"] };
const ALWAYS = { ifUnused: false, ifEmpty: false };
const NO_ARGUMENTS: FieldTable = new Map();

function toQueue(source: string, destination: string, routingKey = "", args = NO_ARGUMENTS) {
  return { source, destination, destinationType: "queue", routingKey, arguments: args } as const;
}

async function withAnn(): Promise<Bench> {
  const bench = await openBench();
  await bench.broker.management.users.put(ADMIN, "ann", {});
  bench.broker.management.users.putPermission(ADMIN, { vhost: "/", user: "ann", configure: "^a", write: "", read: "" });
  return bench;
}

test("queues and exchanges are declared and deleted with the permissions of whoever asks", async () => {
  const { topology } = (await withAnn()).broker.management;
  assert(topology.declareQueue(ANN, "/", queue("aq")));
  assert(!topology.declareQueue(ANN, "/", queue("aq")));
  assert(topology.declareExchange(ANN, "/", exchange("ax", "topic")));
  assert(!topology.declareExchange(ANN, "/", exchange("ax", "topic")));
  const text = "configure access to queue 'bq' in vhost '/' refused for user 'ann'";
  refuses(() => topology.declareQueue(ANN, "/", queue("bq")), "access-refused", text);
  refuses(() => topology.declareQueue(ANN, "v", queue("aq")), "not-found", "vhost 'v' does not exist");
  refuses(
    () => topology.declareQueue(ADMIN, "/", queue("e", { exclusive: true })),
    "precondition-failed",
    "an exclusive queue needs a connection that owns it",
  );
  assert.equal(topology.queue("/", "aq")?.record.name, "aq");
  assert.equal(topology.queue("/", "nope"), undefined);
  assert.equal(topology.exchange("/", "ax")?.settings.type, "topic");
  assert.equal([...topology.exchanges()].length, [...topology.exchanges("/")].length);
  topology.deleteQueue(ANN, "/", "aq", ALWAYS);
  topology.deleteExchange(ANN, "/", "ax", true);
  refuses(() => topology.deleteQueue(ANN, "/", "aq", ALWAYS), "not-found", "no queue 'aq' in vhost '/'");
  refuses(() => topology.deleteExchange(ANN, "/", "ax", true), "not-found", "no exchange 'ax' in vhost '/'");
});

test("an exclusive queue shows its owner and is locked for the management interface", async () => {
  const { broker, session } = await openBench();
  broker.declareQueue(session, queue("mine", { exclusive: true }));
  const { topology } = broker.management;
  assert.equal(topology.queue("/", "mine")?.ownerId, session.id);
  refuses(() => topology.purgeQueue(ADMIN, "/", "mine"), "resource-locked", /locked queue 'mine'/);
});

test("bindings are made, listed from both ends, and removed by their properties key", async () => {
  const { topology } = (await openBench()).broker.management;
  topology.declareQueue(ADMIN, "/", queue("q"));
  topology.declareExchange(ADMIN, "/", exchange("x", "headers"));
  const args = new Map([["k", 1]]);
  const keys = [
    topology.bind(ADMIN, "/", toQueue("x", "q")),
    topology.bind(ADMIN, "/", toQueue("x", "q", "a~b/c d")),
    topology.bind(ADMIN, "/", toQueue("x", "q", "", args)),
    topology.bind(ADMIN, "/", { ...toQueue("amq.direct", "x", "r"), destinationType: "exchange" }),
  ];
  assert.deepEqual(keys.slice(0, 2), ["~", "a%7Eb%2Fc%20d"]);
  assert.match(keys[2] ?? "", /^~[\w-]{22}$/);
  assert.equal(topology.bindingsFrom("/", "x").length, 3);
  assert.deepEqual(
    topology.bindingsTo("/", "queue", "q").map(({ source, propertiesKey }) => [source, propertiesKey]),
    [["", "q"], ...keys.slice(0, 3).map((key) => ["x", key])],
  );
  assert.deepEqual(
    topology.bindingsTo("/", "exchange", "x").map(({ source }) => source),
    ["amq.direct"],
  );
  assert.equal([...topology.bindings()].length, 5);
  const ends = { source: "x", destination: "q", destinationType: "queue" } as const;
  for (const key of keys.slice(0, 3)) assert(topology.unbind(ADMIN, "/", ends, key));
  assert(!topology.unbind(ADMIN, "/", ends, "~"));
  assert(
    topology.unbind(ADMIN, "/", { ...ends, source: "amq.direct", destination: "x", destinationType: "exchange" }, "r"),
  );
  assert.deepEqual(
    [...topology.bindings()].map(({ source }) => source),
    [""],
  );
});

test("a message is published and taken with its properties, and its answer waits until it is durable", async () => {
  const { broker, shard, turn } = await openBench();
  const { topology, messages } = broker.management;
  topology.declareQueue(ADMIN, "/", queue("q"));
  const properties = { deliveryMode: 2, contentType: "text/plain", headers: new Map([["a", 1]]) };
  let answered = false;
  const sent = messages
    .publish(ADMIN, "/", "", { routingKey: "q", properties, body: Buffer.from("hello") })
    .then((routed) => {
      answered = true;
      return routed;
    });
  await new Promise((resolve) => setImmediate(resolve));
  assert(!answered);
  shard.commit();
  broker.committedChanged();
  await new Promise((resolve) => setImmediate(resolve));
  assert(!answered, "the declaration of its queue is not durable yet");
  turn.run();
  assert(await sent);
  const [taken] = await messages.take(ADMIN, "/", "q", { count: 1, fate: "requeue" });
  assert.deepEqual(taken?.properties, properties);
  assert.equal(taken?.body.toString(), "hello");
});

test("an unroutable message is told, and nothing is taken from an empty queue", async () => {
  const bench = await openBench();
  const { broker } = bench;
  const { topology, messages } = broker.management;
  topology.declareQueue(ADMIN, "/", queue("q"));
  bench.turn.run();
  const what = { routingKey: "q", properties: {}, body: Buffer.from("hello") };
  assert(!(await messages.publish(ADMIN, "/", "amq.direct", what)));
  assert(await messages.publish(ADMIN, "/", "", what));
  const taken = await messages.take(ADMIN, "/", "q", { count: 5, fate: "ack" });
  assert.deepEqual(
    taken.map(({ body, routingKey, readyLeft }) => [body.toString(), routingKey, readyLeft]),
    [["hello", "q", 0]],
  );
  assert.deepEqual(await messages.take(ADMIN, "/", "q", { count: 5, fate: "requeue" }), []);
  await assert.rejects(messages.take(ADMIN, "/", "q", { count: 0, fate: "ack" }), { code: "precondition-failed" });
});

test("what a client may not publish, the management interface may not either", async () => {
  const bench = await withAnn();
  const { messages } = bench.broker.management;
  const what = { routingKey: "q", properties: {}, body: Buffer.from("") };
  const rejects = (promise: Promise<unknown>, code: string) => assert.rejects(promise, { name: "BrokerError", code });
  await rejects(messages.publish(ANN, "/", "", what), "access-refused");
  await rejects(messages.publish(ADMIN, "/", "nope", what), "not-found");
  await rejects(messages.publish(ADMIN, "/", "", { ...what, properties: { userId: "ann" } }), "precondition-failed");
  await rejects(messages.publish(ADMIN, "/", "", { ...what, properties: { expiration: "1s" } }), "precondition-failed");
  await rejects(
    messages.publish(ADMIN, "/", "", { ...what, properties: { appId: "a".repeat(256) } }),
    "precondition-failed",
  );
  await rejects(messages.publish(ADMIN, "/", "", { ...what, routingKey: "k".repeat(256) }), "precondition-failed");
  bench.broker.setAlarm("disk", true);
  await rejects(messages.publish(ADMIN, "/", "", what), "resource-limit");
});

test("who may enter a vhost sees it; administrators and monitoring see all", async () => {
  const { vhosts } = (await withAnn()).broker.management;
  vhosts.put(ADMIN, "v", {});
  const names = (tags: string[], user: string) => vhosts.visibleTo({ user, tags }).map(({ name }) => name);
  assert.deepEqual(names(["management"], "ann"), ["/"]);
  assert.deepEqual(names(["monitoring"], "ann"), ["/", "v"]);
  assert.deepEqual(names(["administrator"], "guest"), ["/", "v"]);
  assert(vhosts.mayEnter(ADMIN, "v"), "who makes a vhost may do everything in it");
});
