// What a broker refuses, with which code, at which level, and in which words.

import {
  ack,
  bind,
  closeConnection,
  confirms,
  connectionEnds,
  consume,
  declareExchange,
  declareQueue,
  deleteExchange,
  deleteQueue,
  deliveries,
  ends,
  expelled,
  get,
  nack,
  open,
  publish,
  purge,
  qos,
  quiet,
  recover,
  refused,
  see,
  seeDifferent,
} from "../scenario.ts";
import type { Scenario } from "../scenario.ts";

const noQueue = (queue: string): string => `NOT_FOUND - no queue '${queue}' in vhost '/'`;
const noExchange = (exchange: string): string => `NOT_FOUND - no exchange '${exchange}' in vhost '/'`;

function unequal(
  kind: "queue" | "exchange",
  name: string,
  words: { argument: string; received: string; current: string },
): string {
  const { argument, received, current } = words;
  return (
    `PRECONDITION_FAILED - inequivalent arg '${argument}' for ${kind} '${name}' in vhost '/': ` +
    `received ${received} but current is ${current}`
  );
}

const missing: Scenario[] = [
  {
    guarantee: "What does not exist is refused with 404 on the channel, and the connection lives on",
    steps: [
      open("a"),
      refused(declareQueue("a", "none", { passive: true }), 404, noQueue("none")),
      open("b", { on: "a" }),
      refused(consume("b", "none", "tag"), 404, noQueue("none")),
      open("c", { on: "a" }),
      refused(get("c", "none"), 404, noQueue("none")),
      open("d", { on: "a" }),
      refused(declareExchange("d", "none", "direct", { passive: true }), 404, noExchange("none")),
      open("e", { on: "a" }),
      refused(purge("e", "none"), 404, noQueue("none")),
      open("f", { on: "a" }),
      declareQueue("f", "here"),
      refused(bind("f", "here", "none", { key: "k" }), 404, noExchange("none")),
      open("g", { on: "a" }),
      refused(bind("g", "none", "amq.direct", { key: "k" }), 404, noQueue("none")),
      open("h", { on: "a" }),
      see(declareQueue("h", "here"), { queue: "here", messages: 0, consumers: 0 }),
    ],
  },
  {
    guarantee: "Publishing to a missing exchange ends the channel with 404",
    steps: [
      open("a"),
      open("b", { on: "a" }),
      publish("a", "x", { exchange: "none", key: "k" }),
      refused(ends("a"), 404, noExchange("none")),
      see(declareQueue("b", "alive"), { queue: "alive", messages: 0, consumers: 0 }),
    ],
  },
  {
    guarantee: "A channel number can be used again after an error",
    steps: [
      open("main"),
      declareQueue("main", "reused"),
      ...Array.from({ length: 5 }, () => [
        open("again", { on: "main" }),
        refused(declareQueue("again", "none", { passive: true }), 404, noQueue("none")),
      ]).flat(),
      open("again", { on: "main" }),
      publish("again", "x", { to: "reused" }),
      see(get("again", "reused", { noAck: true }), { message: "x", left: 0 }),
    ],
  },
  {
    guarantee: "An error on one channel returns its unacked messages and leaves the others alone",
    steps: [
      open("a"),
      open("b", { on: "a" }),
      declareQueue("a", "work"),
      publish("a", "x", { to: "work" }),
      see(get("a", "work"), { message: "x", left: 0 }),
      refused(declareQueue("a", "none", { passive: true }), 404, noQueue("none")),
      see(get("b", "work"), { message: "x (again)", left: 0 }),
    ],
  },
];

