// Every change of users, permissions, policies and vhosts is one entry of the meta log: whatever is done in
// whatever order, a crash finds exactly what was committed, also out of snapshots.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { BrokerError } from "../../src/model/errors.ts";
import { durableState, exchange, openBench, queue, type Bench } from "./broker-fixtures.ts";

const ADMIN = { user: "guest", tags: ["administrator"] };
const ALWAYS = { ifUnused: false, ifEmpty: false };
const SMALL = { runningBytes: 3000, startBytes: 800, partBytes: 400 };

const step = fc.record({
  kind: fc.constantFrom(
    "vhost",
    "drop-vhost",
    "limit-vhost",
    "user",
    "drop-user",
    "limit-user",
    "grant",
    "revoke",
    "grant-topic",
    "revoke-topic",
    "policy",
    "drop-policy",
    "safe-defaults",
    "parameter",
    "drop-parameter",
    "global",
    "drop-global",
    "queue",
    "drop-queue",
    "exchange",
    "bind",
    "bind-exchange",
    "commit",
    "crash",
  ),
  vhost: fc.constantFrom("/", "v", "w"),
  n: fc.nat(3),
  m: fc.nat(3),
});

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

async function apply({ broker: { management } }: Bench, { kind, vhost, n, m }: Step): Promise<void> {
  const { vhosts, users, policies, topology } = management;
  const user = `u${n}`;
  const which = m % 2 === 0 ? "policy" : "operator-policy";
  const pattern = `^${m}`;
  const definition = new Map([["max-length", m]]);
  const place = { vhost, user };
  const link = { source: `x${n}`, routingKey: "", arguments: new Map([["m", m]]) };
  const actions: Record<Exclude<Step["kind"], "commit" | "crash">, () => unknown> = {
    vhost: () => vhosts.put(ADMIN, vhost, { description: `${m}` }),
    "drop-vhost": () => vhost !== "/" && vhosts.delete(ADMIN, vhost),
    "limit-vhost": () => vhosts.limit(ADMIN, vhost, { maxQueues: m === 0 ? undefined : 50 + m }),
    user: () => users.put(ADMIN, user, m === 0 ? { tags: ["monitoring"] } : { password: `${m}`, tags: [`t${m}`] }),
    "drop-user": () => users.delete(ADMIN, user),
    "limit-user": () => users.limit(ADMIN, user, { maxChannels: m }),
    grant: () => users.putPermission(ADMIN, { ...place, configure: pattern, write: "", read: pattern }),
    revoke: () => users.deletePermission(ADMIN, vhost, user),
    "grant-topic": () => users.putTopicPermission(ADMIN, { ...place, exchange: `x${m}`, write: pattern, read: "" }),
    "revoke-topic": () => users.deleteTopicPermission(ADMIN, m === 0 ? place : { ...place, exchange: `x${m}` }),
    policy: () => policies.put(ADMIN, which, vhost, `p${n}`, { pattern, definition, priority: m }),
    "drop-policy": () => policies.delete(ADMIN, which, vhost, `p${n}`),
    "safe-defaults": () => policies.putSafeDefaults(ADMIN, vhost, `q${m}`),
    parameter: () => policies.putParameter(ADMIN, { vhost, component: "c", name: `${n}`, value: { m } }),
    "drop-parameter": () => policies.deleteParameter(ADMIN, vhost, "c", `${n}`),
    global: () => policies.putGlobalParameter(ADMIN, `g${n}`, m),
    "drop-global": () => policies.deleteGlobalParameter(ADMIN, `g${n}`),
    queue: () => topology.declareQueue(ADMIN, vhost, queue(`q${n}`, { durable: m > 0 })),
    "drop-queue": () => topology.deleteQueue(ADMIN, vhost, `q${n}`, ALWAYS),
    exchange: () => topology.declareExchange(ADMIN, vhost, exchange(`x${n}`, "fanout", { autoDelete: m === 0 })),
    bind: () => topology.bind(ADMIN, vhost, { ...link, destination: `q${m}`, destinationType: "queue" }),
    "bind-exchange": () => topology.bind(ADMIN, vhost, { ...link, destination: `x${m}`, destinationType: "exchange" }),
  };
  if (kind === "commit" || kind === "crash") return;
  try {
    await actions[kind]();
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error;
  }
}

/** The secrets as well, which `durableState` leaves out. */
function everything({ broker }: Bench): string {
  const effective = [...broker.management.topology.queues()]
    .filter(({ record }) => record.durable)
    .map(({ record, policy }) => JSON.stringify([record.id, policy.policy, policy.operatorPolicy, [...policy.own]]));
  return (
    durableState(broker) + JSON.stringify([broker.management.definitions.export(ADMIN)["users"], effective.sort()])
  );
}

test("whatever is managed, a crash finds what was committed and nothing else", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.boolean(), async (steps, isSmall) => {
      let bench = await openBench(isSmall ? { limits: SMALL } : {});
      bench.turn.run();
      let committed = everything(bench);
      for (const each of [...steps, { kind: "crash", vhost: "/", n: 0, m: 0 } as const]) {
        await apply(bench, each);
        if (each.kind === "commit") {
          bench.turn.run();
          committed = everything(bench);
        } else if (each.kind === "crash") {
          bench = await bench.crash();
          bench.turn.run();
          assert.equal(everything(bench), committed);
        }
      }
    }),
    { numRuns: 150 },
  );
});

test("an export of any state is imported into a fresh broker as the same state", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const bench = await openBench();
      for (const each of steps) await apply(bench, each);
      const file: unknown = JSON.parse(JSON.stringify(bench.broker.management.definitions.export(ADMIN)));
      const fresh = await openBench();
      const report = await fresh.broker.management.definitions.import(ADMIN, file);
      assert.deepEqual(report.failures, []);
      assert.equal(durableState(fresh.broker), durableState(bench.broker));
    }),
    { numRuns: 100 },
  );
});
