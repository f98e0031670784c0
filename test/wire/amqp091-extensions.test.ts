// RabbitMQ's extensions as bytes: sender-selected distribution, direct reply-to, negative confirms,
// transactions, bindings between exchanges.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { FieldTable, FieldValue } from "../../src/model/field-table.ts";
import { decodeProperties, type MessageProperties } from "../../src/model/properties.ts";
import { readRecord } from "../../src/protocols/amqp091/record.ts";
import type { FakeQueue } from "./amqp091-fake-broker.ts";
import { type Client, NO_ARGUMENTS, World } from "./amqp091-world.ts";

const PERSISTENT: MessageProperties = { deliveryMode: 2 };

function table(entries: Record<string, FieldValue>): FieldTable {
  return new Map(Object.entries(entries));
}

function storedHeaders(queue: FakeQueue): FieldTable | undefined {
  const { properties } = readRecord(queue.ready[0]!.record);
  return decodeProperties(properties, 0, properties.length).headers;
}

function bodies(queue: FakeQueue): string[] {
  return queue.ready.map(({ record }) => readRecord(record).body.toString());
}

function expectClose(client: Client, code: number, text: RegExp, ids: readonly [number, number]): void {
  const close = client.expect("channel.close");
  assert.deepEqual([close.replyCode, close.classId, close.methodId], [code, ...ids]);
  assert.match(close.replyText, text);
}

async function open(...queues: string[]): Promise<{ world: World; client: Client; queues: FakeQueue[] }> {
  const world = await World.open();
  const made = queues.map((name) => world.broker.add(name));
  return { world, client: world.open(), queues: made };
}

test("CC and BCC route to further queues; BCC is not stored, CC is", async () => {
  const { client, queues } = await open("a", "b", "c");
  client.publish("a", "m", { properties: { headers: table({ BCC: ["c"], CC: ["b"], kept: 1 }) } });
  assert.deepEqual(client.received(), []);
  for (const queue of queues) {
    assert.equal(queue.ready.length, 1);
    assert.deepEqual(storedHeaders(queue), table({ CC: ["b"], kept: 1 }));
  }
});

test("CC or BCC that is no array is 406", async () => {
  for (const name of ["CC", "BCC"]) {
    const { client } = await open("a");
    client.publish("a", "m", { properties: { headers: table({ [name]: "b" }) } });
    expectClose(client, 406, new RegExp(`invalid message: {unacceptable_type_in_header,"${name}",longstr}`), [60, 40]);
  }
});

test("priority, expiration and delay reach the broker, and are gone again with the next message", async () => {
  const { world, client } = await open("a");
  client.publish("a", "m", { properties: { priority: 7, expiration: "5000", headers: table({ "x-delay": 250 }) } });
  client.publish("a", "m");
  client.publish("a", "m", { properties: { headers: table({ "x-delay": "1000" }) } });
  client.publish("a", "m", { properties: { headers: table({ "x-delay": -1 }) } });
  assert.deepEqual(world.broker.messages, [
    { priority: 7, expirationMs: 5000, delayMs: 250 },
    { priority: 0, expirationMs: -1, delayMs: 0 },
    { priority: 0, expirationMs: -1, delayMs: 1000 },
    { priority: 0, expirationMs: -1, delayMs: 0 },
  ]);
});

test("an x-death that a client brings along reads the same and is none of the broker's", async () => {
  const { client, queues } = await open("a");
  const death = (count: FieldValue): FieldTable => table({ count, queue: "q", reason: "expired" });
  client.publish("a", "m", { properties: { headers: table({ "x-death": [death(3n)] }) } });
  assert.deepEqual(storedHeaders(queues[0]!), table({ "x-death": [death(3)] }));
});

