// Routes through several exchanges: alternate exchanges, bindings between exchanges, delays on the way.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { FieldValue } from "../../src/model/field-table.ts";
import { encodeProperties } from "../../src/model/properties.ts";
import {
  type Bench,
  binding,
  exchange,
  idOf,
  NO_PROPERTIES,
  openBench,
  queue,
  reached,
  refuses,
} from "./broker-fixtures.ts";

/** Declares exchanges, each with its type and perhaps its arguments. */
function exchanges({ broker, session }: Bench, list: readonly [string, string, Record<string, FieldValue>?][]): void {
  for (const [name, type, args = {}] of list) {
    broker.declareExchange(session, exchange(name, type, { arguments: new Map(Object.entries(args)) }));
  }
}

function queues({ broker, session }: Bench, ...names: readonly string[]): void {
  for (const name of names) broker.declareQueue(session, queue(name));
}

function join({ broker, session }: Bench, source: string, destination: string, routingKey = ""): void {
  broker.bindExchange(session, { exchange: source, destination, routingKey, arguments: new Map() });
}

test("what an exchange cannot route goes to its alternate exchange, and only that", async () => {
  const bench = await openBench();
  exchanges(bench, [
    ["main", "direct", { "alternate-exchange": "rest" }],
    ["rest", "fanout"],
  ]);
  queues(bench, "known", "unknown");
  bench.broker.bindQueue(bench.session, binding("main", "known", "k"));
  bench.broker.bindQueue(bench.session, binding("rest", "unknown"));
  assert.deepEqual(reached(bench, "main", "k"), ["known"]);
  assert.deepEqual(reached(bench, "main", "other"), ["unknown"]);
});

test("alternate exchanges form chains and may form circles; a missing one is nothing", async () => {
  const bench = await openBench();
  exchanges(bench, [
    ["a", "direct", { "alternate-exchange": "b" }],
    ["b", "direct", { "alternate-exchange": "c" }],
    ["c", "direct", { "alternate-exchange": "a" }],
    ["lonely", "direct", { "alternate-exchange": "not there" }],
  ]);
  queues(bench, "q");
  assert.deepEqual(reached(bench, "a", "k"), []);
  bench.broker.bindQueue(bench.session, binding("c", "q", "k"));
  assert.deepEqual(reached(bench, "a", "k"), ["q"]);
  assert.deepEqual(reached(bench, "lonely", "k"), []);
});

test("the default exchange may be the alternate one: it routes by queue name", async () => {
  const bench = await openBench();
  exchanges(bench, [["main", "topic", { "alternate-exchange": "" }]]);
  queues(bench, "q");
  assert.deepEqual(reached(bench, "main", "q"), ["q"]);
});

test("an alternate exchange that looks at headers makes the route one for each message", async () => {
  const bench = await openBench();
  exchanges(bench, [
    ["main", "direct", { "alternate-exchange": "sorted" }],
    ["sorted", "headers"],
  ]);
  queues(bench, "q");
  bench.broker.bindQueue(bench.session, binding("sorted", "q", "", new Map([["kind", "a"]])));
  const wanted = encodeProperties({ headers: new Map([["kind", "a"]]) });
  assert.deepEqual(reached(bench, "main", "k", wanted), ["q"]);
  assert.deepEqual(reached(bench, "main", "k", NO_PROPERTIES), []);
  assert.deepEqual(reached(bench, "main", "k", wanted), ["q"]);
});

test("an exchange that reaches only exchanges has routed: its alternate one is not asked", async () => {
  const bench = await openBench();
  exchanges(bench, [
    ["main", "fanout", { "alternate-exchange": "rest" }],
    ["behind", "direct"],
    ["rest", "fanout"],
  ]);
  queues(bench, "q");
  bench.broker.bindQueue(bench.session, binding("rest", "q"));
  join(bench, "main", "behind");
  assert.deepEqual(reached(bench, "main", "k"), []);
});

test("the keys of CC and BCC are routed like the routing key, through the default exchange too", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  queues(bench, "one", "two", "three");
  broker.bindQueue(session, binding("amq.direct", "three", "k3"));
  const ids = (name: string, key: string, copies: string[]) =>
    broker.route(session, name, key, NO_PROPERTIES, copies).queueIds;
  assert.deepEqual(ids("", "one", ["two", "missing", "one"]), [
    idOf(broker, session, "one"),
    idOf(broker, session, "two"),
  ]);
  assert.deepEqual(ids("amq.direct", "none", ["k3"]), [idOf(broker, session, "three")]);
});

test("only what lies behind an x-delayed-message exchange is delayed, and nothing that is reached without it", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  exchanges(bench, [
    ["start", "fanout"],
    ["slow", "x-delayed-message", { "x-delayed-type": "fanout" }],
    ["last", "fanout"],
  ]);
  queues(bench, "fast", "late", "both", "deep");
  join(bench, "start", "slow");
  join(bench, "slow", "last");
  join(bench, "last", "start");
  broker.bindQueue(session, binding("start", "fast"));
  broker.bindQueue(session, binding("start", "both"));
  broker.bindQueue(session, binding("slow", "late"));
  broker.bindQueue(session, binding("slow", "both"));
  broker.bindQueue(session, binding("last", "deep"));
  const route = broker.route(session, "start", "", NO_PROPERTIES);
  const id = (name: string) => idOf(broker, session, name);
  assert.deepEqual(new Set(route.queueIds), new Set([id("fast"), id("late"), id("both"), id("deep")]));
  assert.deepEqual(new Set(route.delayedQueueIds), new Set([id("late"), id("deep")]));
  assert.equal(broker.route(session, "slow", "", NO_PROPERTIES).delayedQueueIds.length, 4, "all of it, back to start");
});

test("exchange arguments that a type cannot have are refused, and a second declaration must repeat them", async () => {
  const { broker, session } = await openBench();
  const delayed = (inner?: string) =>
    exchange("d", "x-delayed-message", {
      arguments: new Map(inner === undefined ? [] : [["x-delayed-type", inner]]),
    });
  refuses(
    () => broker.declareExchange(session, delayed()),
    "precondition-failed",
    "Invalid argument, 'x-delayed-type' must be an existing exchange type",
  );
  broker.declareExchange(session, delayed("topic"));
  broker.declareExchange(session, delayed("topic"));
  refuses(
    () => broker.declareExchange(session, delayed("direct")),
    "precondition-failed",
    /inequivalent arg 'x-delayed-type'/,
  );
  broker.declareExchange(session, exchange("h", "x-consistent-hash"));
  broker.declareQueue(session, queue("q"));
  refuses(() => broker.bindQueue(session, binding("h", "q", "many")), "precondition-failed", /must be an integer/);
  broker.bindQueue(session, binding("h", "q", "2"));
});
