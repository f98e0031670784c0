// Dead letters: why, where to, with which history.

import {
  bind,
  confirms,
  consume,
  declareExchange,
  declareQueue,
  deliveries,
  get,
  nack,
  open,
  publish,
  quiet,
  refused,
  reject,
  see,
  seeDifferent,
} from "../scenario.ts";
import type { Expected, Scenario, Shown, Step } from "../scenario.ts";
import type { Properties, Table } from "../client.ts";

const ADDS = "adds a timestamp and a delivery mode to every message";
const LAST = "RabbitMQ 4 also writes the headers x-last-death-*";

interface Death {
  readonly reason: "rejected" | "expired" | "maxlen";
  readonly queue: string;
  readonly exchange: string;
  readonly keys: readonly string[];
  readonly count?: number;
  readonly expiration?: string;
}

interface Dead {
  readonly body: string;
  readonly exchange: string;
  readonly key: string;
  /** The one that happened last comes first. */
  readonly deaths: readonly Death[];
  /** Which of them was the first (default: the last of the list). */
  readonly first?: number;
  /** The exchange that it came from when it died last (default: that of its first death there). */
  readonly lastExchange?: string;
  readonly headers?: Table;
  readonly properties?: Properties;
  readonly consumer?: string;
}

/** What a dead letter looks like; `last`: with the headers that RabbitMQ 4 added. */
function shownDead(dead: Dead, last: boolean): Shown {
  const [newest, oldest] = [dead.deaths[0], dead.deaths.at(dead.first ?? -1)];
  const marks = (word: string, death: Death | undefined): Record<string, string> =>
    death === undefined
      ? {}
      : {
          [`x-${word}-death-reason`]: death.reason,
          [`x-${word}-death-queue`]: death.queue,
          [`x-${word}-death-exchange`]: death.exchange,
        };
  const headers: Record<string, Shown> = {
    ...(dead.headers as Record<string, Shown>),
    "x-death": dead.deaths.map((death) => ({
      count: death.count ?? 1,
      exchange: death.exchange,
      queue: death.queue,
      reason: death.reason,
      "routing-keys": death.keys,
      time: "moment",
      ...(death.expiration === undefined ? {} : { "original-expiration": death.expiration }),
    })),
    ...marks("first", oldest),
    ...(last ? marks("last", newest) : {}),
    ...(last && dead.lastExchange !== undefined ? { "x-last-death-exchange": dead.lastExchange } : {}),
  };
  return {
    ...(dead.consumer === undefined ? {} : { consumer: dead.consumer }),
    redelivered: false,
    exchange: dead.exchange,
    key: dead.key,
    properties: { ...(dead.properties as Record<string, Shown>), headers },
    body: dead.body,
  };
}

function getDead(channel: string, queue: string, dead: Dead, left = 0): Expected {
  return seeDifferent(get(channel, queue, { full: true, noAck: true }), {
    rabbitmq: { message: shownDead(dead, false), left },
    quayside: { message: shownDead(dead, true), left },
    why: LAST,
  });
}

function receiveDead(channel: string, dead: Dead): Expected {
  return seeDifferent(deliveries(channel, 1, true), {
    rabbitmq: [shownDead(dead, false)],
    quayside: [shownDead(dead, true)],
    why: LAST,
  });
}

const toGraves = (words: Table = {}): { arguments: Table } => ({
  arguments: { "x-dead-letter-exchange": "@dlx", ...words },
});

/** An exchange for dead letters with a queue for all of them, and a consumer of it. */
const graves = (consumer?: string): Step[] => [
  open("c", { confirms: true }),
  declareExchange("c", "dlx", "fanout"),
  declareQueue("c", "graves"),
  bind("c", "graves", "dlx"),
  ...(consumer === undefined ? [] : [consume("c", "graves", consumer, { noAck: true })]),
];

const marked = { properties: { headers: { a: 1 } } };

