// Times to live, queue expiry, length limits, priorities.

import {
  ack,
  becomes,
  cancel,
  confirms,
  consume,
  declareQueue,
  deletePolicy,
  deliveries,
  get,
  nack,
  open,
  publish,
  publishAll,
  purge,
  qos,
  quiet,
  refused,
  see,
  setPolicy,
  vanishes,
} from "../scenario.ts";
import { bodyBytes, showBody } from "../runner.ts";
import type { Scenario } from "../scenario.ts";

const lifetimes: Scenario[] = [
  {
    guarantee: "Messages of a queue with a time to live go when it is over",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q", { arguments: { "x-message-ttl": 100 } }),
      publish("c", "1", { to: "q" }),
      publish("c", "2", { to: "q", properties: { expiration: "600000" } }),
      see(confirms("c"), ["ack x2"]),
      becomes("c", "q", 0),
      see(get("c", "q"), "empty"),
    ],
  },
  {
    guarantee: "A message's own expiration ends it in a queue without a time to live",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q"),
      publish("c", "short", { to: "q", properties: { expiration: "40" } }),
      publish("c", "long", { to: "q", properties: { expiration: "600000" } }),
      see(confirms("c"), ["ack x2"]),
      becomes("c", "q", 1),
      see(get("c", "q"), { message: "long", left: 0 }),
    ],
  },
  {
    guarantee: "A message that cannot wait is delivered to a consumer that is ready, and otherwise gone",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q", { arguments: { "x-message-ttl": 0 } }),
      publish("c", "nobody", { to: "q" }),
      see(confirms("c"), ["ack"]),
      becomes("c", "q", 0),
      consume("c", "q", "t", { noAck: true }),
      publish("c", "now", { to: "q" }),
      see(deliveries("c", 1), ["now"]),
      declareQueue("c", "r"),
      publish("c", "nobody", { to: "r", properties: { expiration: "0" } }),
      becomes("c", "r", 0),
    ],
  },
  {
    guarantee: "A message that is out for an ack does not expire; back in the queue it does",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "dead"),
      declareQueue("c", "q", {
        arguments: { "x-message-ttl": 150, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "@dead" },
      }),
      declareQueue("c", "clock", { arguments: { "x-message-ttl": 250 } }),
      publish("c", "x", { to: "q" }),
      see(get("c", "q"), { message: "x", left: 0 }),
      publish("c", "tick", { to: "clock" }),
      becomes("c", "clock", 0),
      see(get("c", "dead"), "empty"),
      nack("c", "x"),
      becomes("c", "dead", 1),
      see(get("c", "q"), "empty"),
    ],
  },
  {
    guarantee: "A queue that nobody used for its lifetime is gone; a consumer keeps it",
    steps: [
      open("c"),
      declareQueue("c", "q", { arguments: { "x-expires": 100 } }),
      declareQueue("c", "kept", { arguments: { "x-expires": 100 } }),
      consume("c", "kept", "t"),
      declareQueue("c", "clock", { arguments: { "x-expires": 300 } }),
      vanishes("c", "q"),
      vanishes("c", "clock"),
      see(quiet("c", "kept"), { ready: 0, consumers: 1, came: [] }),
      cancel("c", "t"),
      vanishes("c", "kept"),
    ],
  },
];

