// tx, and direct reply-to.

import {
  ack,
  closeConnection,
  confirms,
  consume,
  declareQueue,
  deliveries,
  ends,
  get,
  open,
  publish,
  quiet,
  refused,
  see,
  seeDifferent,
  transaction,
} from "../scenario.ts";
import type { Scenario } from "../scenario.ts";

const ADDRESS = "amq.rabbitmq.reply-to";

const transactions: Scenario[] = [
  {
    guarantee: "Publishes of a transaction are seen after its commit, and not after a rollback",
    steps: [
      open("c"),
      declareQueue("c", "q"),
      transaction("c", "select"),
      publish("c", "1", { to: "q" }),
      publish("c", "2", { to: "q" }),
      see(quiet("c", "q"), { ready: 0, consumers: 0, came: [] }),
      transaction("c", "commit"),
      publish("c", "3", { to: "q" }),
      transaction("c", "rollback"),
      transaction("c", "commit"),
      see(quiet("c", "q"), { ready: 2, consumers: 0, came: [] }),
      see(get("c", "q"), { message: "1", left: 1 }),
      see(get("c", "q"), { message: "2", left: 0 }),
    ],
  },
  {
    guarantee: "Acks of a transaction count after its commit; a rollback leaves the messages out",
    steps: [
      open("c"),
      open("d"),
      declareQueue("c", "q"),
      publish("c", "1", { to: "q" }),
      publish("c", "2", { to: "q" }),
      see(quiet("c", "q"), { ready: 2, consumers: 0, came: [] }),
      transaction("c", "select"),
      see(get("c", "q"), { message: "1", left: 1 }),
      see(get("c", "q"), { message: "2", left: 0 }),
      ack("c", "1"),
      transaction("c", "commit"),
      ack("c", "2"),
      transaction("c", "rollback"),
      see(get("c", "q"), "empty"),
      closeConnection("c"),
      see(get("d", "q"), { message: "2 (again)", left: 0 }),
      see(get("d", "q"), "empty"),
    ],
  },
  {
    guarantee: "tx and confirms exclude each other, and a commit needs a transaction: 406",
    steps: [
      open("a", { confirms: true }),
      refused(transaction("a", "select"), 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode"),
      open("b", { on: "a" }),
      refused(transaction("b", "commit"), 406, "PRECONDITION_FAILED - channel is not transactional"),
      open("c", { on: "a" }),
      refused(transaction("c", "rollback"), 406, "PRECONDITION_FAILED - channel is not transactional"),
    ],
  },
];

const replies: Scenario[] = [
  {
    guarantee: "A reply goes straight to the channel that asked, without a queue",
    steps: [
      open("asker"),
      open("server", { confirms: true }),
      declareQueue("server", "requests"),
      consume("server", "requests", "work", { noAck: true }),
      consume("asker", ADDRESS, "replies", { noAck: true }),
      publish("asker", "2+2", { to: "requests", properties: { "reply-to": ADDRESS, "correlation-id": "1" } }),
      see(deliveries("server", 1), ["2+2"]),
      publish("server", "4", { answering: "2+2", properties: { "correlation-id": "1" }, mandatory: true }),
      seeDifferent(confirms("server"), {
        rabbitmq: ["return 312 NO_ROUTE: 4", "ack"],
        quayside: ["ack"],
        why: "a reply that was delivered has a route, as in RabbitMQ 4",
      }),
      see(deliveries("asker", 1), ["4"]),
      closeConnection("asker"),
      publish("server", "late", { answering: "2+2" }),
      see(confirms("server"), ["ack"]),
      see(declareQueue("server", "requests", { passive: true }), { queue: "requests", messages: 0, consumers: 1 }),
    ],
  },
  {
    guarantee: "Direct replies need a consumer without acks, one on each channel: 406",
    steps: [
      open("a"),
      refused(consume("a", ADDRESS, "t"), 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge"),
      open("b", { on: "a" }),
      consume("b", ADDRESS, "t", { noAck: true }),
      refused(consume("b", ADDRESS, "u", { noAck: true }), 406, "PRECONDITION_FAILED - reply consumer already set"),
      open("c", { on: "a" }),
      publish("c", "x", { to: "nowhere", properties: { "reply-to": ADDRESS } }),
      refused(ends("c"), 406, "PRECONDITION_FAILED - fast reply consumer does not exist"),
    ],
  },
];

export const TRANSACTION_SCENARIOS: readonly Scenario[] = [...transactions, ...replies];
