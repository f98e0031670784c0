// RabbitMQ's extensions, each as a small program of amqplib that returns what it saw. It runs on Quayside,
// and where there is a RabbitMQ also on that: what they saw must be equal, but for what `known` takes out
// because version 4 does it otherwise than the 3.10 that Debian has.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import amqplib, { type Channel, type ChannelModel, type ConsumeMessage, type GetMessage } from "amqplib";
import { type Broker, findRabbitmq, startQuayside, startRabbitmq } from "./brokers.ts";
import { missing } from "./peers.ts";

const TX = { select: 0x5a000a, commit: 0x5a0014, rollback: 0x5a001e } as const;
const REPLY_QUEUE = "amq.rabbitmq.reply-to";
const RABBITMQ = findRabbitmq();

type Seen = unknown;
type Case = (connection: ChannelModel) => Promise<Seen>;

/** amqplib has no transactions of its own; this is how its other calls work inside. */
async function call(channel: Channel, method: number, fields: object = {}): Promise<void> {
  const inside = channel as unknown as { rpc(method: number, fields: object, answer: number): Promise<unknown> };
  await inside.rpc(method, fields, method + 1);
}

/** Waits for a message, since dead letters and expirations take their time. */
async function getSoon(channel: Channel, queue: string, noAck = true): Promise<GetMessage> {
  for (let tries = 0; tries < 1000; tries++) {
    const message = await channel.get(queue, { noAck });
    if (message !== false) return message;
    await wait(5);
  }
  throw new Error(`no message arrives in ${queue}`);
}

/** How many messages are in each queue once the broker has caught up: a marker goes through last. */
async function counts(channel: Channel, ...queues: string[]): Promise<number[]> {
  const found: number[] = [];
  for (const queue of queues) found.push((await channel.checkQueue(queue)).messageCount);
  return found;
}

/** Headers with what differs from run to run taken out. */
function headersOf(message: GetMessage | ConsumeMessage): Seen {
  const plain: unknown = JSON.parse(
    JSON.stringify(message.properties.headers ?? {}, (key: string, value: unknown) =>
      key === "time" ? typeof (value as { value?: unknown }).value : value,
    ),
  );
  return plain;
}

/** Version 3.10 writes no x-last-death-*. */
function withoutLast(headers: Seen): Seen {
  return Object.fromEntries(Object.entries(headers as object).filter(([name]) => !name.startsWith("x-last-death-")));
}

async function confirmed(connection: ChannelModel, publish: (channel: Channel) => void): Promise<void> {
  const channel = await connection.createConfirmChannel();
  publish(channel);
  await channel.waitForConfirms();
  await channel.close();
}

async function queue(channel: Channel, name: string, args: object = {}): Promise<string> {
  await channel.assertQueue(name, { durable: false, arguments: args });
  return name;
}