const lengths: Scenario[] = [
  {
    guarantee: "A full queue drops its oldest messages",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q", { arguments: { "x-max-length": 2 } }),
      ...publishAll("c", ["1", "2", "3", "4"], { to: "q" }),
      see(confirms("c"), ["ack x4"]),
      see(quiet("c", "q"), { ready: 2, consumers: 0, came: [] }),
      see(get("c", "q", { noAck: true }), { message: "3", left: 1 }),
      see(get("c", "q", { noAck: true }), { message: "4", left: 0 }),
    ],
  },
  {
    guarantee: "A limit in bytes drops the oldest of the ready messages",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q", { arguments: { "x-max-length-bytes": 2500 } }),
      ...[1000, 1001, 1002].map((bytes) => publish("c", { bytes }, { to: "q" })),
      see(confirms("c"), ["ack x3"]),
      see(quiet("c", "q"), { ready: 2, consumers: 0, came: [] }),
      see(get("c", "q"), { message: showBody(bodyBytes({ bytes: 1001 })), left: 1 }),
      publish("c", { bytes: 1003 }, { to: "q" }),
      see(confirms("c"), ["ack"]),
      see(quiet("c", "q"), { ready: 2, consumers: 0, came: [] }),
    ],
  },
  {
    guarantee: "A full queue that rejects publishes nacks them, and takes them again when there is room",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q", { arguments: { "x-max-length": 1, "x-overflow": "reject-publish" } }),
      publish("c", "1", { to: "q" }),
      see(confirms("c"), ["ack"]),
      publish("c", "2", { to: "q" }),
      see(confirms("c"), ["nack"]),
      see(get("c", "q", { noAck: true }), { message: "1", left: 0 }),
      publish("c", "3", { to: "q" }),
      see(confirms("c"), ["ack"]),
      see(get("c", "q", { noAck: true }), { message: "3", left: 0 }),
    ],
  },
  {
    guarantee: "A length of nothing keeps nothing but hands to a consumer that is ready",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q", { arguments: { "x-max-length": 0 } }),
      publish("c", "lost", { to: "q" }),
      see(confirms("c"), ["ack"]),
      becomes("c", "q", 0),
      consume("c", "q", "t", { noAck: true }),
      publish("c", "now", { to: "q" }),
      see(deliveries("c", 1), ["now"]),
    ],
  },
];

const order: Scenario[] = [
  {
    guarantee: "Higher priorities come first, equal ones in order; those above the limit count as the limit",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q", { arguments: { "x-max-priority": 5 } }),
      publish("c", "none", { to: "q" }),
      publish("c", "low", { to: "q", properties: { priority: 1 } }),
      publish("c", "high", { to: "q", properties: { priority: 5 } }),
      publish("c", "above", { to: "q", properties: { priority: 200 } }),
      publish("c", "low 2", { to: "q", properties: { priority: 1 } }),
      publish("c", "zero", { to: "q", properties: { priority: 0 } }),
      see(confirms("c"), ["ack x6"]),
      consume("c", "q", "t", { noAck: true }),
      see(deliveries("c", 6), ["high", "above", "low", "low 2", "none", "zero"]),
    ],
  },
  {
    guarantee: "A returned message keeps its priority",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "q", { arguments: { "x-max-priority": 3 } }),
      publish("c", "high", { to: "q", properties: { priority: 3 } }),
      publish("c", "low", { to: "q" }),
      see(confirms("c"), ["ack x2"]),
      see(get("c", "q"), { message: "high", left: 1 }),
      see(get("c", "q"), { message: "low", left: 0 }),
      nack("c", "low"),
      nack("c", "high"),
      see(get("c", "q"), { message: "high (again)", left: 1 }),
      see(get("c", "q"), { message: "low (again)", left: 0 }),
    ],
  },
  {
    guarantee: "A consumer with priority gets messages as long as it has room, then the others",
    steps: [
      open("low"),
      open("high"),
      open("p", { confirms: true }),
      declareQueue("p", "q"),
      consume("low", "q", "low"),
      qos("high", 2),
      consume("high", "q", "high", { arguments: { "x-priority": 10 } }),
      ...publishAll("p", ["1", "2", "3"], { to: "q" }),
      see(confirms("p"), ["ack x3"]),
      see(deliveries("high", 2), ["1", "2"]),
      see(deliveries("low", 1), ["3"]),
      ack("high", "1"),
      see(quiet("high", "q"), { ready: 0, consumers: 2, came: [] }),
      publish("p", "4", { to: "q" }),
      see(deliveries("high", 1), ["4"]),
    ],
  },
  {
    guarantee: "Of the consumers of a queue with a single active consumer one gets all, and then the next",
    steps: [
      open("a"),
      open("b"),
      open("p", { confirms: true }),
      declareQueue("p", "q", { arguments: { "x-single-active-consumer": true } }),
      consume("a", "q", "first"),
      consume("b", "q", "second"),
      ...publishAll("p", ["1", "2"], { to: "q" }),
      see(deliveries("a", 2), ["1", "2"]),
      see(quiet("b", "q"), { ready: 0, consumers: 2, came: [] }),
      ack("a", "2", { multiple: true }),
      cancel("a", "first"),
      publish("p", "3", { to: "q" }),
      see(deliveries("b", 1), ["3"]),
    ],
  },
];

