// Definitions files: RabbitMQ's come in, ours go out and come back, and nonsense is told from them.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { decodeDefinitions } from "../../src/broker/definitions/decode.ts";
import type { ImportReport } from "../../src/broker/definitions/import.ts";
import { DecodeError } from "../../src/model/errors.ts";
import { binding, durableState, exchange, openBench, queue, reached, type Bench } from "./broker-fixtures.ts";
import { repositoryRoot } from "./repository-root.ts";

const ADMIN = { user: "guest", tags: ["administrator"] };

const SALT = Buffer.from([9, 8, 7, 6]);
const HASH = Buffer.concat([SALT, createHash("sha256").update(SALT).update("wabbit").digest()]).toString("base64");

/** In the form that RabbitMQ 3.10 exports, with what older and newer versions write differently. */
const RABBITMQ = {
  rabbit_version: "3.10.8",
  rabbitmq_version: "3.10.8",
  product_name: "RabbitMQ",
  users: [
    {
      name: "app",
      password_hash: HASH,
      hashing_algorithm: "rabbit_password_hashing_sha256",
      tags: ["monitoring"],
      limits: {},
    },
    { name: "old", password_hash: HASH, hashing_algorithm: "rabbit_password_hashing_sha256", tags: "policymaker, x" },
    {
      name: "cert",
      password_hash: "",
      hashing_algorithm: "rabbit_password_hashing_sha256",
      tags: [],
      limits: { "max-channels": 3, "max-connections": -1 },
    },
  ],
  vhosts: [
    { name: "/" },
    {
      name: "shop",
      description: "the shop",
      tags: ["prod"],
      metadata: { description: "the shop", tags: ["prod"] },
      default_queue_type: "undefined",
    },
  ],
  permissions: [{ user: "app", vhost: "shop", configure: "^app", write: ".*", read: ".*" }],
  topic_permissions: [{ user: "app", vhost: "shop", exchange: "amq.topic", write: "^app\\.", read: ".*" }],
  parameters: [
    { value: { "max-queues": 100 }, vhost: "shop", component: "vhost-limits", name: "limits" },
    {
      value: { pattern: ".*", definition: { "max-length": 5 }, priority: 0, "apply-to": "queues" },
      vhost: "shop",
      component: "operator_policy",
      name: "cap",
    },
    { value: { "src-uri": "amqp://" }, vhost: "shop", component: "shovel", name: "move" },
  ],
  global_parameters: [{ name: "cluster_name", value: "rabbit@dock" }],
  policies: [
    {
      vhost: "shop",
      name: "ttl",
      pattern: "^(?!amq\\.).*",
      "apply-to": "queues",
      definition: { "message-ttl": 60000 },
      priority: 1,
    },
  ],
  queues: [
    { name: "orders", vhost: "shop", durable: true, auto_delete: false, arguments: { "x-queue-type": "quorum" } },
    { name: "mail", vhost: "shop", durable: true, auto_delete: false, type: "classic", arguments: [] },
  ],
  exchanges: [
    {
      name: "in",
      vhost: "shop",
      type: "topic",
      durable: true,
      auto_delete: false,
      internal: false,
      arguments: { "alternate-exchange": "rest" },
    },
    { name: "rest", vhost: "shop", type: "fanout", durable: true, auto_delete: false, internal: false, arguments: {} },
  ],
  bindings: [
    {
      source: "in",
      vhost: "shop",
      destination: "orders",
      destination_type: "queue",
      routing_key: "order.#",
      arguments: {},
    },
    {
      source: "in",
      vhost: "shop",
      destination: "rest",
      destination_type: "exchange",
      routing_key: "mail",
      arguments: { n: 1 },
    },
    { source: "rest", vhost: "shop", destination: "mail", destination_type: "queue", routing_key: "", arguments: {} },
    { source: "", vhost: "shop", destination: "mail", destination_type: "queue", routing_key: "mail", arguments: {} },
  ],
};