const inequivalent: Scenario[] = [
  {
    guarantee: "Redeclaring a queue with other settings is refused with 406, naming the setting",
    steps: [
      open("a"),
      declareQueue("a", "fixed", { durable: true, arguments: { "x-queue-type": "classic" } }),
      refused(
        declareQueue("a", "fixed", { durable: false, arguments: { "x-queue-type": "classic" } }),
        406,
        unequal("queue", "fixed", { argument: "durable", received: "'false'", current: "'true'" }),
      ),
      open("b", { on: "a" }),
      refused(
        declareQueue("b", "fixed", { durable: true, autoDelete: true }),
        406,
        unequal("queue", "fixed", { argument: "auto_delete", received: "'true'", current: "'false'" }),
      ),
    ],
  },
  {
    guarantee: "Redeclaring an exchange with another type or settings is refused with 406, naming the setting",
    steps: [
      open("a"),
      declareExchange("a", "fixed", "direct", { durable: true }),
      refused(
        declareExchange("a", "fixed", "fanout", { durable: true }),
        406,
        unequal("exchange", "fixed", { argument: "type", received: "'fanout'", current: "'direct'" }),
      ),
      open("b", { on: "a" }),
      refused(
        declareExchange("b", "fixed", "direct", { durable: false }),
        406,
        unequal("exchange", "fixed", { argument: "durable", received: "'false'", current: "'true'" }),
      ),
      open("c", { on: "a" }),
      refused(
        declareExchange("c", "fixed", "direct", { durable: true, autoDelete: true }),
        406,
        unequal("exchange", "fixed", { argument: "auto_delete", received: "'true'", current: "'false'" }),
      ),
      open("d", { on: "a" }),
      refused(
        declareExchange("d", "fixed", "direct", { durable: true, internal: true }),
        406,
        unequal("exchange", "fixed", { argument: "internal", received: "'true'", current: "'false'" }),
      ),
    ],
  },
  {
    guarantee: "An exchange type that the broker does not know is refused",
    steps: [
      open("a"),
      seeDifferent(declareExchange("a", "odd", "zzz"), {
        rabbitmq: { closed: "connection", code: 503, text: "COMMAND_INVALID - unknown exchange type 'zzz'" },
        quayside: { closed: "channel", code: 406, text: "PRECONDITION_FAILED - unknown exchange type 'zzz'" },
        why: "RabbitMQ 4 answers 406 on the channel; 3.10 still ended the connection",
      }),
    ],
  },
];

const access: Scenario[] = [
  {
    guarantee: "Names that begin with amq. are reserved",
    steps: [
      open("a"),
      refused(
        declareQueue("a", "amq.mine"),
        403,
        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
      ),
      open("b", { on: "a" }),
      refused(
        declareExchange("b", "amq.mine", "direct"),
        403,
        "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
      ),
      open("c", { on: "a" }),
      refused(
        deleteExchange("c", "amq.topic"),
        403,
        "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed",
      ),
    ],
  },
  {
    guarantee: "The default exchange cannot be bound, deleted or declared",
    steps: [
      open("a"),
      declareQueue("a", "q1"),
      refused(
        bind("a", "q1", "", { key: "k" }),
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
      ),
      open("b", { on: "a" }),
      refused(deleteExchange("b", ""), 403, "ACCESS_REFUSED - operation not permitted on the default exchange"),
      open("c", { on: "a" }),
      refused(
        declareExchange("c", "", "direct"),
        403,
        "ACCESS_REFUSED - operation not permitted on the default exchange",
      ),
    ],
  },
  {
    guarantee: "Publishing to an internal exchange is refused with 403",
    steps: [
      open("a"),
      declareExchange("a", "inner", "fanout", { internal: true }),
      publish("a", "x", { exchange: "inner" }),
      refused(ends("a"), 403, "ACCESS_REFUSED - cannot publish to internal exchange 'inner' in vhost '/'"),
    ],
  },
  {
    guarantee: "An exclusive consumer excludes others, in either order",
    steps: [
      open("a"),
      open("b"),
      open("b2", { on: "b" }),
      declareQueue("a", "only"),
      declareQueue("a", "shared"),
      consume("a", "only", "first", { exclusive: true }),
      refused(consume("b", "only", "second"), 403, "ACCESS_REFUSED - queue 'only' in vhost '/' in exclusive use"),
      consume("a", "shared", "third"),
      refused(
        consume("b2", "shared", "fourth", { exclusive: true }),
        403,
        "ACCESS_REFUSED - queue 'shared' in vhost '/' in exclusive use",
      ),
    ],
  },
  {
    guarantee: "A vhost that does not exist is refused with 530",
    steps: [expelled(open("a", { vhost: "nowhere" }), 530, "NOT_ALLOWED - vhost nowhere not found")],
    cannot: { amqplib: "does not tell why the broker refused connection.open" },
  },
  {
    guarantee: "A wrong password is refused with 403",
    steps: [
      expelled(
        open("a", { password: "wrong" }),
        403,
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
      ),
    ],
  },
];