export const DEAD_LETTER_SCENARIOS: readonly Scenario[] = [
  {
    guarantee: "A rejected message goes to the dead-letter exchange, once, with where it was and why",
    steps: [
      ...graves(),
      declareQueue("c", "work", toGraves()),
      publish("c", "x", { to: "work", ...marked }),
      see(confirms("c"), ["ack"]),
      see(get("c", "work"), { message: "x", left: 0 }),
      reject("c", "x", { requeue: false }),
      { step: { do: "becomes", channel: "c", queue: "graves", messages: 1 }, shows: { messages: 1 } },
      getDead("c", "graves", {
        body: "x",
        exchange: "dlx",
        key: "work",
        headers: { a: 1 },
        deaths: [{ reason: "rejected", queue: "work", exchange: "", keys: ["work"] }],
      }),
      see(quiet("c", "work"), { ready: 0, consumers: 0, came: [] }),
    ],
    cannot: { "rabbitmq-client": ADDS },
  },
  {
    guarantee: "A key for dead letters replaces theirs, and the history is newest first and counts",
    steps: [
      open("c", { confirms: true }),
      declareExchange("c", "dlx", "direct"),
      declareQueue("c", "first", toGraves({ "x-dead-letter-routing-key": "second" })),
      declareQueue("c", "second", toGraves({ "x-dead-letter-routing-key": "first" })),
      bind("c", "first", "dlx", { key: "first" }),
      bind("c", "second", "dlx", { key: "second" }),
      publish("c", "x", { to: "first", ...marked }),
      see(confirms("c"), ["ack"]),
      ...["first", "second", "first"].flatMap((queue): (Step | Expected)[] => [
        { step: { do: "becomes", channel: "c", queue, messages: 1 }, shows: { messages: 1 } },
        see(get("c", queue), { message: "x", left: 0 }),
        nack("c", "x", { requeue: false }),
      ]),
      { step: { do: "becomes", channel: "c", queue: "second", messages: 1 }, shows: { messages: 1 } },
      getDead("c", "second", {
        body: "x",
        exchange: "dlx",
        key: "second",
        headers: { a: 1 },
        first: 0,
        lastExchange: "dlx",
        deaths: [
          { reason: "rejected", queue: "first", exchange: "", keys: ["first"], count: 2 },
          { reason: "rejected", queue: "second", exchange: "dlx", keys: ["second"] },
        ],
      }),
    ],
    cannot: { "rabbitmq-client": ADDS },
  },
  {
    guarantee: "A dead-letter exchange that is not there drops the message without a word",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "work", { arguments: { "x-dead-letter-exchange": "@none" } }),
      publish("c", "x", { to: "work" }),
      see(confirms("c"), ["ack"]),
      see(get("c", "work"), { message: "x", left: 0 }),
      reject("c", "x", { requeue: false }),
      see(quiet("c", "work"), { ready: 0, consumers: 0, came: [] }),
    ],
  },
  {
    guarantee: "A key for dead letters without an exchange for them is refused with 406",
    steps: [
      open("c"),
      refused(
        declareQueue("c", "work", { arguments: { "x-dead-letter-routing-key": "k" } }),
        406,
        "PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'work' in vhost '/': " +
          "routing_key_but_no_dlx_defined",
      ),
    ],
  },
  {
    guarantee: "An expired message is a dead letter; its expiration is in its history alone",
    steps: [
      ...graves("undertaker"),
      declareQueue("c", "work", toGraves()),
      publish("c", "x", { to: "work", properties: { headers: { a: 1 }, expiration: "30" } }),
      receiveDead("c", {
        body: "x",
        exchange: "dlx",
        key: "work",
        consumer: "undertaker",
        headers: { a: 1 },
        deaths: [{ reason: "expired", queue: "work", exchange: "", keys: ["work"], expiration: "30" }],
      }),
    ],
    cannot: { "rabbitmq-client": ADDS },
  },
  {
    guarantee: "A message that expired in circles is dropped; one that was rejected goes round",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "ring", {
        arguments: { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "@ring", "x-message-ttl": 30 },
      }),
      publish("c", "x", { to: "ring" }),
      see(confirms("c"), ["ack"]),
      { step: { do: "becomes", channel: "c", queue: "ring", messages: 0 }, shows: { messages: 0 } },
      consume("c", "ring", "t"),
      publish("c", "y", { to: "ring" }),
      see(deliveries("c", 1), ["y"]),
      reject("c", "y", { requeue: false }),
      see(deliveries("c", 1), ["y"]),
    ],
  },
  {
    guarantee: "What a full queue drops from its head is a dead letter",
    steps: [
      ...graves("undertaker"),
      declareQueue("c", "work", toGraves({ "x-max-length": 2 })),
      publish("c", "1", { to: "work", ...marked }),
      publish("c", "2", { to: "work", ...marked }),
      publish("c", "3", { to: "work", ...marked }),
      receiveDead("c", {
        body: "1",
        exchange: "dlx",
        key: "work",
        consumer: "undertaker",
        headers: { a: 1 },
        deaths: [{ reason: "maxlen", queue: "work", exchange: "", keys: ["work"] }],
      }),
      see(quiet("c", "work"), { ready: 2, consumers: 0, came: [] }),
    ],
    cannot: { "rabbitmq-client": ADDS },
  },
];