const policies: Scenario[] = [
  {
    guarantee: "A policy limits the queues whose names it matches, from the moment it is set to its end",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "limited"),
      declareQueue("c", "free"),
      ...publishAll("c", ["1", "2", "3"], { to: "limited" }),
      see(confirms("c"), ["ack x3"]),
      setPolicy("c", "short", { beginning: "limited", definition: { "max-length": 2 }, applyTo: "queues" }),
      becomes("c", "limited", 2),
      publish("c", "4", { to: "limited" }),
      ...publishAll("c", ["1", "2", "3"], { to: "free" }),
      see(confirms("c"), ["ack x4"]),
      see(quiet("c", "free"), { ready: 3, consumers: 0, came: [] }),
      see(get("c", "limited", { noAck: true }), { message: "3", left: 1 }),
      deletePolicy("c", "short"),
      see(purge("c", "limited"), { messages: 1 }),
      ...publishAll("c", ["5", "6", "7"], { to: "limited" }),
      see(confirms("c"), ["ack x3"]),
      see(quiet("c", "limited"), { ready: 3, consumers: 0, came: [] }),
    ],
  },
  {
    guarantee: "Of two policies the one with the higher priority holds, and a smaller argument beats it",
    steps: [
      open("c", { confirms: true }),
      setPolicy("c", "weak", { beginning: "q", definition: { "max-length": 1 }, priority: 1 }),
      setPolicy("c", "strong", { beginning: "q", definition: { "max-length": 3 }, priority: 2 }),
      declareQueue("c", "q1"),
      declareQueue("c", "q2", { arguments: { "x-max-length": 2 } }),
      ...publishAll("c", ["1", "2", "3", "4"], { to: "q1" }),
      ...publishAll("c", ["1", "2", "3", "4"], { to: "q2" }),
      see(confirms("c"), ["ack x8"]),
      see(quiet("c", "q1"), { ready: 3, consumers: 0, came: [] }),
      see(quiet("c", "q2"), { ready: 2, consumers: 0, came: [] }),
      deletePolicy("c", "weak"),
      deletePolicy("c", "strong"),
    ],
  },
];

const bad = (argument: string, value: string | number, words: string): Scenario["steps"] => [
  open("c"),
  refused(
    declareQueue("c", "q", { arguments: { [argument]: value } }),
    406,
    `PRECONDITION_FAILED - invalid arg '${argument}' for queue 'q' in vhost '/': ${words}`,
  ),
];

const badArguments: Scenario[] = (
  [
    ["x-message-ttl", -1, "{value_negative,-1}"],
    ["x-message-ttl", "1000", '"expected integer, got longstr"'],
    ["x-expires", 0, "{value_zero,0}"],
    ["x-max-length", -5, "{value_negative,-5}"],
    ["x-overflow", "explode", "invalid_overflow"],
    ["x-max-priority", 256, "{max_value_exceeded,256}"],
    ["x-queue-type", "odd", `"unsupported queue type 'odd'"`],
  ] as const
).map(([argument, value, words]) => ({
  guarantee: `The argument ${argument} with the value ${JSON.stringify(value)} is refused with 406`,
  steps: bad(argument, value, words),
}));

export const LIFETIME_SCENARIOS: readonly Scenario[] = [
  ...lifetimes,
  ...lengths,
  ...order,
  ...policies,
  ...badArguments,
];
