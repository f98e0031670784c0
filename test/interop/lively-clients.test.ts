// Clients that do everything at once, at random, against a whole broker in memory: every kind of queue and
// exchange, every method, on sockets that break off in the middle. Whatever they are refused, nothing may
// be the broker's own fault: no 541, no error in its log, and it still serves afterwards.
//
// `FUZZ_SEED=S` repeats a run as far as a network lets one; `FUZZ=N` makes it N times as long.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import amqplib from "amqplib";
import { startBroker } from "../../src/main.ts";
import type { FieldTable, FieldValue } from "../../src/model/field-table.ts";
import type { MessageProperties } from "../../src/model/properties.ts";
import type { MethodFields, MethodName } from "../../src/protocols/amqp091/spec.ts";
import { methodFrame, NO_ARGUMENTS, PROTOCOL_HEADER, publishFrames } from "../wire/amqp091-world.ts";

const SEED = Number(process.env["FUZZ_SEED"] ?? randomInt(2 ** 31));
const SESSIONS = 250 * Number(process.env["FUZZ"] ?? 1);
const CLIENTS = 5;
const CHANNELS = 3;
const CONNECTION_CLASS = 10;
const METHOD_CLOSE = 50;

let state = SEED >>> 0;
function below(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}
function pick<T>(list: readonly T[]): T {
  return list[below(list.length)] as T;
}
const oneIn = (count: number): boolean => below(count) === 0;
const table = (entries: Record<string, FieldValue>): FieldTable => new Map(Object.entries(entries));

const QUEUES = ["q1", "q2", "q3", "q4", "q5"];
const EXCHANGES = ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "x1", "x2", "x3"];
const KEYS = ["k", "a.b", "#", "1", ...QUEUES];
const TYPES = ["direct", "fanout", "topic", "headers", "x-delayed-message", "x-consistent-hash", "x-random"];
const BITS = ["passive", "durable", "exclusive", "autoDelete", "internal"];

