import assert from "node:assert/strict";
import { test } from "node:test";
import { DecodeError } from "../../src/model/errors.ts";
import type { FieldTable } from "../../src/model/field-table.ts";
import { decodeMethod, encodeMethod } from "../../src/protocols/amqp091/methods.ts";
import { METHODS, type Method, type MethodFields, type MethodName } from "../../src/protocols/amqp091/spec.ts";

// Fixtures: the object, and its bytes as amqplib 0.10 and pika 1.2 put them on the wire.
const FIXTURES: readonly { readonly from: string; readonly method: Method; readonly hex: string }[] = [
  {
    from: "amqplib channel.open",
    method: { name: "channel.open", outOfBand: "" },
    hex: "0014000a00",
  },
  {
    from: "amqplib assertQueue('q', {durable: true})",
    method: {
      name: "queue.declare",
      ticket: 0,
      queue: "q",
      passive: false,
      durable: true,
      exclusive: false,
      autoDelete: false,
      nowait: false,
      arguments: new Map(),
    },
    hex: "0032000a000001710200000000",
  },
  {
    from: "pika queue_declare('jobs', passive=True, arguments={'x-queue-type': 'quorum'})",
    method: {
      name: "queue.declare",
      ticket: 0,
      queue: "jobs",
      passive: true,
      durable: false,
      exclusive: false,
      autoDelete: false,
      nowait: false,
      arguments: new Map([["x-queue-type", "quorum"]]),
    },
    hex: "0032000a0000046a6f627301000000180c782d71756575652d74797065530000000671756f72756d",
  },
  {
    from: "amqplib exchangeDeclare topic, durable, internal",
    method: {
      name: "exchange.declare",
      ticket: 0,
      exchange: "logs",
      type: "topic",
      passive: false,
      durable: true,
      autoDelete: false,
      internal: true,
      nowait: false,
      arguments: new Map(),
    },
    hex: "0028000a0000046c6f677305746f7069630a00000000",
  },
  {
    from: "basic.publish mandatory",
    method: { name: "basic.publish", ticket: 0, exchange: "e", routingKey: "k", mandatory: true, immediate: false },
    hex: "003c002800000165016b01",
  },
  {
    from: "basic.deliver with a large tag",
    method: {
      name: "basic.deliver",
      consumerTag: "c",
      deliveryTag: 2 ** 40 + 5,
      redelivered: true,
      exchange: "",
      routingKey: "q",
    },
    hex: "003c003c016300000100000000050100" + "0171",
  },
  {
    from: "basic.nack multiple requeue",
    method: { name: "basic.nack", deliveryTag: 7, multiple: true, requeue: true },
    hex: "003c0078000000000000000703",
  },
  {
    from: "connection.tune-ok",
    method: { name: "connection.tune-ok", channelMax: 2047, frameMax: 131072, heartbeat: 60 },
    hex: "000a001f07ff00020000003c",
  },
  {
    from: "connection.close",
    method: { name: "connection.close", replyCode: 320, replyText: "bye", classId: 10, methodId: 40 },
    hex: "000a0032014003627965000a0028",
  },
];

for (const { from, method, hex } of FIXTURES) {
  const bytes = Buffer.from(hex, "hex");
  test(`${from}: parsed, generated, and refused when a byte is missing or added`, () => {
    assert.deepEqual(decodeMethod(bytes, 0, bytes.length), method);
    assert.deepEqual(encodeMethod(method.name, method as unknown as MethodFields<MethodName>).toString("hex"), hex);
    const embedded = Buffer.concat([Buffer.alloc(9, 0xff), bytes, Buffer.alloc(9, 0xff)]);
    assert.deepEqual(decodeMethod(embedded, 9, 9 + bytes.length), method);
    for (let end = 0; end < bytes.length; end++) assert.throws(() => decodeMethod(bytes, 0, end), DecodeError);
    assert.throws(() => decodeMethod(Buffer.concat([bytes, Buffer.of(0)]), 0, bytes.length + 1), DecodeError);
  });
}

test("every method of the table survives the mirror", () => {
  const samples = new Map<string, unknown>([
    ["octet", 200],
    ["short", 65535],
    ["long", 4294967295],
    ["longlong", 2 ** 52],
    ["shortstr", "naïve ✓"],
    ["longstr", Buffer.from("bytes\0")],
    ["table", new Map([["k", "v"]]) satisfies FieldTable],
  ]);
  for (const name of Object.keys(METHODS) as MethodName[]) {
    const texts = METHODS[name].filter((part) => typeof part === "string");
    for (const bit of [true, false]) {
      const fields = Object.fromEntries(
        texts.map((text, i) => {
          const [field = "", type = ""] = text.split(":");
          return [field, type === "bit" ? (i % 2 === 0) === bit : samples.get(type)];
        }),
      );
      const bytes = encodeMethod(name, fields as unknown as MethodFields<typeof name>);
      assert.deepEqual(decodeMethod(bytes, 0, bytes.length), { name, ...fields });
    }
  }
});

test("an unknown method is told apart from a malformed one", () => {
  assert.equal(decodeMethod(Buffer.of(0, 60, 1, 0), 0, 4), undefined);
  assert.throws(() => decodeMethod(Buffer.of(0, 60, 1), 0, 3), DecodeError);
});

test("a text that does not fit a short string is refused", () => {
  assert.throws(() => encodeMethod("basic.cancel-ok", { consumerTag: "x".repeat(256) }), DecodeError);
});