test("bindings between exchanges are answered when they are durable", async () => {
  const { world, client } = await open();
  world.broker.metaIsDurable = false;
  const fields = {
    ticket: 0,
    destination: "to",
    source: "from",
    routingKey: "k",
    nowait: false,
    arguments: NO_ARGUMENTS,
  };
  client.send(1, "exchange.bind", fields);
  assert.deepEqual(client.received(), []);
  world.broker.commitMeta();
  client.expect("exchange.bind-ok");
  assert.deepEqual(world.broker.exchangeBindings, [
    { exchange: "from", destination: "to", routingKey: "k", arguments: NO_ARGUMENTS },
  ]);
  world.broker.metaIsDurable = true;
  client.send(1, "exchange.unbind", fields);
  client.expect("exchange.unbind-ok");
  assert.deepEqual(world.broker.exchangeBindings, []);
});

// Negative confirms

function answers(client: Client): string[] {
  return client.methods().map((method) => {
    assert.ok(method.name === "basic.ack" || method.name === "basic.nack", method.name);
    return `${method.name === "basic.ack" ? "+" : "-"}${method.deliveryTag}${method.multiple ? "*" : ""}`;
  });
}

test("a publish that a full queue rejects is nacked in its place among the acks", async () => {
  const { world, client, queues } = await open("q", "full");
  queues[1]!.isFull = true;
  client.send(1, "confirm.select", { nowait: true });
  client.publish("q", "1", { properties: PERSISTENT });
  client.publish("full", "2", { properties: PERSISTENT });
  client.publish("full", "3");
  client.publish("q", "4");
  assert.deepEqual(client.received(), [], "nothing overtakes the first, which waits for its commit");
  world.broker.commit();
  assert.deepEqual(answers(client), ["+1", "-3*", "+4"]);
  client.publish("full", "5");
  client.publish("q", "6");
  assert.deepEqual(answers(client), ["-5", "+6"]);
  assert.deepEqual(bodies(queues[0]!), ["1", "4", "6"]);
});

// Direct reply-to

function consumeReplies(client: Client, noAck = true): void {
  client.consume("amq.rabbitmq.reply-to", { tag: "replies", noAck });
}