function imports({ broker }: Bench, json: unknown, vhost?: string): Promise<ImportReport> {
  return broker.management.definitions.import(ADMIN, json, vhost);
}

function exported({ broker }: Bench, vhost?: string): unknown {
  return JSON.parse(JSON.stringify(broker.management.definitions.export(ADMIN, vhost)));
}

test("a file of RabbitMQ is imported with everything in it, again and again with the same result", async () => {
  const bench = await openBench();
  for (let round = 0; round < 2; round++) {
    assert.deepEqual(await imports(bench, RABBITMQ), { done: 20, failures: [] });
  }
  const { users, vhosts, policies, topology } = bench.broker.management;
  assert.deepEqual(
    users.list().map(({ name, tags, hasPassword }) => [name, tags, hasPassword]),
    [
      ["guest", ["administrator"], true],
      ["app", ["monitoring"], true],
      ["old", ["policymaker", "x"], true],
      ["cert", [], false],
    ],
  );
  assert.deepEqual(users.get("cert")?.limits, { maxConnections: undefined, maxChannels: 3 });
  assert.deepEqual(vhosts.get("shop"), {
    name: "shop",
    description: "the shop",
    tags: ["prod"],
    defaultQueueType: undefined,
    limits: { maxConnections: undefined, maxQueues: 100 },
    queueCount: 2,
    sessionCount: 0,
  });
  assert.equal(vhosts.get("/")?.description, "Default virtual host");
  assert.equal(users.permission("shop", "app")?.configure, "^app");
  assert.equal(users.topicPermissions().length, 1);
  assert.equal(policies.parameters().length, 1);
  assert.deepEqual(policies.globalParameters(), [{ name: "cluster_name", value: "rabbit@dock" }]);
  assert.deepEqual(Object.fromEntries(topology.queue("shop", "orders")?.policy.definition ?? []), {
    "message-ttl": 60000,
    "max-length": 5,
  });
  const app = { ...bench, session: bench.broker.openSession("app", "shop") };
  const names = (key: string) => app.broker.route(app.session, "in", key, Buffer.from([0, 0])).queueIds.length;
  assert.deepEqual([names("mail"), names("other")], [1, 1], "through the exchange, and through the alternate one");
  const login = { user: "app", password: "wabbit", peerIsLoopback: false, peerHost: "192.0.2.1" };
  assert.deepEqual(await bench.broker.authenticate(login), { name: "app", tags: ["monitoring"] });
});

test("a file that RabbitMQ 3.10 wrote is imported and asks for nothing that is not understood", async () => {
  const path = join(repositoryRoot(import.meta.url), "test/data/rabbitmq-3.10-definitions.json");
  const bench = await openBench();
  const report = await imports(bench, JSON.parse(readFileSync(path, "utf8")));
  assert.deepEqual(report.failures, []);
  const { users, vhosts, topology, policies } = bench.broker.management;
  assert.deepEqual(vhosts.get("shop")?.limits, { maxConnections: undefined, maxQueues: 100 });
  assert.equal(users.get("cert")?.limits.maxChannels, 3);
  assert.deepEqual(policies.get("operator-policy", "shop", "cap")?.definition, new Map([["max-length", 5]]));
  assert.equal(topology.queue("shop", "orders")?.record.quorum, true);
  const login = { user: "app", password: "wabbit", peerIsLoopback: false, peerHost: "192.0.2.1" };
  assert((await bench.broker.authenticate(login)) !== undefined);
});

