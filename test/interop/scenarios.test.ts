// Every scenario, with every client library, on Quayside and on RabbitMQ. Both must show what the scenario
// records, and the same where it records nothing.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { startQuayside, startRabbitmq } from "./brokers.ts";
import type { Broker } from "./brokers.ts";
import { CLIENT_NAMES } from "./client.ts";
import type { Client, ClientName } from "./client.ts";
import { amqpClientJs } from "./clients/amqp-client-js.ts";
import { amqplibClient } from "./clients/amqplib.ts";
import { pikaClient } from "./clients/pika.ts";
import { rabbitmqClient } from "./clients/rabbitmq-client.ts";
import { complaints } from "./judge.ts";
import { PIKA, RABBITMQ, missing } from "./peers.ts";
import { RawClient } from "./raw-client.ts";
import { RAW_SCENARIOS } from "./raw-scenarios.ts";
import { Run } from "./runner.ts";
import { confirms, declareQueue, get, open, publish, see } from "./scenario.ts";
import type { Expected, Scenario, Shown, Step } from "./scenario.ts";
import { DEAD_LETTER_SCENARIOS } from "./scenarios/dead-letters.ts";
import { DELIVERY_SCENARIOS } from "./scenarios/delivery.ts";
import { EXCHANGE_SCENARIOS } from "./scenarios/exchanges.ts";
import { LIFETIME_SCENARIOS } from "./scenarios/lifetimes.ts";
import { PUBLISHING_SCENARIOS } from "./scenarios/publishing.ts";
import { REDELIVERY_SCENARIOS } from "./scenarios/redelivery.ts";
import { REFUSAL_SCENARIOS } from "./scenarios/refusals.ts";
import { RESTART_SCENARIOS } from "./scenarios/restart.ts";
import { ROUTING_SCENARIOS } from "./scenarios/routing.ts";
import { TOPOLOGY_SCENARIOS } from "./scenarios/topology.ts";
import { TRANSACTION_SCENARIOS } from "./scenarios/transactions.ts";

const SCENARIOS = [
  ...DELIVERY_SCENARIOS,
  ...REDELIVERY_SCENARIOS,
  ...ROUTING_SCENARIOS,
  ...PUBLISHING_SCENARIOS,
  ...TOPOLOGY_SCENARIOS,
  ...REFUSAL_SCENARIOS,
  ...EXCHANGE_SCENARIOS,
  ...TRANSACTION_SCENARIOS,
  ...DEAD_LETTER_SCENARIOS,
  ...LIFETIME_SCENARIOS,
];

const ACROSS = {
  "content-type": "application/x-across",
  headers: { text: "täxt ✓", nothing: null, yes: true, number: 70_000, list: [1, "two"], table: { deep: { er: "x" } } },
  "delivery-mode": 2,
  "correlation-id": "c",
  "message-id": "m",
  timestamp: 1_700_000_001,
};
const SENT_ACROSS = [
  open("p", { confirms: true }),
  declareQueue("p", "across", { durable: true }),
  publish("p", "body", { to: "across", properties: ACROSS }),
  see(confirms("p"), ["ack"]),
];
const READ_ACROSS = [
  open("c"),
  see(get("c", "across", { full: true, noAck: true }), {
    message: { redelivered: false, exchange: "", key: "across", properties: ACROSS, body: "body" },
    left: 0,
  }),
];

let quayside: Broker;
let rabbitmq: Broker | undefined;
const clients = new Map<ClientName, Client>();

function clientOf(name: ClientName): Client {
  const known = clients.get(name);
  if (known !== undefined) return known;
  const makers: Record<ClientName, () => Client> = {
    amqplib: amqplibClient,
    "rabbitmq-client": rabbitmqClient,
    "amqp-client.js": amqpClientJs,
    pika: () => pikaClient(PIKA ?? "python3"),
  };
  const made = makers[name]();
  clients.set(name, made);
  return made;
}

/** Runs the same steps on each broker at the same time; throws with all complaints. */
async function compare(
  runs: readonly { run: Run; broker: Broker }[],
  steps: readonly (Step | Expected)[],
): Promise<void> {
  const shown = await Promise.all(runs.map(({ run }) => run.steps(steps)));
  const peer: readonly Shown[] | undefined = runs.length > 1 ? shown[1] : undefined;
  const found = runs.flatMap(({ broker }, index) =>
    complaints(steps, shown[index] ?? [], {
      broker: broker.name,
      ...(broker.name === "quayside" && peer !== undefined ? { peer } : {}),
    }),
  );
  assert.equal(found.length, 0, found.join("\n"));
}

