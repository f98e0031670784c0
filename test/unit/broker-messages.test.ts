import assert from "node:assert/strict";
import { test } from "node:test";
import { encodeProperties, readHeaders } from "../../src/model/properties.ts";
import { LIMITS } from "../../src/limits.ts";
import {
  binding,
  exchange,
  idOf,
  message,
  NO_PROPERTIES,
  openBench,
  publish,
  queue,
  reached,
  refuses,
  TestSink,
} from "./broker-fixtures.ts";

const SHARED = { noAck: false, exclusive: false };
const ALONE = { noAck: false, exclusive: true };
const ALWAYS = { ifUnused: false, ifEmpty: false };

test("a publish reaches each queue once, however many bindings lead there", async () => {
  const bench = await openBench();
  const { broker, session, shard } = bench;
  broker.declareQueue(session, queue("q1"));
  broker.declareQueue(session, queue("q2"));
  for (const pattern of ["#", "a.*", "a.b"]) broker.bindQueue(session, binding("amq.topic", "q1", pattern));
  broker.bindQueue(session, binding("amq.topic", "q2", "*.b"));
  assert.deepEqual(reached(bench, "amq.topic", "a.b"), ["q1", "q2"]);
  publish(bench, "amq.topic", "a.b", "body");
  assert.equal(shard.counts(idOf(broker, session, "q1")).ready, 1);
});

test("a headers exchange reads the message's headers", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  broker.declareQueue(session, queue("q"));
  broker.bindQueue(session, binding("amq.headers", "q", "", new Map([["kind", "report"]])));
  const properties = (kind: string) => encodeProperties({ headers: new Map([["kind", kind]]) });
  assert.deepEqual(reached(bench, "amq.headers", "", properties("report")), ["q"]);
  assert.deepEqual(reached(bench, "amq.headers", "", properties("other")), []);
  assert.deepEqual(reached(bench, "amq.headers", "", NO_PROPERTIES), []);
  assert(broker.route(session, "amq.headers", "", NO_PROPERTIES).perMessage);
  assert(!broker.route(session, "amq.topic", "", NO_PROPERTIES).perMessage);
});

test("a route is answered from memory until the topology changes", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  broker.declareQueue(session, queue("q"));
  const find = (from: string) => broker.route(session, from, "q", NO_PROPERTIES);
  for (const from of ["", "amq.direct"]) {
    const route = find(from);
    assert.equal(find(from), route);
    assert.equal(route.version, broker.topologyVersion);
  }
  broker.bindQueue(session, binding("amq.direct", "q", "q"));
  assert.deepEqual(reached(bench, "amq.direct", "q"), ["q"]);
  assert.equal(find("").version, broker.topologyVersion);
  broker.deleteQueue(session, "q", ALWAYS);
  assert.deepEqual(find("").queueIds, []);
  assert.deepEqual(find("amq.direct").queueIds, []);
});

test("a publish to a missing or an internal exchange is refused", async () => {
  const { broker, session } = await openBench();
  broker.declareExchange(session, exchange("inside", "fanout", { internal: true }));
  const find = (name: string) => broker.route(session, name, "", NO_PROPERTIES);
  refuses(() => find("x"), "not-found", "no exchange 'x' in vhost '/'");
  refuses(() => find("inside"), "access-refused", "cannot publish to internal exchange 'inside' in vhost '/'");
});

test("a message without a queue, or too large, is not stored", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  assert.equal(publish(bench, "", "nowhere", "body"), 0);
  broker.declareQueue(session, queue("q"));
  const large = message("");
  large.bodySize = LIMITS.messageBytesMax + 1;
  refuses(
    () => broker.publish(large, broker.route(session, "", "q", NO_PROPERTIES)),
    "too-large",
    "message size 16777217 is larger than configured max size 16777216",
  );
});

test("a confirm waits for the declaration of its queue as well as for its message", async () => {
  const bench = await openBench();
  const { broker, session, shard, turn } = bench;
  broker.declareQueue(session, queue("old"));
  turn.run();
  const before = publish(bench, "", "old", "1");
  shard.commit();
  assert(broker.committed >= before);
  let announced = 0;
  broker.onCommitted(() => announced++);
  broker.declareQueue(session, queue("new"));
  const position = publish(bench, "", "new", "2");
  shard.commit();
  broker.committedChanged();
  assert.equal(announced, 1);
  assert(shard.committed >= position);
  assert(broker.committed < position, "the queue itself could still be forgotten");
  assert(broker.committed >= before, "earlier messages are not held up");
  turn.run();
  assert(broker.committed >= position);
  assert.equal(announced, 2, "doors hear of it");
});

