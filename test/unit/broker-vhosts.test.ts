// Vhosts, bindings between exchanges, and the sessions that the management interface sees.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientConnection } from "../../src/broker/facade.ts";
import {
  binding,
  durableState,
  exchange,
  openBench,
  queue,
  reached,
  refuses,
  TestSink,
  type Bench,
} from "./broker-fixtures.ts";

const ADMIN = { user: "guest", tags: ["administrator"] };
const ALWAYS = { ifUnused: false, ifEmpty: false };

function client(onClose: (reason: string) => void): ClientConnection {
  return {
    protocol: "AMQP 0-9-1",
    peerHost: "192.0.2.1",
    peerPort: 4000,
    host: "192.0.2.2",
    port: 5672,
    encrypted: false,
    clientProperties: new Map(),
    connectedAtMs: 0,
    channelMax: 2047,
    frameBytesMax: 131072,
    heartbeatS: 60,
    receivedBytes: 0,
    sentBytes: 0,
    channels: () => [],
    close: onClose,
  };
}

/** The bench with its session in another vhost. */
function inside(bench: Bench, vhost: string): Bench {
  return { ...bench, session: bench.broker.openSession("guest", vhost) };
}

function link(from: string, to: string, routingKey = "") {
  return { exchange: from, destination: to, routingKey, arguments: new Map() };
}

function exchangeNames({ broker }: Bench, vhost = "/"): string[] {
  const names = broker
    .snapshotOverview()
    .exchanges.filter((each) => each.vhost === vhost && !/^(amq\.|$)/.test(each.name));
  return names.map(({ name }) => name).sort();
}

test("every vhost has its own predeclared exchanges, queues and bindings under the same names", async () => {
  const bench = await openBench();
  bench.broker.management.vhosts.put(ADMIN, "other", { description: "the other one", tags: ["a"] });
  const other = inside(bench, "other");
  for (const { broker, session } of [bench, other]) {
    broker.declareQueue(session, queue("q"));
    broker.declareExchange(session, exchange("x", "direct"));
    broker.bindQueue(session, binding("amq.topic", "q", "a.#"));
  }
  other.broker.bindQueue(other.session, binding("x", "q", "k"));
  assert.deepEqual(reached(bench, "x", "k"), []);
  assert.deepEqual(other.broker.route(other.session, "x", "k", Buffer.from([0, 0])).queueIds.length, 1);
  const [here] = bench.broker.route(bench.session, "amq.topic", "a.b", Buffer.from([0, 0])).queueIds;
  const [there] = other.broker.route(other.session, "amq.topic", "a.b", Buffer.from([0, 0])).queueIds;
  assert.notEqual(here, there, "queue ids are of all vhosts");
  refuses(
    () => other.broker.declareQueue(other.session, queue("missing", { passive: true })),
    "not-found",
    "no queue 'missing' in vhost 'other'",
  );
});

test("deleting a vhost takes everything in it along, in one entry, and ends its connections", async () => {
  const bench = await openBench();
  const { broker, shard, turn } = bench;
  broker.management.vhosts.put(ADMIN, "other", {});
  const reasons: string[] = [];
  const session = broker.openSession(
    "guest",
    "other",
    client((reason) => void reasons.push(reason)),
  );
  const untouched = broker.openSession(
    "guest",
    "/",
    client((reason) => void reasons.push(reason)),
  );
  for (const name of ["a", "b"]) broker.declareQueue(session, queue(name));
  broker.declareQueue(session, queue("mine", { exclusive: true }));
  broker.declareExchange(session, exchange("x", "fanout"));
  broker.bindQueue(session, binding("x", "a"));
  const sink = new TestSink();
  const consumer = broker.consume(session, "a", sink, { noAck: false, exclusive: false });
  broker.declareQueue(bench.session, queue("kept"));
  turn.run();
  const position = (await bench.store.reader("meta")).bounds().next;
  broker.management.vhosts.delete(ADMIN, "other");
  assert.equal(shard.queues.size, 1);
  assert(sink.isCancelled);
  assert.deepEqual(reasons, ["vhost 'other' is deleted"]);
  refuses(() => broker.declareQueue(session, queue("c")), "not-allowed", "vhost 'other' is deleted");
  consumer.cancel();
  broker.closeSession(session);
  broker.closeSession(untouched);
  turn.run();
  assert.equal((await bench.store.reader("meta")).bounds().next, position + 1);
  refuses(() => broker.openSession("guest", "other"), "not-allowed", "vhost other not found");
  refuses(() => broker.management.vhosts.delete(ADMIN, "other"), "not-found", "vhost 'other' does not exist");
  assert.deepEqual(broker.snapshotOverview().bindings, []);
  const after = await bench.crash();
  assert.deepEqual(
    after.broker.snapshotOverview().queues.map(({ name }) => name),
    ["kept"],
  );
});

