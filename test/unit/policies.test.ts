// Policies: which holds for what, what they may say, what follows from a change.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { JsonValue } from "../../src/model/field-table-json.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { binding, exchange, openBench, queue, reached, refuses, type Bench } from "./broker-fixtures.ts";

const ADMIN = { user: "guest", tags: ["administrator"] };

type Settings = { pattern?: string; applyTo?: string; priority?: number };

function put({ broker }: Bench, name: string, definition: Record<string, JsonValue>, settings: Settings = {}): void {
  const all = { pattern: ".*", ...settings, definition: new Map(Object.entries(definition)) };
  broker.management.policies.put(ADMIN, "policy", "/", name, all);
}

function putOperator({ broker }: Bench, name: string, definition: Record<string, JsonValue>): void {
  const all = { pattern: ".*", definition: new Map(Object.entries(definition)) };
  broker.management.policies.put(ADMIN, "operator-policy", "/", name, all);
}

function policyOf({ broker }: Bench, name: string) {
  const view = broker.management.topology.queue("/", name);
  assert(view !== undefined, `queue ${name} exists`);
  return view.policy;
}

function definitionOf(bench: Bench, name: string) {
  return Object.fromEntries(policyOf(bench, name).definition);
}

test("of the policies that match, the one with the highest priority holds, before and after the declaration", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  broker.declareQueue(session, queue("early"));
  put(bench, "low", { "max-length": 1 }, { priority: 1 });
  put(bench, "high", { "message-ttl": 2 }, { priority: 5, pattern: "^(early|late)$" });
  put(bench, "other", { "max-length": 3 }, { priority: 9, pattern: "^nothing" });
  broker.declareQueue(session, queue("late"));
  broker.declareQueue(session, queue("plain"));
  for (const name of ["early", "late"]) {
    assert.equal(policyOf(bench, name).policy, "high");
    assert.deepEqual(definitionOf(bench, name), { "message-ttl": 2 });
  }
  assert.equal(policyOf(bench, "plain").policy, "low");
  put(bench, "high", { "message-ttl": 2 }, { priority: 0 });
  assert.equal(policyOf(bench, "early").policy, "low");
  broker.management.policies.delete(ADMIN, "policy", "/", "low");
  assert.equal(policyOf(bench, "early").policy, "high");
  broker.management.policies.delete(ADMIN, "policy", "/", "high");
  assert.equal(policyOf(bench, "early").policy, undefined);
  assert.deepEqual(definitionOf(bench, "early"), {});
});

test("a policy applies to the kinds that it names, in its own vhost only", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  broker.declareQueue(session, queue("classic"));
  broker.declareQueue(session, queue("quorum", { arguments: new Map([["x-queue-type", "quorum"]]) }));
  broker.declareExchange(session, exchange("x", "direct"));
  broker.management.vhosts.put(ADMIN, "v", {});
  broker.declareQueue(broker.openSession("guest", "v"), queue("classic"));
  for (const [applyTo, expected] of [
    ["all", ["classic", "quorum", "x"]],
    ["queues", ["classic", "quorum"]],
    ["classic_queues", ["classic"]],
    ["quorum_queues", ["quorum"]],
    ["streams", []],
    ["exchanges", ["x"]],
  ] as const) {
    put(bench, "p", { "max-length": 1 }, { applyTo });
    const { topology } = broker.management;
    const found = ["classic", "quorum"].filter((name) => policyOf(bench, name).policy === "p");
    if (topology.exchange("/", "x")?.policy.policy === "p") found.push("x");
    assert.deepEqual(found, expected, applyTo);
    assert.equal(topology.queue("v", "classic")?.policy.policy, undefined);
  }
  refuses(() => put(bench, "p", { "max-length": 1 }, { applyTo: "topics" }), "precondition-failed", /'topics'$/);
});

test("an operator policy lowers limits and lengthens nothing", async () => {
  const bench = await openBench();
  bench.broker.declareQueue(bench.session, queue("q"));
  put(bench, "own", { "max-length": 10, "message-ttl": 5, overflow: "drop-head", "delivery-limit": -1 });
  putOperator(bench, "ops", {
    "max-length": 5,
    "message-ttl": 9,
    overflow: "reject-publish",
    expires: 7,
    "delivery-limit": 3,
  });
  assert.deepEqual(definitionOf(bench, "q"), {
    "max-length": 5,
    "message-ttl": 5,
    overflow: "reject-publish",
    "delivery-limit": 3,
    expires: 7,
  });
  assert.deepEqual([policyOf(bench, "q").policy, policyOf(bench, "q").operatorPolicy], ["own", "ops"]);
  bench.broker.management.policies.delete(ADMIN, "policy", "/", "own");
  assert.equal(definitionOf(bench, "q")["message-ttl"], 9);
});