test("answers of the control plane wait for the meta log, and come at once when it is committed", async () => {
  const { broker, session, shard, turn } = await openBench();
  const done: string[] = [];
  broker.whenMetaCommitted(() => done.push("nothing to wait for"));
  broker.declareQueue(session, queue("transient", { durable: false }));
  broker.declareExchange(session, exchange("transient", "fanout", { durable: false }));
  turn.run();
  broker.bindQueue(session, binding("transient", "transient"));
  broker.whenMetaCommitted(() => done.push("transient"));
  assert.deepEqual(done, ["nothing to wait for", "transient"]);
  broker.declareQueue(session, queue("q"));
  broker.whenMetaCommitted(() => done.push("durable"));
  assert.equal(done.length, 2);
  turn.run();
  assert.deepEqual(done.slice(2), ["durable"]);
  broker.purgeQueue(session, "q");
  broker.whenMetaCommitted(() => done.push("purged"));
  assert.equal(done.length, 3, "a purge is in the shard's log");
  shard.commit();
  assert.deepEqual(done.slice(3), ["purged"]);
});

test("an exclusive queue is closed to other sessions and goes with its own", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  const other = broker.openSession("guest", "/");
  const mine = queue("mine", { exclusive: true });
  broker.declareQueue(session, mine);
  broker.declareQueue(session, mine);
  const text =
    "cannot obtain exclusive access to locked queue 'mine' in vhost '/'. It could be originally declared on another " +
    "connection or the exclusive property value does not match that of the original declaration.";
  const attempts = [
    () => broker.declareQueue(other, mine),
    () => broker.declareQueue(other, queue("mine")),
    () => broker.declareQueue(other, queue("mine", { passive: true })),
    () => broker.declareQueue(session, queue("mine")),
    () => broker.consume(other, "mine", new TestSink(), SHARED),
    () => broker.take(other, "mine", true, new TestSink(), () => undefined),
    () => broker.deleteQueue(other, "mine", ALWAYS),
    () => broker.purgeQueue(other, "mine"),
    () => broker.bindQueue(other, binding("amq.direct", "mine")),
  ];
  for (const attempt of attempts) refuses(attempt, "resource-locked", text);
  broker.bindQueue(session, binding("amq.direct", "mine"));
  refuses(() => broker.unbindQueue(other, binding("amq.direct", "mine")), "resource-locked", text);
  publish({ ...bench, session: other }, "", "mine", "anybody may publish");
  assert.equal(broker.declareQueue(session, queue("mine", { passive: true })).messageCount, 1);
  broker.closeSession(session);
  refuses(
    () => broker.declareQueue(other, queue("mine", { passive: true })),
    "not-found",
    "no queue 'mine' in vhost '/'",
  );
  broker.declareQueue(other, queue("mine"));
});

test("an exclusive consumer is alone on its queue", async () => {
  const { broker, session } = await openBench();
  broker.declareQueue(session, queue("q"));
  const inUse = "queue 'q' in vhost '/' in exclusive use";
  const consume = (options: typeof ALONE) => broker.consume(session, "q", new TestSink(), options);
  const alone = consume(ALONE);
  refuses(() => consume(SHARED), "access-refused", inUse);
  refuses(() => consume(ALONE), "access-refused", inUse);
  alone.cancel();
  const first = consume(SHARED);
  const second = consume(SHARED);
  refuses(() => consume(ALONE), "access-refused", inUse);
  first.cancel();
  first.cancel();
  refuses(() => consume(ALONE), "access-refused", inUse);
  second.cancel();
  consume(ALONE);
  refuses(() => broker.consume(session, "zzz", new TestSink(), SHARED), "not-found", "no queue 'zzz' in vhost '/'");
});

test("an auto-delete queue goes with its last consumer, and not before it had one", async () => {
  const bench = await openBench();
  const { broker, session, shard } = bench;
  broker.declareExchange(session, exchange("x", "fanout", { autoDelete: true }));
  broker.declareQueue(session, queue("q", { autoDelete: true }));
  broker.bindQueue(session, binding("x", "q"));
  const id = idOf(broker, session, "q");
  const consumers = [1, 2].map(() => broker.consume(session, "q", new TestSink(), SHARED));
  refuses(
    () => broker.deleteQueue(session, "q", { ifUnused: true, ifEmpty: false }),
    "precondition-failed",
    "queue 'q' in vhost '/' in use",
  );
  consumers[0]?.cancel();
  assert(shard.hasQueue(id));
  consumers[1]?.cancel();
  assert(!shard.hasQueue(id));
  refuses(() => broker.route(session, "x", "", NO_PROPERTIES), "not-found", "no exchange 'x' in vhost '/'");
});

