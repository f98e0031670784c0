// Life of queues and exchanges: declare, redeclare, exclusive, auto-delete, delete, purge.

import {
  bind,
  cancel,
  closeConnection,
  consume,
  declareExchange,
  declareQueue,
  deleteExchange,
  deleteQueue,
  deliveries,
  get,
  open,
  publish,
  publishAll,
  purge,
  quiet,
  refused,
  see,
} from "../scenario.ts";
import type { Scenario } from "../scenario.ts";

const locked = (queue: string): string =>
  `RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '${queue}' in vhost '/'. ` +
  "It could be originally declared on another connection or the exclusive property value does not match " +
  "that of the original declaration.";
const noQueue = (queue: string): string => `NOT_FOUND - no queue '${queue}' in vhost '/'`;

const queues: Scenario[] = [
  {
    guarantee: "Declaring a queue again with the same settings is fine and counts what is in it",
    steps: [
      open("c"),
      see(declareQueue("c", "again", { durable: true }), { queue: "again", messages: 0, consumers: 0 }),
      publish("c", "x", { to: "again" }),
      see(declareQueue("c", "again", { durable: true }), { queue: "again", messages: 1, consumers: 0 }),
      see(declareQueue("c", "again", { passive: true }), { queue: "again", messages: 1, consumers: 0 }),
    ],
  },
  {
    guarantee: "A queue without a name gets one from the broker, and the empty name then means it",
    steps: [
      open("c"),
      see(declareQueue("c", "", { exclusive: true, as: "mine" }), { queue: "amq.gen-*", messages: 0, consumers: 0 }),
      bind("c", "", "amq.topic", { key: "interop-gen.#" }),
      publish("c", "x", { exchange: "amq.topic", key: "interop-gen.1" }),
      see(get("c", "$mine", { noAck: true }), { message: "x", left: 0 }),
      see(get("c", "", { noAck: true }), "empty"),
      see(purge("c", ""), { messages: 0 }),
      see(declareQueue("c", "$mine", { passive: true }), { queue: "amq.gen-*", messages: 0, consumers: 0 }),
      see(deleteQueue("c", ""), { messages: 0 }),
    ],
  },
  {
    guarantee: "An exclusive queue belongs to its connection, and goes with it",
    steps: [
      open("a"),
      open("b"),
      open("b2", { on: "b" }),
      open("b3", { on: "b" }),
      open("b4", { on: "b" }),
      declareQueue("a", "private", { exclusive: true }),
      see(declareQueue("a", "private", { exclusive: true }), { queue: "private", messages: 0, consumers: 0 }),
      refused(declareQueue("b", "private", { exclusive: true }), 405, locked("private")),
      refused(declareQueue("b2", "private", { passive: true }), 405, locked("private")),
      refused(consume("b3", "private", "tag"), 405, locked("private")),
      refused(deleteQueue("b4", "private"), 405, locked("private")),
      closeConnection("a"),
      open("b5", { on: "b" }),
      refused(declareQueue("b5", "private", { passive: true }), 404, noQueue("private")),
      open("b6", { on: "b" }),
      see(declareQueue("b6", "private", { durable: true }), { queue: "private", messages: 0, consumers: 0 }),
    ],
  },
  {
    guarantee: "Publishing to another connection's exclusive queue is allowed",
    steps: [
      open("a"),
      open("b", { confirms: true }),
      declareQueue("a", "inbox", { exclusive: true }),
      consume("a", "inbox", "tag"),
      publish("b", "letter", { to: "inbox" }),
      see(deliveries("a", 1), ["letter"]),
    ],
  },
  {
    guarantee: "An auto-delete queue goes with its last consumer, not before its first",
    steps: [
      open("c"),
      declareQueue("c", "fleeting", { autoDelete: true }),
      see(declareQueue("c", "fleeting", { passive: true }), { queue: "fleeting", messages: 0, consumers: 0 }),
      consume("c", "fleeting", "one"),
      consume("c", "fleeting", "two"),
      cancel("c", "one"),
      see(declareQueue("c", "fleeting", { passive: true }), { queue: "fleeting", messages: 0, consumers: 1 }),
      cancel("c", "two"),
      refused(declareQueue("c", "fleeting", { passive: true }), 404, noQueue("fleeting")),
    ],
  },
  {
    guarantee: "Deleting a queue counts what was in it, and deleting a missing one is fine",
    steps: [
      open("c"),
      declareQueue("c", "full"),
      ...publishAll("c", ["1", "2", "3"], { to: "full" }),
      see(deleteQueue("c", "full"), { messages: 3 }),
      see(deleteQueue("c", "full"), { messages: 0 }),
      refused(declareQueue("c", "full", { passive: true }), 404, noQueue("full")),
    ],
  },
  {
    guarantee: "delete if-unused and if-empty refuse a queue that is used or not empty",
    steps: [
      open("c"),
      open("d", { on: "c" }),
      open("e", { on: "c" }),
      declareQueue("c", "used"),
      publish("c", "x", { to: "used" }),
      see(quiet("c", "used"), { ready: 1, consumers: 0, came: [] }),
      refused(
        deleteQueue("d", "used", { ifEmpty: true }),
        406,
        "PRECONDITION_FAILED - queue 'used' in vhost '/' not empty",
      ),
      consume("c", "used", "tag", { noAck: true }),
      see(deliveries("c", 1), ["x"]),
      refused(
        deleteQueue("e", "used", { ifUnused: true }),
        406,
        "PRECONDITION_FAILED - queue 'used' in vhost '/' in use",
      ),
      cancel("c", "tag"),
      see(deleteQueue("c", "used", { ifUnused: true, ifEmpty: true }), { messages: 0 }),
    ],
  },
  {
    guarantee: "Purging removes ready messages, counts them, and leaves those that are out for an ack",
    steps: [
      open("c"),
      open("d"),
      declareQueue("c", "purged"),
      ...publishAll("c", ["1", "2", "3", "4"], { to: "purged" }),
      see(get("c", "purged"), { message: "1", left: 3 }),
      see(purge("c", "purged"), { messages: 3 }),
      see(purge("c", "purged"), { messages: 0 }),
      closeConnection("c"),
      see(get("d", "purged"), { message: "1 (again)", left: 0 }),
    ],
  },
];

const exchanges: Scenario[] = [
  {
    guarantee: "delete if-unused refuses an exchange with bindings",
    steps: [
      open("c"),
      open("d", { on: "c" }),
      declareExchange("c", "bound", "fanout"),
      declareQueue("c", "q1"),
      bind("c", "q1", "bound"),
      refused(
        deleteExchange("d", "bound", { ifUnused: true }),
        406,
        "PRECONDITION_FAILED - exchange 'bound' in vhost '/' in use",
      ),
      deleteQueue("c", "q1"),
      deleteExchange("c", "bound", { ifUnused: true }),
      refused(
        declareExchange("c", "bound", "fanout", { passive: true }),
        404,
        "NOT_FOUND - no exchange 'bound' in vhost '/'",
      ),
    ],
  },
  {
    guarantee: "Declaring an exchange again with the same settings is fine",
    steps: [
      open("c"),
      declareExchange("c", "twice", "topic", { durable: true }),
      declareExchange("c", "twice", "topic", { durable: true }),
      declareExchange("c", "twice", "topic", { passive: true }),
    ],
  },
];

export const TOPOLOGY_SCENARIOS: readonly Scenario[] = [...queues, ...exchanges];