test("a vhost that is made again is empty, and sessions of the old one do not reach into it", async () => {
  const bench = await openBench();
  const { broker } = bench;
  broker.management.vhosts.put(ADMIN, "v", {});
  const old = broker.openSession("guest", "v");
  broker.declareQueue(old, queue("q"));
  broker.management.vhosts.delete(ADMIN, "v");
  broker.management.vhosts.put(ADMIN, "v", {});
  const fresh = inside(bench, "v");
  assert.deepEqual(reached(fresh, "", "q"), []);
  refuses(() => broker.declareQueue(old, queue("q")), "not-allowed", "vhost 'v' is deleted");
});

test("vhosts survive a restart, the deletion of / included, also out of a snapshot", async () => {
  for (const limits of [undefined, { runningBytes: 10, startBytes: 10, partBytes: 300 }]) {
    const bench = await openBench(limits === undefined ? {} : { limits });
    const { broker, turn } = bench;
    broker.management.vhosts.put(ADMIN, "v", { description: "d", tags: ["t"], defaultQueueType: "quorum" });
    const { session } = inside(bench, "v");
    broker.declareQueue(session, queue("q"));
    broker.declareExchange(session, exchange("x", "topic"));
    broker.declareExchange(session, exchange("y", "fanout"));
    broker.bindExchange(session, link("x", "y", "a.*"));
    broker.bindQueue(session, binding("y", "q"));
    turn.run();
    broker.closeSession(bench.session);
    broker.management.vhosts.put(ADMIN, "w", {});
    turn.run();
    const expected = durableState(broker);
    const after = await bench.crash();
    assert.deepEqual(durableState(after.broker), expected);
    assert.deepEqual(reached(inside(after, "v"), "x", "a.b").length, 1);
    assert.deepEqual(
      after.broker.management.vhosts.list().map(({ name }) => name),
      ["/", "v", "w"],
    );
    assert.deepEqual(after.broker.management.vhosts.get("v"), {
      name: "v",
      description: "d",
      tags: ["t"],
      defaultQueueType: "quorum",
      limits: { maxConnections: undefined, maxQueues: undefined },
      queueCount: 1,
      sessionCount: 1,
    });
    after.broker.management.vhosts.delete(ADMIN, "/");
    after.turn.run();
    await assert.rejects(after.crash(), /vhost \/ not found/);
  }
});

test("a message goes through exchanges that are bound to exchanges, once, also round a circle", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  for (const [name, type] of [
    ["a", "direct"],
    ["b", "topic"],
    ["c", "fanout"],
  ] as const) {
    broker.declareExchange(session, exchange(name, type));
  }
  for (const name of ["q1", "q2"]) broker.declareQueue(session, queue(name));
  broker.bindExchange(session, link("a", "b", "k.1"));
  broker.bindExchange(session, link("b", "c", "k.#"));
  broker.bindExchange(session, link("c", "a"));
  broker.bindExchange(session, link("c", "c"));
  broker.bindQueue(session, binding("b", "q1", "*.1"));
  broker.bindQueue(session, binding("c", "q2"));
  broker.bindQueue(session, binding("c", "q1"));
  assert.deepEqual(reached(bench, "a", "k.1"), ["q1", "q2"]);
  assert.deepEqual(reached(bench, "a", "k.2"), []);
  assert.deepEqual(reached(bench, "b", "k.2"), ["q1", "q2"]);
  broker.unbindExchange(session, link("b", "c", "k.#"));
  broker.unbindExchange(session, link("b", "c", "k.#"));
  assert.deepEqual(reached(bench, "a", "k.1"), ["q1"]);
  assert.deepEqual(broker.snapshotOverview().bindings.filter((each) => each.destinationType === "exchange").length, 3);
});

test("exchange.bind tells what is missing or not permitted", async () => {
  const { broker, session } = await openBench();
  const refused = "operation not permitted on the default exchange";
  refuses(() => broker.bindExchange(session, link("", "amq.topic")), "access-refused", refused);
  refuses(() => broker.bindExchange(session, link("amq.topic", "")), "access-refused", refused);
  refuses(() => broker.bindExchange(session, link("x", "amq.topic")), "not-found", "no exchange 'x' in vhost '/'");
  refuses(() => broker.bindExchange(session, link("amq.topic", "x")), "not-found", "no exchange 'x' in vhost '/'");
  broker.unbindExchange(session, link("amq.topic", "x"));
  broker.bindExchange(session, link("amq.topic", "amq.fanout"));
  broker.bindExchange(session, link("amq.topic", "amq.fanout"));
  assert.equal(broker.snapshotOverview().bindings.length, 1);
});

test("an auto-delete exchange goes with its last outgoing binding, and may take its own source along", async () => {
  const bench = await openBench();
  const { broker, session, turn } = bench;
  for (const name of ["a", "b", "c"]) broker.declareExchange(session, exchange(name, "fanout", { autoDelete: true }));
  broker.declareExchange(session, exchange("end", "fanout"));
  broker.bindExchange(session, link("a", "b"));
  broker.bindExchange(session, link("b", "c"));
  broker.bindExchange(session, link("c", "end"));
  broker.bindExchange(session, link("c", "end", "again"));
  broker.unbindExchange(session, link("c", "end"));
  assert.deepEqual(exchangeNames(bench), ["a", "b", "c", "end"]);
  broker.unbindExchange(session, link("c", "end", "again"));
  assert.deepEqual(exchangeNames(bench), ["end"]);
  turn.run();
  assert.deepEqual(exchangeNames(await bench.crash()), ["end"]);
});