test("the shard hears what a queue is to do: when it is declared, when a policy changes, and after a restart", async () => {
  const bench = await openBench();
  const { broker, session, shard, turn } = bench;
  const settingsOf = ({ broker: b, shard: s }: Bench, name: string) => {
    const id = b.management.topology.queue("/", name)?.record.id ?? 0;
    return s.queues.get(id)?.settings;
  };
  broker.declareQueue(session, queue("early", { arguments: new Map([["x-max-length", 7]]) }));
  put(bench, "p", { "max-length": 9, "message-ttl": 100, "dead-letter-exchange": "x" });
  putOperator(bench, "o", { "message-ttl": 50 });
  broker.declareQueue(session, queue("late"));
  turn.run();
  const after = await bench.crash(shard);
  for (const each of [bench, after]) {
    const [early, late] = [settingsOf(each, "early"), settingsOf(each, "late")];
    assert.deepEqual([early?.lengthMax, early?.messageTtlMs, early?.deadLetters], [7, 50, true]);
    assert.deepEqual([late?.lengthMax, late?.messageTtlMs, late?.deadLetters], [9, 50, true]);
  }
  after.broker.management.policies.delete(ADMIN, "policy", "/", "p");
  assert.deepEqual([settingsOf(after, "late")?.lengthMax, settingsOf(after, "late")?.deadLetters], [undefined, false]);
});

test("a queue sends its dead letters only once the queue for them is durable", async () => {
  const bench = await openBench();
  const { broker, session, shard, turn } = bench;
  broker.declareQueue(session, queue("q"));
  turn.run();
  const id = broker.management.topology.queue("/", "q")?.record.id ?? 0;
  broker.management.policies.putSafeDefaults(ADMIN, "/", "^q$");
  assert.equal(shard.queues.get(id)?.settings.deadLetters, false);
  turn.run();
  assert.deepEqual(
    [shard.queues.get(id)?.settings.deadLetters, shard.queues.get(id)?.settings.deliveryLimit],
    [true, 5],
  );
});

test("an alternate exchange by policy takes what an exchange cannot route, at once", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  broker.declareExchange(session, exchange("x", "direct"));
  broker.declareExchange(session, exchange("rest", "fanout"));
  broker.declareQueue(session, queue("q"));
  broker.bindQueue(session, binding("rest", "q"));
  assert.deepEqual(reached(bench, "x", "k"), []);
  put(bench, "ae", { "alternate-exchange": "rest" }, { pattern: "^x$", applyTo: "exchanges" });
  assert.deepEqual(reached(bench, "x", "k"), ["q"]);
  broker.declareExchange(session, exchange("y", "direct", { arguments: new Map([["alternate-exchange", "nowhere"]]) }));
  put(bench, "ae", { "alternate-exchange": "rest" });
  assert.deepEqual(reached(bench, "y", "k"), [], "an argument goes before a policy");
  broker.management.policies.delete(ADMIN, "policy", "/", "ae");
  assert.deepEqual(reached(bench, "x", "k"), []);
});

test("policies and parameters survive a restart, and go with their vhost", async () => {
  for (const limits of [undefined, { runningBytes: 10, startBytes: 10, partBytes: 300 }]) {
    const bench = await openBench(limits === undefined ? {} : { limits });
    const { management } = bench.broker;
    bench.broker.declareQueue(bench.session, queue("q"));
    management.vhosts.put(ADMIN, "v", {});
    put(bench, "p", { "max-length": 3 }, { priority: -2, applyTo: "queues" });
    putOperator(bench, "o", { "max-length": 2 });
    for (const vhost of ["/", "v"]) {
      management.policies.putParameter(ADMIN, { vhost, component: "shovel", name: "s", value: { a: [1, null] } });
      management.policies.putParameter(ADMIN, { vhost, component: "shovel", name: "gone", value: "x" });
      management.policies.deleteParameter(ADMIN, vhost, "shovel", "gone");
    }
    management.policies.putGlobalParameter(ADMIN, "cluster_name", "dock");
    management.policies.putGlobalParameter(ADMIN, "gone", 1);
    management.policies.deleteGlobalParameter(ADMIN, "gone");
    bench.turn.run();
    const after = await bench.crash();
    const { policies } = after.broker.management;
    for (const kind of ["policy", "operator-policy"] as const)
      assert.deepEqual(policies.list(kind), management.policies.list(kind));
    assert.deepEqual(policies.parameters(), management.policies.parameters());
    assert.deepEqual(policies.globalParameters(), [{ name: "cluster_name", value: "dock" }]);
    assert.deepEqual(definitionOf(after, "q"), { "max-length": 2 });
    after.broker.management.vhosts.delete(ADMIN, "v");
    assert.deepEqual(
      policies.parameters().map(({ vhost }) => vhost),
      ["/"],
    );
    after.broker.management.vhosts.put(ADMIN, "v", {});
    assert.equal(policies.parameters().length, 1);
  }
});