test("a reply goes straight to the channel that asked, with everything that was published", async () => {
  const { world, client, queues } = await open("requests");
  consumeReplies(client);
  client.expect("basic.consume-ok");
  client.publish("requests", "ask", { properties: { replyTo: "amq.rabbitmq.reply-to", correlationId: "7" } });
  const { properties } = readRecord(queues[0]!.ready[0]!.record);
  const { replyTo = "", correlationId } = decodeProperties(properties, 0, properties.length);
  assert.match(replyTo, /^amq\.rabbitmq\.reply-to\..{20,}$/);
  assert.equal(correlationId, "7");

  const server = world.open();
  const passive = { ticket: 0, queue: replyTo, passive: true, durable: false, exclusive: false, autoDelete: false };
  server.send(1, "queue.declare", { ...passive, nowait: false, arguments: NO_ARGUMENTS });
  assert.equal(server.expect("queue.declare-ok").consumerCount, 1);
  server.send(1, "confirm.select", { nowait: true });
  server.publish(replyTo, "answer", { mandatory: true, properties: { correlationId: "7" } });
  server.expect("basic.ack");

  const [reply] = client.messages();
  assert.ok(reply?.method.name === "basic.deliver");
  const { consumerTag, deliveryTag, exchange, routingKey, redelivered } = reply.method;
  assert.deepEqual([consumerTag, deliveryTag, exchange, routingKey, redelivered], ["replies", 1, "", replyTo, false]);
  assert.deepEqual([reply.body.toString(), reply.properties.correlationId], ["answer", "7"]);

  client.send(1, "basic.cancel", { consumerTag: "replies", nowait: false });
  client.expect("basic.cancel-ok");
  server.publish(replyTo, "too late", { mandatory: true });
  assert.deepEqual(server.methodNames(), ["basic.return", "basic.ack"]);
  assert.deepEqual(client.received(), []);
  server.send(1, "queue.declare", { ...passive, nowait: false, arguments: NO_ARGUMENTS });
  expectClose(server, 404, /no queue 'amq\.rabbitmq\.reply-to\./, [50, 10]);
});

test("a reply consumer that acks, a second one, and a request without one are 406", async () => {
  const acking = (await open()).client;
  consumeReplies(acking, false);
  expectClose(acking, 406, /reply consumer cannot acknowledge/, [60, 20]);
  const twice = (await open()).client;
  consumeReplies(twice);
  twice.expect("basic.consume-ok");
  twice.consume("amq.rabbitmq.reply-to", { tag: "other", noAck: true });
  expectClose(twice, 406, /reply consumer already set/, [60, 20]);
  const without = (await open("q")).client;
  without.publish("q", "m", { properties: { replyTo: "amq.rabbitmq.reply-to" } });
  expectClose(without, 406, /fast reply consumer does not exist/, [60, 40]);
});

test("a reply needs the right to write to the default exchange", async () => {
  const { world, client, queues } = await open("q");
  consumeReplies(client);
  client.publish("q", "ask", { properties: { replyTo: "amq.rabbitmq.reply-to" } });
  client.received();
  const { properties } = readRecord(queues[0]!.ready[0]!.record);
  const replyTo = decodeProperties(properties, 0, properties.length).replyTo ?? "";
  const server = world.open();
  world.broker.exchanges.delete("");
  server.publish(replyTo, "answer");
  expectClose(server, 404, /no exchange/, [60, 40]);
  assert.deepEqual(client.received(), []);
});

test("replies to a client that does not read are dropped at the limit of unsent bytes", async () => {
  const { world, client, queues } = await open("q");
  consumeReplies(client);
  client.publish("q", "ask", { properties: { replyTo: "amq.rabbitmq.reply-to" } });
  client.received();
  const { properties } = readRecord(queues[0]!.ready[0]!.record);
  const replyTo = decodeProperties(properties, 0, properties.length).replyTo ?? "";
  client.socket.stuck = true;
  const server = world.open();
  for (let i = 0; i < 100; i++) {
    server.publish(replyTo, Buffer.alloc(100_000));
    server.settle();
  }
  assert.ok(client.socket.unsentBytes < 1.5 * 1024 * 1024, `${client.socket.unsentBytes} bytes`);
});

// Transactions

async function transactional(...names: string[]) {
  const opened = await open(...names);
  opened.client.send(1, "tx.select", {});
  opened.client.expect("tx.select-ok");
  return opened;
}

test("publishes of a transaction are stored at tx.commit, which is answered when they are durable", async () => {
  const { world, client, queues } = await transactional("q");
  client.publish("q", "1", { properties: PERSISTENT });
  client.publish("q", "2", { properties: PERSISTENT });
  assert.deepEqual([client.received(), bodies(queues[0]!)], [[], []]);
  client.send(1, "tx.commit", {});
  client.publish("q", "3");
  assert.deepEqual([client.received(), bodies(queues[0]!)], [[], ["1", "2"]]);
  world.broker.commit();
  client.expect("tx.commit-ok");
  client.send(1, "tx.commit", {});
  client.expect("tx.commit-ok");
  assert.deepEqual(bodies(queues[0]!), ["1", "2", "3"]);
});

test("tx.rollback forgets publishes, and acked deliveries wait for their ack again, not requeued", async () => {
  const { client, queues } = await transactional("q");
  const [queue] = queues as [FakeQueue];
  client.publish("q", "m");
  client.send(1, "tx.commit", {});
  client.expect("tx.commit-ok");
  client.consume("q");
  client.received();
  client.ack(1);
  client.publish("q", "forgotten");
  client.send(1, "tx.rollback", {});
  client.expect("tx.rollback-ok");
  assert.deepEqual([queue.inFlight.size, queue.ready.length], [1, 0]);
  client.ack(1);
  client.send(1, "tx.commit", {});
  client.expect("tx.commit-ok");
  assert.equal(queue.inFlight.size, 0);
  client.ack(1);
  expectClose(client, 406, /unknown delivery tag 1/, [60, 80]);
});

test("acks, rejects and requeues of a transaction are applied at tx.commit, in order", async () => {
  const { world, client, queues } = await transactional("q");
  const [queue] = queues as [FakeQueue];
  for (let i = 1; i <= 5; i++) client.publish("q", String(i));
  client.send(1, "tx.commit", {});
  client.consume("q", { tag: "first" });
  client.received();
  client.ack(2, true);
  client.send(1, "basic.reject", { deliveryTag: 3, requeue: false });
  client.send(1, "basic.nack", { deliveryTag: 0, multiple: true, requeue: true });
  assert.deepEqual([world.broker.settled, queue.inFlight.size], [[], 5]);
  client.send(1, "basic.cancel", { consumerTag: "first", nowait: true });
  client.send(1, "tx.commit", {});
  client.expect("tx.commit-ok");
  assert.deepEqual(world.broker.settled, [
    { queueId: 1, first: 0, last: 1, reason: 0 },
    { queueId: 1, first: 2, last: 2, reason: 1 },
  ]);
  assert.deepEqual(bodies(queue), ["4", "5"]);
});

test("a tag that a transaction has acked is unknown, and a channel that ends requeues it", async () => {
  const { client, queues } = await transactional("q");
  const [queue] = queues as [FakeQueue];
  client.publish("q", "m");
  client.send(1, "tx.commit", {});
  client.consume("q");
  client.received();
  client.ack(1);
  client.ack(1);
  expectClose(client, 406, /unknown delivery tag 1/, [60, 80]);
  assert.deepEqual([queue.inFlight.size, bodies(queue)], [0, ["m"]]);
});

test("acks of a transaction give no credit before tx.commit", async () => {
  const { client } = await transactional("q");
  for (let i = 1; i <= 3; i++) client.publish("q", String(i));
  client.send(1, "tx.commit", {});
  client.send(1, "basic.qos", { prefetchSize: 0, prefetchCount: 1, global: false });
  client.consume("q");
  client.received();
  client.ack(1);
  assert.deepEqual(client.received(), []);
  client.send(1, "tx.commit", {});
  assert.equal(client.messages().length, 1);
});

test("a transaction whose exchange has gone is refused whole", async () => {
  const { world, client, queues } = await transactional("q");
  world.broker.exchanges.add("x");
  client.publish("q", "stays out");
  client.publish("k", "m", { exchange: "x" });
  world.broker.deleteExchange({ id: 1, user: "", vhost: "/", mayImpersonate: false }, "x");
  client.send(1, "tx.commit", {});
  expectClose(client, 404, /no exchange 'x'/, [90, 20]);
  assert.deepEqual(bodies(queues[0]!), []);
});

test("an unroutable mandatory message of a transaction is returned at tx.commit, before its answer", async () => {
  const { client } = await transactional();
  client.publish("nowhere", "m", { mandatory: true });
  assert.deepEqual(client.received(), []);
  client.send(1, "tx.commit", {});
  assert.deepEqual(client.methodNames(), ["basic.return", "tx.commit-ok"]);
});

test("a transaction of which a full queue rejected a part is 406", async () => {
  const { client, queues } = await transactional("full");
  queues[0]!.isFull = true;
  client.publish("full", "m");
  client.send(1, "tx.commit", {});
  expectClose(client, 406, /partial tx completion/, [90, 20]);
});

test("transactions and confirms exclude each other, and tx.commit needs tx.select: 406", async () => {
  const both = (await transactional()).client;
  both.send(1, "confirm.select", { nowait: false });
  expectClose(both, 406, /cannot switch from tx to confirm mode/, [85, 10]);
  const reverse = (await open()).client;
  reverse.send(1, "confirm.select", { nowait: true });
  reverse.send(1, "tx.select", {});
  expectClose(reverse, 406, /cannot switch from confirm to tx mode/, [90, 10]);
  for (const [method, id] of [
    ["tx.commit", 20],
    ["tx.rollback", 30],
  ] as const) {
    const none = (await open()).client;
    none.send(1, method, {});
    expectClose(none, 406, /channel is not transactional/, [90, id]);
  }
});

test("a transaction keeps no more than its limit: 406, and its memory is given back", async () => {
  const { world, client } = await transactional("q");
  for (let i = 0; i < 4; i++) client.publish("q", Buffer.alloc(15 * 1024 * 1024));
  assert.deepEqual(client.received(), []);
  client.publish("q", Buffer.alloc(15 * 1024 * 1024));
  expectClose(client, 406, /the transaction is too large: 4 messages/, [60, 40]);
  assert.equal(world.broker.published, 0);
});
