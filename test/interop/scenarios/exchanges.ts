// Bindings between exchanges, alternate exchanges, sender-selected distribution.

import {
  bind,
  bindExchange,
  confirms,
  declareExchange,
  declareQueue,
  deleteExchange,
  get,
  open,
  publish,
  quiet,
  refused,
  see,
  unbindExchange,
} from "../scenario.ts";
import type { Scenario } from "../scenario.ts";

const ADDS = "adds a timestamp and a delivery mode to every message";

export const EXCHANGE_SCENARIOS: readonly Scenario[] = [
  {
    guarantee: "A message passes from exchange to exchange by their keys, and reaches a queue once",
    steps: [
      open("c", { confirms: true }),
      declareExchange("c", "in", "topic"),
      declareExchange("c", "mid", "fanout"),
      declareExchange("c", "out", "direct"),
      declareQueue("c", "q"),
      bindExchange("c", "mid", "in", { key: "a.#" }),
      bindExchange("c", "out", "mid"),
      bindExchange("c", "out", "in", { key: "a.b" }),
      bind("c", "q", "out", { key: "a.b" }),
      bind("c", "q", "mid"),
      publish("c", "once", { exchange: "in", key: "a.b" }),
      publish("c", "by mid", { exchange: "in", key: "a.c" }),
      see(confirms("c"), ["ack x2"]),
      publish("c", "nowhere", { exchange: "in", key: "b", mandatory: true }),
      see(confirms("c"), ["return 312 NO_ROUTE: nowhere", "ack"]),
      see(get("c", "q", { noAck: true }), { message: "once", left: 1 }),
      see(get("c", "q", { noAck: true }), { message: "by mid", left: 0 }),
      unbindExchange("c", "mid", "in", { key: "a.#" }),
      unbindExchange("c", "mid", "in", { key: "never was" }),
      publish("c", "cut", { exchange: "in", key: "a.c", mandatory: true }),
      see(confirms("c"), ["return 312 NO_ROUTE: cut", "ack"]),
    ],
  },
  {
    guarantee: "Bindings that lead in a circle deliver once",
    steps: [
      open("c", { confirms: true }),
      declareExchange("c", "a", "fanout"),
      declareExchange("c", "b", "fanout"),
      declareQueue("c", "q"),
      bindExchange("c", "a", "b"),
      bindExchange("c", "b", "a"),
      bind("c", "q", "b"),
      publish("c", "x", { exchange: "a" }),
      see(confirms("c"), ["ack"]),
      see(quiet("c", "q"), { ready: 1, consumers: 0, came: [] }),
    ],
  },
  {
    guarantee: "An auto-delete exchange goes with the last binding away from it",
    steps: [
      open("c"),
      declareExchange("c", "source", "fanout", { autoDelete: true }),
      declareExchange("c", "target", "fanout"),
      bindExchange("c", "target", "source"),
      unbindExchange("c", "target", "source"),
      refused(
        declareExchange("c", "source", "fanout", { passive: true }),
        404,
        "NOT_FOUND - no exchange 'source' in vhost '/'",
      ),
    ],
  },
  {
    guarantee: "Binding to or from an exchange that is not there is refused with 404",
    steps: [
      open("c"),
      declareExchange("c", "here", "fanout"),
      refused(bindExchange("c", "here", "none"), 404, "NOT_FOUND - no exchange 'none' in vhost '/'"),
      open("d", { on: "c" }),
      refused(bindExchange("d", "none", "here"), 404, "NOT_FOUND - no exchange 'none' in vhost '/'"),
      open("e", { on: "c" }),
      declareQueue("e", "q"),
    ],
  },
  {
    guarantee:
      "What an exchange cannot route goes to its alternate exchange, and comes back only if that cannot either",
    steps: [
      open("c", { confirms: true }),
      declareExchange("c", "spare", "direct"),
      declareExchange("c", "main", "direct", { arguments: { "alternate-exchange": "@spare" } }),
      declareQueue("c", "q"),
      declareQueue("c", "rest"),
      bind("c", "q", "main", { key: "k" }),
      bind("c", "rest", "spare", { key: "other" }),
      publish("c", "known", { exchange: "main", key: "k", mandatory: true }),
      publish("c", "unknown", { exchange: "main", key: "other", mandatory: true, properties: { headers: { a: 1 } } }),
      see(confirms("c"), ["ack x2"]),
      publish("c", "lost", { exchange: "main", key: "lost", mandatory: true }),
      see(confirms("c"), ["return 312 NO_ROUTE: lost", "ack"]),
      see(get("c", "q", { noAck: true }), { message: "known", left: 0 }),
      see(get("c", "rest", { noAck: true, full: true }), {
        message: {
          redelivered: false,
          exchange: "main",
          key: "other",
          properties: { headers: { a: 1 } },
          body: "unknown",
        },
        left: 0,
      }),
      deleteExchange("c", "spare"),
      publish("c", "gone", { exchange: "main", key: "other", mandatory: true }),
      see(confirms("c"), ["return 312 NO_ROUTE: gone", "ack"]),
    ],
    cannot: { "rabbitmq-client": ADDS },
  },
  {
    guarantee: "CC and BCC name more routing keys; BCC is taken away, and a queue gets one copy",
    steps: [
      open("c", { confirms: true }),
      declareQueue("c", "to"),
      declareQueue("c", "cc"),
      declareQueue("c", "bcc"),
      publish("c", "x", { to: "to", properties: { headers: { CC: ["@cc", "@to"], BCC: ["@bcc"], other: 1 } } }),
      see(confirms("c"), ["ack"]),
      ...["to", "cc", "bcc"].map((queue) =>
        see(get("c", queue, { noAck: true, full: true }), {
          message: {
            redelivered: false,
            exchange: "",
            key: "to",
            properties: { headers: { CC: ["cc", "to"], other: 1 } },
            body: "x",
          },
          left: 0,
        }),
      ),
    ],
    cannot: { "rabbitmq-client": ADDS },
  },
  {
    guarantee: "CC that is not a list is refused with 406",
    steps: [
      open("c"),
      publish("c", "x", { exchange: "amq.direct", key: "k", properties: { headers: { CC: "text" } } }),
      refused(
        { do: "ends", channel: "c" },
        406,
        'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}',
      ),
    ],
  },
];