function runsOf(client: Client, prefix: string): { run: Run; broker: Broker }[] {
  const brokers = rabbitmq === undefined ? [quayside] : [quayside, rabbitmq];
  return brokers.map((broker) => ({
    broker,
    run: new Run(
      client,
      { host: broker.host, port: broker.port, httpPort: broker.httpPort },
      prefix,
      broker.name === "rabbitmq",
    ),
  }));
}

function testsOf(name: ClientName): void {
  if (name === "pika" && PIKA === undefined) {
    test("pika runs every scenario", (t) => missing(t, "python3-pika"));
    return;
  }
  SCENARIOS.forEach((scenario, index) => {
    const why = scenario.cannot?.[name];
    if (why !== undefined) return; // README.md lists what a client cannot express
    test(scenario.guarantee, async () => {
      const runs = runsOf(clientOf(name), `${name}-${index}`);
      try {
        await compare(runs, scenario.steps);
      } finally {
        for (const { run } of runs) await run.end();
      }
    });
  });
}

async function restartBrokers(): Promise<void> {
  await Promise.all([quayside.restart(), rabbitmq?.restart()]);
}

describe("Client libraries", () => {
  before(async () => {
    [quayside, rabbitmq] = await Promise.all([
      startQuayside(),
      RABBITMQ === undefined ? undefined : startRabbitmq(RABBITMQ),
    ]);
  });
  after(async () => {
    for (const client of clients.values()) await client.end();
    await Promise.all([quayside.stop(), rabbitmq?.stop()]);
  });

  test("RabbitMQ is here to be compared with; without it the recorded answers are the measure", (t) => {
    if (rabbitmq === undefined) missing(t, "rabbitmq-server");
  });

  for (const name of CLIENT_NAMES) describe(name, () => testsOf(name));

  describe("across libraries", () => {
    for (const publisher of CLIENT_NAMES) {
      test(`What ${publisher} publishes, every library reads alike`, async (t) => {
        const readers = CLIENT_NAMES.filter((name) => name !== "pika" || PIKA !== undefined);
        if (!readers.includes(publisher)) {
          missing(t, "python3-pika");
          return;
        }
        for (const reader of readers) {
          const prefix = `${publisher}-${reader}`;
          const [from, to] = [runsOf(clientOf(publisher), prefix), runsOf(clientOf(reader), prefix)];
          await compare(from, SENT_ACROSS);
          await compare(to, READ_ACROSS);
          for (const { run } of [...from, ...to]) await run.end();
        }
      });
    }
  });

  // Side by side: RabbitMQ lets some of these wait for seconds.
  describe("raw frames", { concurrency: true }, () => {
    for (const scenario of RAW_SCENARIOS) {
      test(scenario.guarantee, async () => {
        const brokers = rabbitmq === undefined ? [quayside] : [quayside, rabbitmq];
        const answers = await Promise.all(
          brokers.map(async (broker) => {
            const client = await RawClient.connect(broker);
            const shown = await scenario.run(client).finally(() => client.close());
            return [broker.name, shown] as const;
          }),
        );
        const expected = { quayside: scenario.differs?.quayside ?? scenario.shows, rabbitmq: scenario.shows };
        assert.deepEqual(
          Object.fromEntries(answers),
          Object.fromEntries(brokers.map(({ name }) => [name, expected[name]])),
        );
      });
    }
  });

  test("After a restart of the broker each client finds what was durable, and nothing else", async (t) => {
    const later: { scenario: Scenario; name: ClientName; runs: { run: Run; broker: Broker }[] }[] = [];
    for (const name of CLIENT_NAMES) {
      if (name === "pika" && PIKA === undefined) continue; // told above
      RESTART_SCENARIOS.forEach((scenario, index) => {
        later.push({ scenario, name, runs: runsOf(clientOf(name), `${name}-restart-${index}`) });
      });
    }
    for (const { scenario, runs } of later) {
      await compare(runs, scenario.steps);
      if (scenario.staysOpen === true) continue;
      for (const { run } of runs) await run.end();
    }
    await restartBrokers();
    for (const { scenario, name, runs } of later) {
      await t.test(`${name}: ${scenario.guarantee}`, async () => {
        await compare(runs, scenario.afterRestart ?? []);
        for (const { run } of runs) await run.end();
      });
    }
  });
});
