// Publisher confirms, returns, properties and bodies.

import {
  ack,
  bind,
  confirms,
  consume,
  declareExchange,
  declareQueue,
  deliveries,
  get,
  open,
  publish,
  quiet,
  see,
} from "../scenario.ts";
import type { Scenario } from "../scenario.ts";
import { bodyBytes, showBody } from "../runner.ts";

const LARGE = { bytes: 5 * 1024 * 1024 + 17 };
const shown = (body: { bytes: number }): string => showBody(bodyBytes(body));

const PROPERTIES = {
  "content-type": "application/x-test",
  "content-encoding": "identity",
  headers: { origin: "here" },
  "delivery-mode": 2,
  priority: 7,
  "correlation-id": "correlation 1",
  "reply-to": "answers",
  expiration: "600000",
  "message-id": "id 1",
  timestamp: 1_700_000_000,
  type: "kind",
  "user-id": "guest",
  "app-id": "interop",
};

const confirming: Scenario[] = [
  {
    guarantee: "Every publish on a confirm channel is confirmed, persistent or not, routed or not",
    steps: [
      open("p", { confirms: true }),
      declareQueue("p", "kept", { durable: true }),
      publish("p", "1", { to: "kept", properties: { "delivery-mode": 2 } }),
      see(confirms("p"), ["ack"]),
      publish("p", "2", { to: "kept", properties: { "delivery-mode": 1 } }),
      see(confirms("p"), ["ack"]),
      publish("p", "3", { to: "nowhere", properties: { "delivery-mode": 2 } }),
      see(confirms("p"), ["ack"]),
      see(declareQueue("p", "kept", { passive: true }), { queue: "kept", messages: 2, consumers: 0 }),
    ],
  },
  {
    guarantee: "A batch of publishes is confirmed completely, and every message is in the queue in order",
    steps: [
      open("p", { confirms: true }),
      declareQueue("p", "batch", { durable: true }),
      ...Array.from({ length: 100 }, (_, i) =>
        publish("p", `m${i}`, { to: "batch", properties: { "delivery-mode": 2 } }),
      ),
      see(confirms("p"), ["ack x100"]),
      consume("p", "batch", "tag", { noAck: true }),
      see(
        deliveries("p", 100),
        Array.from({ length: 100 }, (_, i) => `m${i}`),
      ),
    ],
  },
  {
    guarantee: "A mandatory message without a queue comes back before its confirm",
    steps: [
      open("p", { confirms: true }),
      declareExchange("p", "void", "direct"),
      declareQueue("p", "there"),
      bind("p", "there", "void", { key: "yes" }),
      publish("p", "lost", { exchange: "void", key: "no", mandatory: true }),
      see(confirms("p"), ["return 312 NO_ROUTE: lost", "ack"]),
      publish("p", "found", { exchange: "void", key: "yes", mandatory: true }),
      see(confirms("p"), ["ack"]),
      publish("p", "quietly lost", { exchange: "void", key: "no" }),
      see(confirms("p"), ["ack"]),
      publish("p", "no such queue", { to: "absent", mandatory: true }),
      see(confirms("p"), ["return 312 NO_ROUTE: no such queue", "ack"]),
    ],
  },
  {
    guarantee: "Confirms of two channels are counted apart",
    steps: [
      open("p", { confirms: true }),
      open("q", { on: "p", confirms: true }),
      declareQueue("p", "both", { durable: true }),
      publish("p", "1", { to: "both", properties: { "delivery-mode": 2 } }),
      publish("q", "2", { to: "both", properties: { "delivery-mode": 2 } }),
      publish("p", "3", { to: "both", properties: { "delivery-mode": 2 } }),
      see(confirms("p"), ["ack x2"]),
      see(confirms("q"), ["ack"]),
    ],
  },
  {
    guarantee: "A message to a consumer that waits is confirmed too",
    steps: [
      open("p", { confirms: true }),
      open("c"),
      declareQueue("p", "direct"),
      consume("c", "direct", "tag"),
      publish("p", "x", { to: "direct", properties: { "delivery-mode": 2 } }),
      see(confirms("p"), ["ack"]),
      see(deliveries("c", 1), ["x"]),
      ack("c", "x"),
      see(quiet("c", "direct"), { ready: 0, consumers: 1, came: [] }),
    ],
  },
];

