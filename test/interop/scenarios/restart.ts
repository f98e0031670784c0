// What survives when the broker is stopped and started again.

import {
  bind,
  confirms,
  connectionEnds,
  consume,
  declareExchange,
  declareQueue,
  deliveries,
  get,
  open,
  publish,
  publishAll,
  refused,
  see,
  seeDifferent,
} from "../scenario.ts";
import type { Scenario } from "../scenario.ts";

const PERSISTENT = { "delivery-mode": 2, timestamp: 5 } as const;

export const RESTART_SCENARIOS: readonly Scenario[] = [
  {
    guarantee: "Durable queues, exchanges, bindings and persistent messages survive a restart; the rest does not",
    steps: [
      open("p", { confirms: true }),
      declareQueue("p", "kept", { durable: true }),
      declareQueue("p", "lost"),
      declareExchange("p", "kept-x", "topic", { durable: true }),
      declareExchange("p", "lost-x", "topic"),
      bind("p", "kept", "kept-x", { key: "a.#" }),
      ...publishAll("p", ["1", "2"], { to: "kept", properties: PERSISTENT }),
      publish("p", "transient", { to: "kept", properties: { "delivery-mode": 1 } }),
      publish("p", "3", { exchange: "kept-x", key: "a.b", properties: { ...PERSISTENT, headers: { n: 3 } } }),
      publish("p", "gone", { to: "lost", properties: PERSISTENT }),
      see(confirms("p"), ["ack x5"]),
    ],
    afterRestart: [
      open("c"),
      see(declareQueue("c", "kept", { passive: true }), { queue: "kept", messages: 3, consumers: 0 }),
      publish("c", "4", { exchange: "kept-x", key: "a.c", properties: PERSISTENT }),
      see(get("c", "kept", { noAck: true }), { message: "1", left: 3 }),
      see(get("c", "kept", { noAck: true }), { message: "2", left: 2 }),
      see(get("c", "kept", { noAck: true, full: true }), {
        message: {
          redelivered: false,
          exchange: "kept-x",
          key: "a.b",
          properties: { headers: { n: 3 }, ...PERSISTENT },
          body: "3",
        },
        left: 1,
      }),
      see(get("c", "kept", { noAck: true }), { message: "4", left: 0 }),
      refused(declareQueue("c", "lost", { passive: true }), 404, "NOT_FOUND - no queue 'lost' in vhost '/'"),
      open("d", { on: "c" }),
      refused(
        declareExchange("d", "lost-x", "topic", { passive: true }),
        404,
        "NOT_FOUND - no exchange 'lost-x' in vhost '/'",
      ),
    ],
  },
  {
    guarantee: "Messages that were out for an ack are there again after a restart, in their old places",
    steps: [
      open("p", { confirms: true }),
      open("c"),
      declareQueue("p", "out", { durable: true }),
      ...publishAll("p", ["1", "2", "3"], { to: "out", properties: PERSISTENT }),
      see(confirms("p"), ["ack x3"]),
      consume("c", "out", "tag"),
      see(deliveries("c", 3), ["1", "2", "3"]),
    ],
    afterRestart: [
      open("c"),
      consume("c", "out", "tag"),
      see(deliveries("c", 3), ["1 (again)", "2 (again)", "3 (again)"]),
    ],
  },
  {
    guarantee: "A broker that stops tells its clients with 320, and what they published before is kept",
    steps: [
      open("p", { confirms: true }),
      declareQueue("p", "told", { durable: true }),
      publish("p", "1", { to: "told", properties: PERSISTENT }),
      see(confirms("p"), ["ack"]),
    ],
    staysOpen: true,
    afterRestart: [
      seeDifferent(connectionEnds("p"), {
        rabbitmq: {
          closed: "connection",
          code: 320,
          text: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
        },
        quayside: { closed: "connection", code: 320, text: "CONNECTION_FORCED - broker is shutting down" },
        why: "the same code in plainer words",
      }),
      open("q"),
      see(get("q", "told"), { message: "1", left: 0 }),
    ],
  },
];