test("consumers are told when their queue is deleted, and what they still hold is let go of", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  broker.declareQueue(session, queue("q", { autoDelete: true }));
  const id = idOf(broker, session, "q");
  const sink = new TestSink();
  const consumer = broker.consume(session, "q", sink, SHARED);
  publish(bench, "", "q", "1");
  broker.take(session, "q", false, new TestSink(), () => undefined);
  broker.deleteQueue(session, "q", ALWAYS);
  assert(sink.isCancelled);
  broker.settle(id, 0, 0, 0, 0);
  broker.requeue(id, 0, 0, "client");
  consumer.resume();
  consumer.pause();
  consumer.cancel();
  broker.declareQueue(session, queue("q"));
  assert.notEqual(idOf(broker, session, "q"), id, "a new queue is another queue");
});

test("basic.get tells how many messages are left, or that there was none", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  broker.declareQueue(session, queue("q"));
  publish(bench, "", "q", "1");
  publish(bench, "", "q", "2");
  const left: number[] = [];
  const sink = new TestSink();
  for (let i = 0; i < 3; i++) broker.take(session, "q", true, sink, (ready) => left.push(ready));
  assert.deepEqual(left, [1, 0, -1]);
  assert.equal(sink.records.length, 2);
});

test("publishers are blocked while any source raises an alarm, and disk is told before memory", async () => {
  const { broker } = await openBench();
  const seen: (string | undefined)[] = [];
  broker.onFlow(() => seen.push(broker.publishBlocked));
  broker.setAlarm("memory", true);
  broker.setAlarm("disk", true, "log");
  broker.setAlarm("disk", true, "monitor");
  broker.setAlarm("disk", false, "log");
  assert.equal(broker.publishBlocked, "disk");
  assert.deepEqual(broker.snapshotOverview().alarms, ["memory", "disk"]);
  broker.setAlarm("disk", false, "monitor");
  broker.setAlarm("memory", false);
  assert.deepEqual(seen, ["memory", "disk", "memory", undefined]);
});

test("the header x-delay counts behind an x-delayed-message exchange only, and is negative afterwards", async () => {
  const bench = await openBench();
  const { broker, session, shard } = bench;
  broker.declareExchange(session, exchange("start", "fanout"));
  const inner = new Map([["x-delayed-type", "fanout"]]);
  broker.declareExchange(session, exchange("slow", "x-delayed-message", { arguments: inner }));
  for (const name of ["now", "later"]) broker.declareQueue(session, queue(name));
  broker.bindQueue(session, binding("start", "now"));
  broker.bindQueue(session, binding("slow", "later"));
  broker.bindExchange(session, { exchange: "start", destination: "slow", routingKey: "", arguments: new Map() });
  const delayed = (exchangeName: string): void => {
    const incoming = message("m");
    incoming.properties = encodeProperties({ deliveryMode: 2, headers: new Map([["x-delay", 5000]]) });
    incoming.propertiesEnd = incoming.properties.length;
    incoming.delayMs = 5000;
    const position = broker.publish(incoming, broker.route(session, exchangeName, "", incoming.properties));
    assert.equal(position, shard.openPosition, "the confirm waits for both parts");
  };
  delayed("start");
  assert.deepEqual(shard.publishes, [
    { queues: 1, delayMs: 0 },
    { queues: 1, delayMs: 5000 },
  ]);
  const delayOf = (name: string): unknown => {
    const record = shard.queues.get(idOf(broker, session, name))?.ready[0];
    assert(record !== undefined);
    return readHeaders(record, 6, record.length).get("x-delay");
  };
  assert.deepEqual([delayOf("now"), delayOf("later")], [5000, -5000n]);
  shard.publishes.length = 0;
  broker.bindQueue(session, binding("amq.fanout", "now"));
  delayed("amq.fanout");
  assert.deepEqual(shard.publishes, [{ queues: 1, delayMs: 0 }], "elsewhere the header means nothing");
});
