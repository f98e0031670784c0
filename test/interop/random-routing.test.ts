// Random topologies and random messages, on Quayside and on a real RabbitMQ: exchanges of every type, bound
// to queues and to each other, with alternate exchanges, header conditions and CC. Every message must reach
// the same queues, or come back, on both. `ROUTING_SEED=S` repeats a run.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { after, before, test } from "node:test";
import amqplib from "amqplib";
import { type Broker, findRabbitmq, startQuayside, startRabbitmq } from "./brokers.ts";
import { missing } from "./peers.ts";

const SEED = Number(process.env["ROUTING_SEED"] ?? randomInt(2 ** 31));
const ROUNDS = 4;
const EXCHANGES = 5;
const QUEUES = 5;
const BINDINGS = 22;
const MESSAGES = 40;
const TYPES = ["direct", "fanout", "topic", "headers"] as const;
const RABBITMQ = findRabbitmq();

let state = SEED >>> 0;
function below(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}
function pick<T>(list: readonly T[]): T {
  return list[below(list.length)] as T;
}
const oneIn = (count: number): boolean => below(count) === 0;
const key = (words: readonly string[]): string => Array.from({ length: below(4) }, () => pick(words)).join(".");

function headers(): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const name of ["h1", "h2", "x-h3"]) {
    if (oneIn(2)) found[name] = pick([1, "1", true, "x", null, 2.5, 5_000_000_000]);
  }
  return found;
}

interface Plan {
  readonly queues: readonly string[];
  readonly exchanges: readonly {
    readonly name: string;
    readonly type: string;
    readonly alternate: string | undefined;
  }[];
  readonly bindings: readonly {
    readonly from: string;
    readonly to: string;
    readonly toExchange: boolean;
    readonly routingKey: string;
    readonly conditions: Record<string, unknown>;
  }[];
  readonly messages: readonly {
    readonly exchange: string;
    readonly routingKey: string;
    readonly headers: Record<string, unknown>;
  }[];
}

function makePlan(round: number): Plan {
  const queues = Array.from({ length: QUEUES }, (_, i) => `r${round}-q${i}`);
  const names = Array.from({ length: EXCHANGES }, (_, i) => `r${round}-x${i}`);
  const exchanges = names.map((name) => ({ name, type: pick(TYPES), alternate: oneIn(3) ? pick(names) : undefined }));
  const bindings = Array.from({ length: BINDINGS }, () => {
    const from = pick(exchanges);
    const toExchange = oneIn(3);
    const match = oneIn(3) ? {} : { "x-match": pick(["all", "any", "all-with-x", "any-with-x"]) };
    return {
      from: from.name,
      to: pick(toExchange ? names : queues),
      toExchange,
      routingKey: from.type === "topic" ? key(["a", "b", "c", "*", "#", ""]) : pick(["a", "b", "a.b"]),
      conditions: from.type === "headers" ? { ...match, ...headers() } : {},
    };
  });
  const messages = Array.from({ length: MESSAGES }, () => {
    const copies = oneIn(5) ? { CC: [key(["a", "b"]), key(["a", "b"])] } : {};
    return { exchange: pick(names), routingKey: key(["a", "b", "c"]), headers: { ...headers(), ...copies } };
  });
  return { queues, exchanges, bindings, messages };
}

/** Which messages, by their number, came where. */
async function carryOut(broker: Broker, plan: Plan): Promise<Record<string, readonly string[]>> {
  const connection = await amqplib.connect(`amqp://${broker.host}:${broker.port}`);
  const channel = await connection.createConfirmChannel();
  for (const name of plan.queues) await channel.assertQueue(name, { durable: false });
  for (const { name, type, alternate } of plan.exchanges) {
    const other = alternate === undefined ? {} : { alternateExchange: alternate };
    await channel.assertExchange(name, type, { durable: false, ...other });
  }
  for (const { from, to, toExchange, routingKey, conditions } of plan.bindings) {
    if (toExchange) await channel.bindExchange(to, from, routingKey, conditions);
    else await channel.bindQueue(to, from, routingKey, conditions);
  }
  const returned: string[] = [];
  channel.on("return", (message: { content: Buffer }) => returned.push(message.content.toString()));
  for (const [number, { exchange, routingKey, headers: given }] of plan.messages.entries()) {
    channel.publish(exchange, routingKey, Buffer.from(String(number)), { headers: given, mandatory: true });
  }
  await channel.waitForConfirms();
  const arrived: Record<string, readonly string[]> = { returned };
  for (const name of plan.queues) {
    const found: string[] = [];
    for (;;) {
      const message = await channel.get(name, { noAck: true });
      if (message === false) break;
      found.push(message.content.toString());
    }
    arrived[name] = found;
  }
  await connection.close();
  return arrived;
}

const brokers: Broker[] = [];
before(async () => {
  if (RABBITMQ !== undefined) brokers.push(await startQuayside(), await startRabbitmq(RABBITMQ));
});
after(async () => {
  for (const broker of brokers) await broker.stop();
});

test("random messages take the same ways through random topologies as on RabbitMQ", async (context) => {
  context.diagnostic(`ROUTING_SEED=${SEED}`);
  const [quayside, rabbitmq] = brokers;
  if (quayside === undefined || rabbitmq === undefined) return missing(context, "rabbitmq-server");
  for (let round = 0; round < ROUNDS; round++) {
    const plan = makePlan(round);
    const ours = await carryOut(quayside, plan);
    const theirs = await carryOut(rabbitmq, plan);
    assert.deepEqual(ours, theirs, JSON.stringify(plan));
  }
});