const misuse: Scenario[] = [
  {
    guarantee: "Acking an unknown tag is refused with 406",
    steps: [open("a"), ack("a", 99), refused(ends("a"), 406, "PRECONDITION_FAILED - unknown delivery tag 99")],
  },
  {
    guarantee: "Acking a message twice is refused with 406",
    steps: [
      open("a"),
      declareQueue("a", "once"),
      publish("a", "x", { to: "once" }),
      see(get("a", "once"), { message: "x", left: 0 }),
      ack("a", "x"),
      see(quiet("a", "once"), { ready: 0, consumers: 0, came: [] }),
      ack("a", "x"),
      refused(ends("a"), 406, "PRECONDITION_FAILED - unknown delivery tag 1"),
    ],
  },
  {
    guarantee: "Nacking an unknown tag is refused with 406",
    steps: [open("a"), nack("a", 7), refused(ends("a"), 406, "PRECONDITION_FAILED - unknown delivery tag 7")],
  },
  {
    guarantee: "A message with an expiration that is no number is refused with 406",
    steps: [
      open("a"),
      declareQueue("a", "q1"),
      publish("a", "x", { to: "q1", properties: { expiration: "abc", timestamp: 1 } }),
      refused(ends("a"), 406, "PRECONDITION_FAILED - invalid expiration 'abc': no_integer"),
    ],
  },
  {
    guarantee: "A user-id that is not the connection's user is refused with 406",
    steps: [
      open("a"),
      declareQueue("a", "q1"),
      publish("a", "x", { to: "q1", properties: { "user-id": "somebody" } }),
      refused(
        ends("a"),
        406,
        "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'",
      ),
    ],
  },
  {
    guarantee: "recover without requeue is not implemented: 540 on the connection",
    steps: [open("a"), expelled(recover("a", false), 540, "NOT_IMPLEMENTED - requeue=false")],
  },
  {
    guarantee: "A bad queue argument is refused with 406, naming it",
    steps: [
      open("a"),
      refused(
        declareQueue("a", "bad", { arguments: { "x-queue-type": "bogus" } }),
        406,
        "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'bad' in vhost '/': " +
          "\"unsupported queue type 'bogus'\"",
      ),
    ],
  },
  {
    guarantee: "Using a consumer tag twice on a channel ends the connection with 530",
    steps: [
      open("a"),
      declareQueue("a", "q1"),
      consume("a", "q1", "same"),
      expelled(consume("a", "q1", "same"), 530, "NOT_ALLOWED - attempt to reuse consumer tag 'same'"),
      expelled(connectionEnds("a"), 530, "NOT_ALLOWED - attempt to reuse consumer tag 'same'"),
    ],
    cannot: { pika: "checks the tag itself and never sends it" },
  },
  {
    guarantee: "The same consumer tag on another channel is fine",
    steps: [
      open("a"),
      open("b", { on: "a" }),
      declareQueue("a", "q1"),
      consume("a", "q1", "same"),
      consume("b", "q1", "same"),
      see(quiet("a", "q1"), { ready: 0, consumers: 2, came: [] }),
    ],
  },
  {
    guarantee: "A connection that its client closes ends cleanly, and a new one goes on",
    steps: [
      open("a", { confirms: true }),
      declareQueue("a", "q1"),
      publish("a", "x", { to: "q1" }),
      see(confirms("a"), ["ack"]),
      closeConnection("a"),
      open("a"),
      qos("a", 10),
      consume("a", "q1", "tag"),
      see(deliveries("a", 1), ["x"]),
      see(deleteQueue("a", "q1"), { messages: 0 }),
    ],
  },
];

export const REFUSAL_SCENARIOS: readonly Scenario[] = [...missing, ...inequivalent, ...access, ...misuse];