test("a definition says what queues and exchanges understand, in values that make sense", async () => {
  const bench = await openBench();
  const cases: [Record<string, JsonValue>, RegExp][] = [
    [{}, /at least one key/],
    [{ "max-lenght": 1 }, /^'max-lenght' is not a key of policies$/],
    [{ __proto__x: 1 }, /is not a key/],
    [{ "max-length": -1 }, /^'max-length' is an integer of at least 0, not -1$/],
    [{ "max-length": "1" }, /not "1"$/],
    [{ expires: 0 }, /at least 1, not 0/],
    [{ overflow: "x" }, /one of drop-head/],
    [{ "delivery-limit": 1.5 }, /an integer/],
    [{ "max-age": "1week" }, /units/],
    [{ "dead-letter-exchange": 1 }, /name of an exchange/],
    [{ "delayed-retry-jitter": 2 }, /from 0 to 1/],
    [{ "dead-letter-suffix": "" }, /1 to 64/],
    [{ "dead-letter-routing-key": "x".repeat(70_000) }, /has \d+ bytes, at most 65536/],
  ];
  for (const [definition, message] of cases) refuses(() => put(bench, "p", definition), "precondition-failed", message);
  refuses(() => putOperator(bench, "o", { "alternate-exchange": "x" }), "precondition-failed", /of operator policies$/);
  refuses(() => put(bench, "", { "max-length": 1 }), "precondition-failed", "a policy has a name");
  refuses(() => put(bench, "p", { "max-length": 1 }, { pattern: "(" }), "precondition-failed", /pattern of policy 'p'/);
  refuses(() => put(bench, "p", { "max-length": 1 }, { priority: 0.5 }), "precondition-failed", /priority/);
  const { policies } = bench.broker.management;
  const settings = { pattern: "", definition: new Map([["max-length", 1]]) };
  refuses(() => policies.put(ADMIN, "policy", "v", "p", settings), "not-found", "vhost 'v' does not exist");
  refuses(() => policies.delete(ADMIN, "policy", "/", "p"), "not-found", "policy 'p' does not exist in vhost '/'");
  refuses(() => policies.deleteParameter(ADMIN, "/", "c", "p"), "not-found", /^parameter 'p' of 'c'/);
  refuses(() => policies.deleteGlobalParameter(ADMIN, "p"), "not-found", /^global parameter 'p'/);
});

test("policies take the role of an operator in the vhost, operator policies that of an administrator", async () => {
  const { management } = (await openBench()).broker;
  const { policies } = management;
  await management.users.put(ADMIN, "ann", {});
  management.users.putPermission(ADMIN, { vhost: "/", user: "ann", configure: "", write: "", read: "" });
  management.vhosts.put(ADMIN, "v", {});
  const settings = { pattern: "", definition: new Map([["max-length", 1]]) };
  const ann = { user: "ann", tags: ["policymaker"] };
  assert(policies.put(ann, "policy", "/", "p", settings));
  assert(!policies.put(ann, "policy", "/", "p", settings));
  policies.delete(ann, "policy", "/", "p");
  const viewer = { user: "ann", tags: ["management"] };
  refuses(() => policies.put(viewer, "policy", "/", "p", settings), "access-refused", /needs the role 'operator'/);
  refuses(() => policies.put(ann, "operator-policy", "/", "p", settings), "access-refused", /role 'admin'/);
  refuses(() => policies.put(ann, "policy", "v", "p", settings), "access-refused", /no access to vhost 'v'$/);
  refuses(
    () => policies.putParameter(ann, { vhost: "/", component: "vhost-limits", name: "limits", value: {} }),
    "access-refused",
    /role 'admin'/,
  );
});