test("what is exported is imported into a fresh broker as it was, passwords included, and exported the same", async () => {
  const bench = await openBench();
  await imports(bench, RABBITMQ);
  await bench.broker.management.users.put(ADMIN, "scram", { password: "s3cret" });
  const { broker, session } = bench;
  broker.declareQueue(session, queue("fleeting", { durable: false }));
  broker.declareExchange(session, exchange("fleeting", "fanout", { durable: false }));
  broker.declareQueue(session, queue("kept", { autoDelete: true, arguments: new Map([["x-note", "n"]]) }));
  broker.bindQueue(session, binding("fleeting", "kept"));
  broker.bindQueue(session, binding("amq.topic", "fleeting"));
  broker.bindQueue(session, binding("amq.topic", "kept", "a.#", new Map([["k", true]])));
  const file = exported(bench);
  assert(!JSON.stringify(file).includes("fleeting"));
  assert(!JSON.stringify(file).includes("s3cret"));
  const fresh = await openBench();
  const report = await imports(fresh, file);
  assert.deepEqual(report.failures, []);
  assert.deepEqual(exported(fresh), file);
  assert.deepEqual(reached(fresh, "amq.topic", "a.b"), ["kept"]);
  const login = { user: "scram", password: "s3cret", peerIsLoopback: false, peerHost: "192.0.2.1" };
  assert((await fresh.broker.authenticate(login)) !== undefined);
  fresh.turn.run();
  const after = await fresh.crash();
  assert.deepEqual(exported(after), file);
  assert.equal(durableState(after.broker), durableState(fresh.broker));
});

test("one vhost is exported without its name and imported into another one, and nothing outside is touched", async () => {
  const bench = await openBench();
  await imports(bench, RABBITMQ);
  const { vhosts, users, topology } = bench.broker.management;
  const file = exported(bench, "shop");
  assert(!JSON.stringify(file).includes('"vhost"'));
  vhosts.put(ADMIN, "copy", {});
  const report = await imports(bench, { ...(file as object), users: [{ name: "mallory", tags: [] }] }, "copy");
  assert.deepEqual(report.failures, []);
  assert.equal(users.get("mallory"), undefined);
  const names = (vhost: string) => [...topology.queues(vhost)].map(({ record }) => record.name);
  assert.deepEqual(names("copy").sort(), names("shop").sort());
  const withoutTitle = (vhost: string) => ({ ...(exported(bench, vhost) as object), explanation: "" });
  assert.deepEqual(withoutTitle("copy"), withoutTitle("shop"));
  await assert.rejects(imports(bench, file, "nope"), { code: "not-found" });
});

test("a thing that is refused is told with its reason, and the others are done", async () => {
  const bench = await openBench();
  const report = await imports(bench, {
    users: [{ name: "x", tags: [], password_hash: "AAAA", hashing_algorithm: "rabbit_password_hashing_sha256" }],
    permissions: [{ user: "nobody", vhost: "/", configure: "", write: "", read: "" }],
    policies: [{ vhost: "/", name: "p", pattern: "(?=x)", definition: { "max-length": 1 } }],
    queues: [
      { name: "s", vhost: "/", durable: true, auto_delete: false, arguments: { "x-queue-type": "nonsense" } },
      { name: "q", vhost: "/", durable: true, auto_delete: false, arguments: {} },
      { name: "q", vhost: "nope", durable: true, auto_delete: false, arguments: {} },
    ],
    bindings: [
      { source: "nope", vhost: "/", destination: "q", destination_type: "queue", routing_key: "", arguments: {} },
    ],
  });
  assert.equal(report.done, 1);
  assert.deepEqual(
    report.failures.map(({ what }) => what),
    [
      "user 'x'",
      "permissions of user 'nobody' in vhost '/'",
      "policy 'p' in vhost '/'",
      "queue 's' in vhost '/'",
      "queue 'q' in vhost 'nope'",
      "binding from exchange 'nope' to queue 'q' in vhost '/'",
    ],
  );
  assert.match(report.failures[0]?.reason ?? "", /password hash makes no sense: .* 3 bytes/);
  assert.equal(report.failures[1]?.reason, "user 'nobody' does not exist");
});

