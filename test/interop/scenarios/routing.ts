// Exchanges and bindings.

import {
  bind,
  confirms,
  declareExchange,
  declareQueue,
  deleteExchange,
  deleteQueue,
  get,
  open,
  publish,
  purge,
  see,
  unbind,
} from "../scenario.ts";
import type { Expected, Scenario, Step } from "../scenario.ts";

/** Publishes with each key, then shows which queue got how many. */
function counts(channel: string, expected: Readonly<Record<string, number>>): Expected[] {
  return Object.entries(expected).map(([queue, messages]) =>
    see(declareQueue(channel, queue, { passive: true }), { queue, messages, consumers: 0 }),
  );
}

const declareAll = (channel: string, queues: readonly string[]): Step[] =>
  queues.map((queue) => declareQueue(channel, queue));

function topic(key: string): Step {
  return publish("p", key, { exchange: "tree", key });
}

function header(headers: Readonly<Record<string, string | number>>): Step {
  return publish("p", "h", { exchange: "heads", properties: { headers } });
}

export const ROUTING_SCENARIOS: readonly Scenario[] = [
  {
    guarantee: "The default exchange routes by queue name",
    steps: [
      open("p", { confirms: true }),
      declareQueue("p", "named"),
      publish("p", "x", { to: "named" }),
      see(confirms("p"), ["ack"]),
      see(get("p", "named", { noAck: true }), { message: "x", left: 0 }),
      publish("p", "nowhere", { to: "not-there" }),
      see(confirms("p"), ["ack"]),
    ],
  },
  {
    guarantee: "A direct exchange routes by equal key to every queue that is bound with it",
    steps: [
      open("p", { confirms: true }),
      declareExchange("p", "direct", "direct"),
      ...declareAll("p", ["red", "blue", "both"]),
      bind("p", "red", "direct", { key: "red" }),
      bind("p", "blue", "direct", { key: "blue" }),
      bind("p", "both", "direct", { key: "red" }),
      bind("p", "both", "direct", { key: "blue" }),
      bind("p", "both", "direct", { key: "blue" }),
      publish("p", "1", { exchange: "direct", key: "red" }),
      publish("p", "2", { exchange: "direct", key: "blue" }),
      publish("p", "3", { exchange: "direct", key: "green" }),
      see(confirms("p"), ["ack x3"]),
      ...counts("p", { red: 1, blue: 1, both: 2 }),
      unbind("p", "both", "direct", { key: "blue" }),
      publish("p", "4", { exchange: "direct", key: "blue" }),
      see(confirms("p"), ["ack"]),
      ...counts("p", { red: 1, blue: 2, both: 2 }),
    ],
  },
  {
    guarantee: "A fanout exchange gives every bound queue its own copy, whatever the key",
    steps: [
      open("p", { confirms: true }),
      declareExchange("p", "fan", "fanout"),
      ...Array.from({ length: 20 }, (_, i) => declareQueue("p", `f${i}`)),
      ...Array.from({ length: 20 }, (_, i) => bind("p", `f${i}`, "fan", { key: `ignored ${i}` })),
      publish("p", "1", { exchange: "fan", key: "any" }),
      publish("p", "2", { exchange: "fan" }),
      see(confirms("p"), ["ack x2"]),
      ...counts("p", Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`f${i}`, 2]))),
      see(get("p", "f0"), { message: "1", left: 1 }),
      see(purge("p", "f1"), { messages: 2 }),
      see(deleteQueue("p", "f2"), { messages: 2 }),
      publish("p", "3", { exchange: "fan" }),
      see(confirms("p"), ["ack"]),
      ...counts("p", { f0: 2, f1: 1, f3: 3 }),
    ],
  },
  {
    guarantee: "A topic exchange matches words, * and #, and gives a queue one copy however many bindings match",
    steps: [
      open("p", { confirms: true }),
      declareExchange("p", "tree", "topic"),
      ...declareAll("p", ["exact", "star", "hash", "ends", "middle", "two", "empty"]),
      bind("p", "exact", "tree", { key: "a.b.c" }),
      bind("p", "star", "tree", { key: "a.*.c" }),
      bind("p", "hash", "tree", { key: "#" }),
      bind("p", "ends", "tree", { key: "a.#" }),
      bind("p", "middle", "tree", { key: "#.b.#" }),
      bind("p", "two", "tree", { key: "*.*" }),
      bind("p", "two", "tree", { key: "a.#" }),
      bind("p", "empty", "tree", { key: "" }),
      topic("a.b.c"),
      topic("a"),
      topic("a.x"),
      topic("b"),
      topic(""),
      topic("a..c"),
      topic("x.b"),
      topic("a.b.c.d"),
      see(confirms("p"), ["ack x8"]),
      ...counts("p", { exact: 1, star: 2, hash: 8, ends: 5, middle: 4, two: 6, empty: 1 }),
      unbind("p", "hash", "tree", { key: "#" }),
      unbind("p", "two", "tree", { key: "a.#" }),
      topic("a.x"),
      topic("a.b.c"),
      see(confirms("p"), ["ack x2"]),
      ...counts("p", { exact: 2, star: 3, hash: 8, ends: 7, middle: 5, two: 7 }),
    ],
  },
  {
    guarantee: "A headers exchange matches all or any of the binding's headers",
    steps: [
      open("p", { confirms: true }),
      declareExchange("p", "heads", "headers"),
      ...declareAll("p", ["all", "any", "every", "present"]),
      bind("p", "all", "heads", { arguments: { "x-match": "all", kind: "log", level: 3 } }),
      bind("p", "any", "heads", { arguments: { "x-match": "any", kind: "log", level: 3 } }),
      bind("p", "every", "heads", { arguments: {} }),
      bind("p", "present", "heads", { arguments: { "x-match": "all", kind: null } }),
      header({ kind: "log", level: 3 }),
      header({ kind: "log" }),
      header({ level: 3, more: "x" }),
      header({ kind: "other", level: 4 }),
      header({ kind: "log", level: "3" }),
      publish("p", "none", { exchange: "heads" }),
      see(confirms("p"), ["ack x6"]),
      ...counts("p", { all: 1, any: 4, every: 6, present: 4 }),
      unbind("p", "any", "heads", { arguments: { "x-match": "any", kind: "log", level: 3 } }),
      header({ kind: "log" }),
      see(confirms("p"), ["ack"]),
      ...counts("p", { all: 1, any: 4, every: 7 }),
    ],
  },
  {
    guarantee: "The exchanges that every broker has are there and route",
    steps: [
      open("p", { confirms: true }),
      declareQueue("p", "pre"),
      bind("p", "pre", "amq.direct", { key: "interop-pre" }),
      bind("p", "pre", "amq.topic", { key: "interop-pre.#" }),
      bind("p", "pre", "amq.fanout"),
      bind("p", "pre", "amq.headers", { arguments: { "interop-pre": 1 } }),
      bind("p", "pre", "amq.match", { arguments: { "interop-pre": 2 } }),
      publish("p", "1", { exchange: "amq.direct", key: "interop-pre" }),
      publish("p", "2", { exchange: "amq.topic", key: "interop-pre.x" }),
      publish("p", "3", { exchange: "amq.fanout" }),
      publish("p", "4", { exchange: "amq.headers", properties: { headers: { "interop-pre": 1 } } }),
      publish("p", "5", { exchange: "amq.match", properties: { headers: { "interop-pre": 2 } } }),
      see(confirms("p"), ["ack x5"]),
      ...counts("p", { pre: 5 }),
      see(deleteQueue("p", "pre"), { messages: 5 }),
      declareExchange("p", "amq.direct", "direct", { passive: true }),
    ],
  },
  {
    guarantee: "Deleting an exchange removes its bindings; a new one of that name starts without",
    steps: [
      open("p", { confirms: true }),
      declareExchange("p", "gone", "fanout"),
      declareQueue("p", "kept"),
      bind("p", "kept", "gone"),
      deleteExchange("p", "gone"),
      deleteExchange("p", "gone"),
      declareExchange("p", "gone", "fanout"),
      publish("p", "x", { exchange: "gone" }),
      see(confirms("p"), ["ack"]),
      ...counts("p", { kept: 0 }),
    ],
  },
  {
    guarantee: "An auto-delete exchange goes with its last binding, not before its first",
    steps: [
      open("p"),
      declareExchange("p", "fleeting", "direct", { autoDelete: true }),
      declareExchange("p", "fleeting", "direct", { passive: true }),
      declareQueue("p", "q1"),
      bind("p", "q1", "fleeting", { key: "a" }),
      bind("p", "q1", "fleeting", { key: "b" }),
      unbind("p", "q1", "fleeting", { key: "a" }),
      declareExchange("p", "fleeting", "direct", { passive: true }),
      unbind("p", "q1", "fleeting", { key: "b" }),
      see(declareExchange("p", "fleeting", "direct", { passive: true }), {
        closed: "channel",
        code: 404,
        text: "NOT_FOUND - no exchange 'fleeting' in vhost '/'",
      }),
    ],
  },
  {
    guarantee: "Unbinding what is not bound is fine",
    steps: [
      open("p"),
      declareExchange("p", "loose", "topic"),
      declareQueue("p", "q1"),
      unbind("p", "q1", "loose", { key: "never" }),
      see(declareQueue("p", "q1", { passive: true }), { queue: "q1", messages: 0, consumers: 0 }),
    ],
  },
];