test("the parameter vhost-limits is the limits of the vhost", async () => {
  const { policies, vhosts } = (await openBench()).broker.management;
  const set = (value: JsonValue) =>
    policies.putParameter(ADMIN, { vhost: "/", component: "vhost-limits", name: "limits", value });
  set({ "max-connections": 7, "max-queues": -1 });
  assert.deepEqual(vhosts.get("/")?.limits, { maxConnections: 7, maxQueues: undefined });
  assert.deepEqual(policies.parameters(), []);
  refuses(() => set({ "max-queues": "x" }), "precondition-failed", /max-queues is not an integer/);
});

test("safe defaults give each durable queue limits, retries and a queue for its dead letters", async () => {
  const bench = await openBench();
  const { broker, session, turn } = bench;
  broker.declareQueue(session, queue("old"));
  broker.management.policies.putSafeDefaults(ADMIN, "/", ".*");
  broker.declareQueue(session, queue("new", { arguments: new Map([["x-queue-type", "quorum"]]) }));
  broker.declareQueue(session, queue("", { exclusive: true }));
  broker.declareQueue(session, queue("fleeting", { durable: false }));
  broker.declareQueue(session, queue("tidy", { autoDelete: true }));
  broker.declareQueue(session, queue("x".repeat(252)));
  const names = [...broker.management.topology.queues("/")]
    .map(({ record }) => record.name)
    .filter((n) => n.endsWith(".dlq"));
  assert.deepEqual(names.sort(), ["new.dlq", "old.dlq"]);
  assert.deepEqual(definitionOf(bench, "old"), {
    "delivery-limit": 5,
    "delayed-retry-type": "all",
    "delayed-retry-min": 1000,
    "delayed-retry-max": 300000,
    "delayed-retry-multiplier": 4,
    "delayed-retry-jitter": 0.2,
    "dead-letter-suffix": ".dlq",
    "dead-letter-exchange": "",
    "dead-letter-routing-key": "old.dlq",
  });
  for (const name of ["fleeting", "tidy"]) assert.deepEqual(definitionOf(bench, name), {});
  assert.deepEqual(definitionOf(bench, "new.dlq"), { "delivery-limit": -1 }, "dead letters are never dropped");
  broker.declareQueue(session, queue("new.dlq", { arguments: new Map([["x-queue-type", "quorum"]]) }));
  turn.run();
  const after = await bench.crash();
  assert.equal(after.broker.management.topology.queue("/", "new.dlq")?.record.quorum, true);
  after.broker.management.policies.delete(ADMIN, "policy", "/", "safe-defaults");
  assert.deepEqual(definitionOf(after, "new"), {});
  assert(after.broker.management.topology.queue("/", "old.dlq") !== undefined, "dead letters stay where they are");
});

test("a policy over many queues is applied in slices, and a change meanwhile starts over", async () => {
  let now = 0;
  const work: (() => void)[] = [];
  const clock: Clock = {
    wallMs: () => 0,
    monotonicMs: () => now++,
    after: (_ms, run) => {
      work.push(run);
      return { cancel: () => undefined };
    },
  };
  const bench = await openBench({ broker: { clock } });
  const count = 1000;
  for (let i = 0; i < count; i++) bench.broker.declareQueue(bench.session, queue(`q${i}`));
  const done = (policy: string) =>
    [...bench.broker.management.topology.queues()].filter((each) => each.policy.policy === policy).length;
  put(bench, "a", { "max-length": 1 });
  assert(done("a") > 0 && done("a") < count, "the first slice is done, not more");
  bench.broker.declareQueue(bench.session, queue("late"));
  put(bench, "b", { "max-length": 2 }, { priority: 1 });
  for (let slices = 0; ; slices++) {
    const next = work.shift();
    if (next === undefined) break;
    assert(slices < 100);
    next();
  }
  assert.equal(done("b"), count + 1);
});

const definition = fc.dictionary(
  fc.constantFrom("max-length", "message-ttl", "overflow", "x", "dead-letter-exchange", "delayed-retry-jitter"),
  fc.oneof(fc.integer(), fc.double(), fc.string(), fc.boolean(), fc.constant(null)),
);

test("whatever a policy says, it is taken or refused, and what was taken is read back", async () => {
  const bench = await openBench();
  fc.assert(
    fc.property(definition, fc.string(), fc.string(), (values, pattern, name) => {
      try {
        put(bench, name, values as Record<string, JsonValue>, { pattern });
      } catch (error) {
        assert.equal((error as { name?: string }).name, "BrokerError", String(error));
      }
    }),
    { numRuns: 500 },
  );
  bench.turn.run();
  const after = await bench.crash();
  assert.deepEqual(after.broker.management.policies.list("policy"), bench.broker.management.policies.list("policy"));
});