const content: Scenario[] = [
  {
    guarantee: "All basic properties reach the consumer unchanged",
    steps: [
      open("p"),
      declareQueue("p", "answers"),
      declareQueue("p", "props"),
      publish("p", "x", { to: "props", properties: PROPERTIES }),
      see(get("p", "props", { full: true }), {
        message: { redelivered: false, exchange: "", key: "props", properties: PROPERTIES, body: "x" },
        left: 0,
      }),
    ],
  },
  {
    guarantee: "The fourteenth property, cluster-id, reaches the consumer unchanged too",
    steps: [
      open("p"),
      declareQueue("p", "props"),
      publish("p", "x", { to: "props", properties: { "cluster-id": "c 1", "delivery-mode": 1, timestamp: 9 } }),
      see(get("p", "props", { full: true }), {
        message: {
          redelivered: false,
          exchange: "",
          key: "props",
          properties: { "cluster-id": "c 1", "delivery-mode": 1, timestamp: 9 },
          body: "x",
        },
        left: 0,
      }),
    ],
    cannot: { amqplib: "does not send cluster-id", "amqp-client.js": "does not know cluster-id" },
  },
  {
    guarantee: "Header values of every plain type reach the consumer unchanged",
    steps: [
      open("p"),
      declareQueue("p", "heads"),
      publish("p", "x", {
        to: "heads",
        properties: {
          timestamp: 1,
          "delivery-mode": 1,
          headers: {
            text: "täxt ✓",
            nothing: null,
            yes: true,
            no: false,
            small: 7,
            negative: -7,
            byte: 200,
            short: -30_000,
            int: 2_000_000_000,
            list: [1, "two", false, [3, null], { deep: 4 }],
            table: { a: 1, b: { c: "d" } },
            emptyList: [],
            emptyTable: {},
            "": "empty name",
          },
        },
      }),
      see(get("p", "heads", { full: true }), {
        message: {
          redelivered: false,
          exchange: "",
          key: "heads",
          body: "x",
          properties: {
            headers: {
              text: "täxt ✓",
              nothing: null,
              yes: true,
              no: false,
              small: 7,
              negative: -7,
              byte: 200,
              short: -30_000,
              int: 2_000_000_000,
              list: [1, "two", false, [3, null], { deep: 4 }],
              table: { a: 1, b: { c: "d" } },
              emptyList: [],
              emptyTable: {},
              "": "empty name",
            },
            "delivery-mode": 1,
            timestamp: 1,
          },
        },
        left: 0,
      }),
    ],
  },
  {
    guarantee: "Timestamps, bytes and 64-bit numbers in headers reach the consumer unchanged",
    steps: [
      open("p"),
      declareQueue("p", "heads"),
      publish("p", "x", {
        to: "heads",
        properties: {
          headers: {
            when: { $: "timestamp", seconds: 1_700_000_000 },
            raw: { $: "bytes", hex: "00ff10" },
            long: 2 ** 52,
          },
        },
      }),
      see(get("p", "heads", { full: true }), {
        message: {
          redelivered: false,
          exchange: "",
          key: "heads",
          body: "x",
          properties: {
            headers: {
              when: { $: "timestamp", seconds: 1_700_000_000 },
              raw: { $: "bytes", hex: "00ff10" },
              long: 2 ** 52,
            },
          },
        },
        left: 0,
      }),
    ],
    cannot: { "rabbitmq-client": "cannot encode timestamps and bytes in a table" },
  },
  {
    guarantee: "Floating-point numbers in headers reach the consumer unchanged",
    steps: [
      open("p"),
      declareQueue("p", "heads"),
      publish("p", "x", {
        to: "heads",
        properties: { "delivery-mode": 1, timestamp: 1, headers: { half: { $: "double", value: -1.5 } } },
      }),
      see(get("p", "heads", { full: true }), {
        message: {
          redelivered: false,
          exchange: "",
          key: "heads",
          body: "x",
          properties: { headers: { half: { $: "double", value: -1.5 } }, "delivery-mode": 1, timestamp: 1 },
        },
        left: 0,
      }),
    ],
    cannot: { pika: "cannot encode floating-point headers" },
  },
  {
    guarantee: "A body of 5 MB that needs many frames arrives whole",
    steps: [
      open("p", { confirms: true }),
      open("c", { frameMaxBytes: 16_384 }),
      declareQueue("p", "large", { durable: true }),
      publish("p", LARGE, { to: "large", properties: { "delivery-mode": 2 } }),
      see(confirms("p"), ["ack"]),
      consume("c", "large", "tag"),
      see(deliveries("c", 1), [shown(LARGE)]),
    ],
  },
  {
    guarantee: "Bodies just below, at and above the size of one frame arrive whole",
    steps: [
      open("p", { frameMaxBytes: 8192 }),
      declareQueue("p", "edges"),
      ...[8183, 8184, 8185, 16_368, 16_369].map((bytes) => publish("p", { bytes }, { to: "edges" })),
      consume("p", "edges", "tag", { noAck: true }),
      see(
        deliveries("p", 5),
        [8183, 8184, 8185, 16_368, 16_369].map((bytes) => shown({ bytes })),
      ),
    ],
  },
  {
    guarantee: "An empty body is a message like any other",
    steps: [
      open("p"),
      declareQueue("p", "empty"),
      publish("p", "", { to: "empty" }),
      publish("p", "after", { to: "empty" }),
      see(get("p", "empty"), { message: "", left: 1 }),
      see(get("p", "empty"), { message: "after", left: 0 }),
      consume("p", "empty", "tag", { noAck: true }),
      publish("p", "", { to: "empty" }),
      see(deliveries("p", 1), [""]),
    ],
  },
];

export const PUBLISHING_SCENARIOS: readonly Scenario[] = [...confirming, ...content];