test("deleting a queue or an exchange takes auto-delete exchanges that lead there along", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  for (const name of ["a", "b"]) broker.declareExchange(session, exchange(name, "fanout", { autoDelete: true }));
  broker.declareQueue(session, queue("q"));
  broker.bindExchange(session, link("a", "b"));
  broker.bindExchange(session, link("b", "a"));
  broker.bindQueue(session, binding("b", "q"));
  broker.deleteQueue(session, "q", ALWAYS);
  assert.deepEqual(exchangeNames(bench), ["a", "b"], "b still leads to a");
  refuses(() => broker.deleteExchange(session, "a", true), "precondition-failed", "exchange 'a' in vhost '/' in use");
  broker.deleteExchange(session, "a", false);
  assert.deepEqual(exchangeNames(bench), []);
  assert.equal(broker.snapshotOverview().bindings.length, 0);
});

test("only bindings between durable ends survive a restart", async () => {
  const bench = await openBench();
  const { broker, session, turn } = bench;
  broker.declareExchange(session, exchange("d", "fanout"));
  broker.declareExchange(session, exchange("t", "fanout", { durable: false }));
  broker.bindExchange(session, link("d", "t"));
  broker.bindExchange(session, link("t", "d"));
  broker.bindExchange(session, link("amq.direct", "d", "k"));
  turn.run();
  const after = await bench.crash();
  assert.deepEqual(
    after.broker.snapshotOverview().bindings.map(({ source, destination }) => [source, destination]),
    [["amq.direct", "d"]],
  );
});

test("entries of format 1, which knew one vhost and queues as destinations, are read", async () => {
  const bench = await openBench();
  const ignore = () => undefined;
  const { writer } = await bench.store.acquire("meta", "old", {
    onCommitted: ignore,
    onExtent: ignore,
    onSpace: ignore,
  });
  for (const effects of [
    '{"kind":"ids-reserved","end":1025}',
    '{"kind":"exchange-declared","name":"x","type":"topic","durable":true,"autoDelete":false,"internal":false}',
    '{"kind":"queue-declared","id":1,"name":"q","durable":true,"autoDelete":false,"ownerId":0,"quorum":false}',
    '{"kind":"bound","exchange":"x","id":1,"routingKey":"a.#","arguments":[["k",1]]}',
    '{"kind":"exchange-declared","name":"y","type":"direct","durable":true,"autoDelete":false,"internal":false}',
    '{"kind":"exchange-deleted","name":"y"}',
  ]) {
    writer.append([Buffer.from(`{"format":1,"effects":[${effects}]}`)]);
  }
  bench.turn.run();
  await writer.release();
  const after = await bench.crash();
  assert.deepEqual(reached(after, "x", "a.b"), ["q"]);
  assert.deepEqual(exchangeNames(after), ["x"]);
});

test("the sessions are listed, and a client's connection is closed by its id", async () => {
  const { broker } = await openBench();
  const reasons: string[] = [];
  const session = broker.openSession(
    "guest",
    "/",
    client((reason) => void reasons.push(reason)),
  );
  const found = [...broker.sessions()].find(({ id }) => id === session.id);
  assert.deepEqual([found?.user, found?.vhost, found?.client?.peerPort], ["guest", "/", 4000]);
  assert(broker.management.sessions.close(ADMIN, session.id, "closed by an operator"));
  assert(!broker.management.sessions.close(ADMIN, session.id + 1, "nobody"));
  assert.deepEqual(reasons, ["closed by an operator"]);
});

test("a vhost has a name of at most 255 bytes and a queue type that exists", async () => {
  const { broker } = await openBench();
  refuses(() => broker.management.vhosts.put(ADMIN, "", {}), "precondition-failed", "a vhost has a name");
  refuses(
    () => broker.management.vhosts.put(ADMIN, "v".repeat(256), {}),
    "precondition-failed",
    /256 bytes is too long/,
  );
  refuses(
    () => broker.management.vhosts.put(ADMIN, "v", { defaultQueueType: "x" }),
    "precondition-failed",
    /default queue type 'x'/,
  );
});

test("a vhost's default queue type holds for durable queues that name none", async () => {
  const bench = await openBench();
  const { broker } = bench;
  broker.management.vhosts.put(ADMIN, "v", { defaultQueueType: "quorum" });
  const { session } = inside(bench, "v");
  for (let round = 0; round < 2; round++) {
    broker.declareQueue(session, queue("q"));
    broker.declareQueue(session, queue("named", { arguments: new Map([["x-queue-type", "classic"]]) }));
    broker.declareQueue(session, queue("t", { durable: false }));
    broker.declareQueue(session, queue("e", { exclusive: true }));
  }
  broker.declareQueue(session, queue("q", { arguments: new Map([["x-queue-type", "quorum"]]) }));
  const { topology } = broker.management;
  assert.deepEqual(
    [...topology.queues("v")].filter(({ record }) => record.quorum).map(({ record }) => record.name),
    ["q"],
  );
});