test("a file that makes no sense is refused with what is wrong and where, and nothing of it is done", async () => {
  const bench = await openBench();
  const user = { name: "good", tags: [] };
  const q = { name: "q", vhost: "/", durable: true, auto_delete: false, arguments: {} };
  const cases: [unknown, string][] = [
    [null, "the definitions: it is not an object"],
    [[], "the definitions: it is not an object"],
    [{ users: {} }, "users is not an array"],
    [{ users: [user, 5] }, "users[1]: it is not an object"],
    [{ users: [user, { tags: [] }] }, "users[1]: name is not a string"],
    [{ users: [user, { name: "x", tags: [1] }] }, "users[1] ('x'): tags is not an array of strings"],
    [{ users: [user], queues: [{ ...q, durable: "yes" }] }, "queues[0] ('q'): durable is not a boolean"],
    [{ users: [user], queues: [{ ...q, vhost: undefined }] }, "queues[0] ('q'): vhost is not a string"],
    [{ users: [user], queues: [{ ...q, arguments: [1] }] }, "queues[0] ('q'): arguments are an object"],
    [
      {
        users: [user],
        bindings: [{ source: "", vhost: "/", destination_type: "topic", destination: "", routing_key: "" }],
      },
      "bindings[0]: destination_type is queue or exchange, not topic",
    ],
    [
      { users: [user], parameters: [{ component: "operator_policy", vhost: "/", name: "o", value: 1 }] },
      "parameters 'o': it is not an object",
    ],
  ];
  for (const [json, message] of cases) {
    await assert.rejects(imports(bench, json), { name: "BrokerError", code: "precondition-failed", message });
  }
  assert.equal(bench.broker.management.users.get("good"), undefined);
});

test("only administrators export and import", async () => {
  const { definitions } = (await openBench()).broker.management;
  const actor = { user: "ann", tags: ["policymaker", "monitoring"] };
  assert.throws(() => definitions.export(actor), { code: "access-refused" });
  await assert.rejects(definitions.import(actor, {}), { code: "access-refused" });
});

/** The file with one value somewhere replaced. */
function mutated(json: unknown, path: readonly number[], value: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined || typeof json !== "object" || json === null) return value;
  const entries = Object.entries(json);
  const at = entries[step % Math.max(1, entries.length)];
  if (at === undefined) return value;
  const changed = mutated(at[1], rest, value);
  if (Array.isArray(json)) return json.map((each: unknown, index) => (String(index) === at[0] ? changed : each));
  return { ...json, [at[0]]: changed };
}

test("a file with changed values, or any JSON at all, is read or refused, and never more than that", async () => {
  const anything = fc.oneof(fc.jsonValue({ maxDepth: 4 }), fc.constant(undefined), fc.double(), fc.string());
  const path = fc.array(fc.nat(20), { maxLength: 5 });
  const read = (json: unknown): void => {
    try {
      decodeDefinitions(json);
      decodeDefinitions(json, "v");
    } catch (error) {
      if (!(error instanceof DecodeError)) throw error;
    }
  };
  fc.assert(fc.property(anything, read), { numRuns: 2000 });
  fc.assert(
    fc.property(path, anything, (steps, value) => read(mutated(RABBITMQ, steps, value))),
    { numRuns: 20_000 },
  );
  let deep: unknown = 1;
  for (let i = 0; i < 100_000; i++) deep = [deep];
  for (const json of [
    { global_parameters: [{ name: "x", value: deep }] },
    { queues: [{ name: "q", vhost: "/", arguments: { deep } }] },
    { policies: [{ name: "p", vhost: "/", pattern: "", definition: { deep } }] },
    { users: deep },
  ]) {
    assert.throws(() => decodeDefinitions(json), DecodeError);
  }
});

test("whatever is imported, the broker refuses it thing by thing and restarts into the same state", async () => {
  let bench = await openBench();
  const path = fc.array(fc.nat(20), { minLength: 2, maxLength: 5 });
  await fc.assert(
    fc.asyncProperty(path, fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.string()), async (steps, value) => {
      try {
        await imports(bench, mutated(RABBITMQ, steps, value));
      } catch (error) {
        assert.equal((error as Error).name, "BrokerError", String(error));
      }
    }),
    { numRuns: 300 },
  );
  bench.turn.run();
  const before = exported(bench);
  bench = await bench.crash();
  assert.deepEqual(exported(bench), before);
});