const CASES: Readonly<Record<string, Case>> = {
  "CC and BCC reach further queues, and BCC is not shown": async (connection) => {
    const channel = await connection.createChannel();
    for (const name of ["cc-a", "cc-b", "cc-c"]) await queue(channel, name);
    await confirmed(connection, (one) =>
      one.sendToQueue("cc-a", Buffer.from("m"), { headers: { CC: ["cc-b"], BCC: ["cc-c"], kept: "yes" } }),
    );
    const seen: Seen[] = [];
    for (const name of ["cc-a", "cc-b", "cc-c"]) {
      const message = await getSoon(channel, name);
      seen.push([message.fields.routingKey, headersOf(message)]);
    }
    return seen;
  },

  "an alternate exchange takes what its exchange cannot route, and mandatory messages with it": async (connection) => {
    const channel = await connection.createConfirmChannel();
    await channel.assertExchange("ae-rest", "fanout", { durable: false });
    await channel.assertExchange("ae-main", "direct", { durable: false, alternateExchange: "ae-rest" });
    for (const name of ["ae-q", "ae-r"]) await queue(channel, name);
    await channel.bindQueue("ae-q", "ae-main", "k");
    const returned: string[] = [];
    channel.on("return", (message: { content: Buffer }) => returned.push(message.content.toString()));
    channel.publish("ae-main", "other", Buffer.from("nowhere"), { mandatory: true });
    await channel.waitForConfirms();
    await channel.bindQueue("ae-r", "ae-rest", "");
    for (const key of ["k", "other"]) channel.publish("ae-main", key, Buffer.from(key), { mandatory: true });
    await channel.waitForConfirms();
    return [returned, await counts(channel, "ae-q", "ae-r")];
  },

  "exchanges bound in a circle deliver once": async (connection) => {
    const channel = await connection.createChannel();
    for (const name of ["ee-a", "ee-b"]) await channel.assertExchange(name, "fanout", { durable: false });
    for (const name of ["ee-q1", "ee-q2"]) await queue(channel, name);
    await channel.bindExchange("ee-b", "ee-a", "");
    await channel.bindExchange("ee-a", "ee-b", "");
    await channel.bindQueue("ee-q1", "ee-a", "");
    await channel.bindQueue("ee-q2", "ee-b", "");
    await confirmed(connection, (one) => one.publish("ee-a", "", Buffer.from("1")));
    await channel.unbindExchange("ee-b", "ee-a", "");
    await confirmed(connection, (one) => one.publish("ee-a", "", Buffer.from("2")));
    return counts(channel, "ee-q1", "ee-q2");
  },

  "a reply comes back directly, with the properties of its publisher": async (connection) => {
    const channel = await connection.createChannel();
    await queue(channel, "rpc");
    const answered = new Promise<ConsumeMessage | null>((resolve) => {
      void channel.consume(REPLY_QUEUE, resolve, { noAck: true });
    });
    channel.sendToQueue("rpc", Buffer.from("ask"), { replyTo: REPLY_QUEUE, correlationId: "7" });
    const request = await getSoon(channel, "rpc");
    const { replyTo, correlationId } = request.properties as { replyTo: string; correlationId: string };
    const server = await connection.createChannel();
    const { messageCount, consumerCount } = await server.checkQueue(replyTo);
    server.publish("", replyTo, Buffer.from("answer"), { correlationId, headers: { a: 1 } });
    const reply = await answered;
    const { exchange, routingKey, redelivered } = reply?.fields ?? {};
    const seen = [exchange, routingKey === replyTo, redelivered, reply?.content.toString()];
    return [replyTo.startsWith(`${REPLY_QUEUE}.`), messageCount, consumerCount, seen, reply?.properties.correlationId];
  },

  "tx.commit publishes and acks, tx.rollback does neither and requeues nothing": async (connection) => {
    const channel = await connection.createChannel();
    const other = await connection.createChannel();
    await queue(channel, "tx");
    await call(channel, TX.select);
    const seen: Seen[] = [];
    for (const body of ["1", "2"]) channel.sendToQueue("tx", Buffer.from(body));
    seen.push(await counts(other, "tx"));
    await call(channel, TX.commit);
    seen.push(await counts(other, "tx"));
    channel.sendToQueue("tx", Buffer.from("3"));
    const first = await channel.get("tx");
    if (first !== false) channel.ack(first);
    await call(channel, TX.rollback);
    seen.push(await counts(other, "tx"));
    if (first !== false) channel.ack(first);
    await call(channel, TX.commit);
    await channel.close();
    seen.push(await counts(other, "tx"), (await getSoon(other, "tx")).content.toString());
    return seen;
  },

  "a rejected message carries its death": async (connection) => {
    const channel = await connection.createChannel();
    await queue(channel, "dl-graves");
    await queue(channel, "dl-work", { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dl-graves" });
    channel.sendToQueue("dl-work", Buffer.from("m"), { priority: 3, headers: { mine: 1 }, expiration: "60000" });
    const message = await channel.get("dl-work");
    if (message !== false) channel.nack(message, false, false);
    const letter = await getSoon(channel, "dl-graves");
    const { exchange, routingKey } = letter.fields;
    const { priority, expiration } = letter.properties as { priority?: number; expiration?: string };
    return [exchange, routingKey, priority, expiration, withoutLast(headersOf(letter))];
  },

  "expired and surplus messages die too, each with its reason, and counts go up": async (connection) => {
    const channel = await connection.createChannel();
    await channel.assertExchange("dl-x", "direct", { durable: false });
    await queue(channel, "dl-end");
    await channel.bindQueue("dl-end", "dl-x", "dl-short");
    await channel.bindQueue("dl-end", "dl-x", "dl-full");
    await queue(channel, "dl-short", { "x-dead-letter-exchange": "dl-x", "x-message-ttl": 1 });
    await queue(channel, "dl-full", { "x-dead-letter-exchange": "dl-x", "x-max-length": 1 });
    channel.sendToQueue("dl-short", Buffer.from("m"));
    const expired = await getSoon(channel, "dl-end");
    for (const body of ["1", "2"]) channel.sendToQueue("dl-full", Buffer.from(body));
    const surplus = await getSoon(channel, "dl-end");
    return [expired, surplus].map((letter) => [letter.content.toString(), withoutLast(headersOf(letter))]);
  },

  "a message that dies again in the same queue is counted, in another one it has a second entry": async (
    connection,
  ) => {
    const channel = await connection.createChannel();
    const dead = (key: string) => ({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": key });
    await queue(channel, "again-a", dead("again-b"));
    await queue(channel, "again-b", dead("again-a"));
    channel.sendToQueue("again-a", Buffer.from("m"));
    const seen: Seen[] = [];
    for (const name of ["again-a", "again-b", "again-a", "again-b"]) {
      const message = await getSoon(channel, name, false);
      seen.push(withoutLast(headersOf(message)));
      channel.nack(message, false, false);
    }
    return seen;
  },

  "a message that would expire in a circle is dropped": async (connection) => {
    const channel = await connection.createChannel();
    const dead = (key: string) => ({ "x-dead-letter-exchange": "", "x-dead-letter-routing-key": key });
    await queue(channel, "circle-b", { ...dead("circle-a"), "x-message-ttl": 1 });
    await queue(channel, "circle-a", { ...dead("circle-b"), "x-message-ttl": 1 });
    await queue(channel, "circle-end");
    await queue(channel, "circle-mark", { ...dead("circle-end"), "x-message-ttl": 300 });
    channel.sendToQueue("circle-a", Buffer.from("m"));
    channel.sendToQueue("circle-mark", Buffer.from("later"));
    await getSoon(channel, "circle-end");
    return counts(channel, "circle-a", "circle-b");
  },

  "a full queue that rejects publishes nacks them": async (connection) => {
    const channel = await connection.createConfirmChannel();
    await queue(channel, "full", { "x-max-length": 1, "x-overflow": "reject-publish" });
    const answers: string[] = [];
    for (const body of ["1", "2", "3"]) {
      await new Promise<void>((resolve) => {
        channel.sendToQueue("full", Buffer.from(body), {}, (error: unknown) => {
          answers.push(error === null || error === undefined ? "ack" : "nack");
          resolve();
        });
      });
    }
    return [answers, (await getSoon(channel, "full")).content.toString()];
  },

  "the consumer with the highest priority gets messages as long as it takes them": async (connection) => {
    const channel = await connection.createChannel();
    await queue(channel, "prio");
    const got: string[] = [];
    const three = new Promise<void>((resolve) => {
      const note = (name: string) => () => got.push(name) === 3 && resolve();
      void channel.prefetch(2).then(async () => {
        await channel.consume("prio", note("low"), { consumerTag: "low", priority: 1 });
        await channel.consume("prio", note("high"), { consumerTag: "high", priority: 10 });
        for (let i = 0; i < 3; i++) channel.sendToQueue("prio", Buffer.from("m"));
      });
    });
    await three;
    return got.sort();
  },
};

describe("RabbitMQ's extensions", () => {
  const brokers: Broker[] = [];

  before(async () => {
    brokers.push(await startQuayside());
    if (RABBITMQ !== undefined) brokers.push(await startRabbitmq(RABBITMQ));
  });
  after(async () => {
    for (const broker of brokers) await broker.stop();
  });

  for (const [name, run] of Object.entries(CASES)) {
    test(name, async (context) => {
      const seen: Seen[] = [];
      for (const broker of brokers) {
        const connection = await amqplib.connect(`amqp://${broker.host}:${broker.port}`);
        seen.push(await run(connection));
        await connection.close();
      }
      context.diagnostic(JSON.stringify(seen[0]));
      if (RABBITMQ === undefined) return missing(context, "rabbitmq-server");
      assert.deepEqual(seen[0], seen[1]);
    });
  }

  // A plugin that the packaged RabbitMQ does not have.
  test("an x-delayed-message exchange holds a message back as long as its header says", async () => {
    const connection = await amqplib.connect(`amqp://${brokers[0]?.host}:${brokers[0]?.port}`);
    const channel = await connection.createConfirmChannel();
    await channel.assertExchange("later", "x-delayed-message", { arguments: { "x-delayed-type": "direct" } });
    await queue(channel, "later");
    await channel.bindQueue("later", "later", "k");
    const startMs = performance.now();
    for (const [body, delay] of [
      ["slow", 400],
      ["quick", 100],
      ["at once", 0],
    ] as const) {
      channel.publish("later", "k", Buffer.from(body), { persistent: true, headers: { "x-delay": delay } });
    }
    await channel.waitForConfirms();
    const seen: Seen[] = [];
    const earliest = [0, 100, 400];
    for (const atLeastMs of earliest) {
      const message = await getSoon(channel, "later");
      assert.ok(performance.now() - startMs >= atLeastMs, `${message.content.toString()} came too early`);
      seen.push([message.content.toString(), headersOf(message)]);
    }
    assert.deepEqual(seen, [
      ["at once", { "x-delay": 0 }],
      ["quick", { "x-delay": -100 }],
      ["slow", { "x-delay": -400 }],
    ]);
    await connection.close();
  });
});