const queueArguments = (): FieldTable =>
  pick([
    NO_ARGUMENTS,
    table({ "x-dead-letter-exchange": pick(EXCHANGES) }),
    table({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": pick(QUEUES), "x-message-ttl": below(3) }),
    table({ "x-max-length": below(3), "x-overflow": pick(["drop-head", "reject-publish", "reject-publish-dlx"]) }),
    table({ "x-max-length": 2, "x-dead-letter-exchange": "amq.fanout" }),
    table({ "x-max-priority": 5 }),
    table({ "x-queue-type": "quorum", "x-delivery-limit": 2 }),
    table({ "x-delayed-retry-type": "all", "x-delayed-retry-min": 1, "x-delayed-retry-max": 10 }),
    table({ "x-single-active-consumer": true }),
    table({ "x-message-deduplication": true }),
    table({ "x-message-group": true }),
    table({ "x-expires": 1 + below(50) }),
  ]);

const headers = (): FieldTable =>
  pick([
    table({ CC: [pick(QUEUES)] }),
    table({ BCC: [pick(QUEUES), pick(QUEUES)] }),
    table({ "x-delay": below(20) }),
    table({ "x-death": [table({ count: 3n })] }),
    table({ "x-message-group": `g${below(3)}` }),
    table({ a: 1 }),
  ]);

function properties(): MessageProperties {
  return {
    ...(oneIn(2) ? { deliveryMode: 2 } : {}),
    ...(oneIn(4) ? { priority: below(9) } : {}),
    ...(oneIn(5) ? { expiration: String(below(20)) } : {}),
    ...(oneIn(6) ? { replyTo: "amq.rabbitmq.reply-to" } : {}),
    ...(oneIn(5) ? { messageId: `m${below(5)}` } : {}),
    ...(oneIn(3) ? { headers: headers() } : {}),
  };
}

/** A method whose fields are names, flags at random, and these. */
function method<N extends MethodName>(channel: number, name: N, fields: Record<string, unknown>): Buffer {
  const flags = Object.fromEntries(BITS.map((bit) => [bit, oneIn(5)]));
  const rest = { ticket: 0, nowait: false, ifUnused: oneIn(4), ifEmpty: oneIn(4), arguments: NO_ARGUMENTS };
  return methodFrame(channel, name, { ...flags, ...rest, ...fields } as unknown as MethodFields<N>);
}

const CONSUME = { noLocal: false, exclusive: false };
const ACTIONS: readonly ((channel: number) => Buffer)[] = [
  (channel) => publishFrames(pick(QUEUES), "x".repeat(below(300)), { channel, properties: properties() }),
  (channel) => publishFrames(pick(QUEUES), Buffer.alloc(9000), { channel, properties: properties() }),
  (channel) => publishFrames(pick(KEYS), "", { channel, exchange: pick(EXCHANGES), properties: properties() }),
  (channel) => publishFrames(pick(KEYS), "", { channel, exchange: pick(EXCHANGES), mandatory: true }),
  (channel) => method(channel, "queue.declare", { queue: pick(QUEUES), arguments: queueArguments() }),
  (channel) => method(channel, "queue.delete", { queue: pick(QUEUES) }),
  (channel) => method(channel, "queue.purge", { queue: pick(QUEUES) }),
  (channel) =>
    method(channel, pick(["queue.bind", "queue.unbind"]), {
      queue: pick(QUEUES),
      exchange: pick(EXCHANGES),
      routingKey: pick(KEYS),
    }),
  (channel) =>
    method(channel, "exchange.declare", {
      exchange: pick(["x1", "x2", "x3"]),
      type: pick(TYPES),
      arguments: pick([table({ "x-delayed-type": "fanout" }), table({ "alternate-exchange": pick(EXCHANGES) })]),
    }),
  (channel) => method(channel, "exchange.delete", { exchange: pick(["x1", "x2", "x3"]) }),
  (channel) =>
    method(channel, pick(["exchange.bind", "exchange.unbind"]), {
      source: pick(EXCHANGES),
      destination: pick(EXCHANGES),
      routingKey: pick(KEYS),
    }),
  (channel) =>
    method(channel, "basic.consume", {
      ...CONSUME,
      queue: pick(QUEUES),
      consumerTag: "",
      noAck: oneIn(3),
      arguments: pick([NO_ARGUMENTS, table({ "x-priority": below(5) })]),
    }),
  (channel) =>
    method(channel, "basic.consume", { ...CONSUME, queue: "amq.rabbitmq.reply-to", consumerTag: "", noAck: true }),
  (channel) => method(channel, "basic.get", { queue: pick(QUEUES), noAck: oneIn(2) }),
  (channel) => method(channel, "basic.ack", { deliveryTag: 0, multiple: true }),
  (channel) => method(channel, "basic.ack", { deliveryTag: 1 + below(6), multiple: oneIn(2) }),
  (channel) => method(channel, "basic.nack", { deliveryTag: 0, multiple: true, requeue: oneIn(2) }),
  (channel) => method(channel, "basic.reject", { deliveryTag: 1 + below(6), requeue: oneIn(2) }),
  (channel) => method(channel, "basic.recover", { requeue: true }),
  (channel) => method(channel, "basic.qos", { prefetchSize: 0, prefetchCount: below(4), global: oneIn(2) }),
  (channel) => method(channel, pick(["tx.select", "tx.commit", "tx.rollback"]), {}),
  (channel) => method(channel, "confirm.select", {}),
];

/** Notes the codes with which the broker closes the connection. */
function watch(socket: Socket, codes: Set<number>): void {
  let rest = Buffer.alloc(0);
  socket.on("error", () => undefined);
  socket.on("data", (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    for (let size = 0; rest.length >= 7; rest = rest.subarray(size)) {
      size = rest.readUInt32BE(3) + 8;
      if (rest.length < size) return;
      const isClose =
        rest[0] === 1 && rest.readUInt16BE(7) === CONNECTION_CLASS && rest.readUInt16BE(9) === METHOD_CLOSE;
      if (isClose) codes.add(rest.readUInt16BE(11));
    }
  });
}

async function live(port: number, codes: Set<number>): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  watch(socket, codes);
  await once(socket, "connect");
  const capabilities = table({ consumer_cancel_notify: true });
  socket.write(
    Buffer.concat([
      PROTOCOL_HEADER,
      methodFrame(0, "connection.start-ok", {
        clientProperties: table({ capabilities }),
        mechanism: "PLAIN",
        response: Buffer.from("\0guest\0guest"),
        locale: "en_US",
      }),
      methodFrame(0, "connection.tune-ok", { channelMax: 2047, frameMax: 131072, heartbeat: 0 }),
      methodFrame(0, "connection.open", { virtualHost: "/", capabilities: "", insist: false }),
      ...Array.from({ length: CHANNELS }, (_, i) => methodFrame(i + 1, "channel.open", { outOfBand: "" })),
    ]),
  );
  for (let left = 20 + below(100); left > 0 && !socket.destroyed; left--) {
    socket.write(pick(ACTIONS)(1 + below(CHANNELS)));
    if (oneIn(6)) await wait(below(4));
  }
  await wait(below(8));
  if (oneIn(2)) socket.destroy();
  else socket.end();
}

test("clients that do everything at random are refused, but never by a fault of the broker", async (context) => {
  context.diagnostic(`FUZZ_SEED=${SEED}`);
  const errors: string[] = [];
  const quiet = (): void => undefined;
  const logger = {
    debug: quiet,
    info: quiet,
    warn: quiet,
    error: (text: string, fields?: object) => errors.push(`${text} ${JSON.stringify(fields)}`),
  };
  const onFatal = (error: Error): void => void errors.push(String(error));
  const broker = await startBroker({ memory: true, hosts: ["127.0.0.1"], logger, onFatal });
  const port = broker.addresses.find(({ protocol }) => protocol === "amqp")?.port ?? 0;
  const codes = new Set<number>();
  let left = SESSIONS;
  const clients = Array.from({ length: CLIENTS }, async () => {
    while (left-- > 0) await live(port, codes);
  });
  await Promise.all(clients);
  assert.deepEqual(errors, []);
  assert.equal(codes.has(541), false, "no internal error");
  const connection = await amqplib.connect(`amqp://127.0.0.1:${port}`);
  const channel = await connection.createConfirmChannel();
  const { queue } = await channel.assertQueue("", { exclusive: true });
  channel.sendToQueue(queue, Buffer.from("still there"));
  await channel.waitForConfirms();
  const message = await channel.get(queue, { noAck: true });
  assert.equal(message !== false && message.content.toString(), "still there");
  await connection.close();
  await broker.close();
});
