// Garbage of three kinds against the decoders and against whole connections. `FUZZ=N` multiplies the
// number of inputs; `FUZZ_SEED=S` repeats a run.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test, type TestContext } from "node:test";
import { DecodeError } from "../../src/model/errors.ts";
import { checkTable, decodeTable, encodeTable, type FieldTable, type FieldValue } from "../../src/model/field-table.ts";
import { checkProperties, decodeProperties, encodeProperties } from "../../src/model/properties.ts";
import { decodeMethod, encodeMethod } from "../../src/protocols/amqp091/methods.ts";
import { METHODS, type MethodFields, type MethodName } from "../../src/protocols/amqp091/spec.ts";
import { type Client, frame, headerFrame, methodFrame, NO_ARGUMENTS, publishFrames, World } from "./amqp091-world.ts";

const FACTOR = Number(process.env["FUZZ"] ?? 1);
const SEED = Number(process.env["FUZZ_SEED"] ?? randomInt(2 ** 31));

/** A small generator of our own (mulberry32), so that a seed gives the same inputs everywhere. */
class Dice {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  below(limit: number): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }

  bytes(size: number): Buffer {
    const bytes = Buffer.allocUnsafe(size);
    for (let i = 0; i < size; i++) bytes[i] = this.below(256);
    return bytes;
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** A copy with a few bytes changed, cut out, doubled or appended. */
  mutate(source: Buffer): Buffer {
    let bytes = Buffer.from(source);
    for (let rounds = 1 + this.below(4); rounds > 0 && bytes.length > 0; rounds--) {
      const at = this.below(bytes.length);
      switch (this.below(5)) {
        case 0:
          bytes[at] = this.pick([0, 1, 127, 128, 206, 255]);
          break;
        case 1:
          bytes[at] = bytes[at]! ^ (1 << this.below(8));
          break;
        case 2:
          bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + this.below(5))]);
          break;
        case 3:
          bytes = Buffer.concat([bytes.subarray(0, at), this.bytes(this.below(4)), bytes.subarray(at)]);
          break;
        default:
          bytes = Buffer.concat([bytes, bytes.subarray(at, at + this.below(64))]);
      }
    }
    return bytes;
  }
}

/** Runs `work` for each of `count` dice; a failure names the seed that repeats it. */
function rounds(context: TestContext, count: number, work: (dice: Dice) => void): void {
  context.diagnostic(`FUZZ_SEED=${SEED} FUZZ=${FACTOR}`);
  for (let i = 0; i < count * FACTOR; i++) {
    try {
      work(new Dice(SEED + i));
    } catch (error) {
      const reason = error instanceof Error ? error.stack : String(error);
      throw new Error(`repeat with FUZZ_SEED=${SEED + i}: ${reason}`, { cause: error });
    }
  }
}

const HEADERS: FieldTable = new Map<string, FieldValue>([
  ["text", "value"],
  ["number", 7],
  ["long", 7n],
  ["list", [1, "two", null, [true]]],
  ["inner", new Map([["deep", new Map()]])],
  ["at", { kind: "timestamp", seconds: 1n }],
  ["bytes", Buffer.from("raw")],
  ["money", { kind: "decimal", scale: 2, value: 5 }],
]);
const TABLE = encodeTable(HEADERS);
const BLOCK = encodeProperties({
  contentType: "text/plain",
  headers: HEADERS,
  deliveryMode: 2,
  priority: 1,
  correlationId: "c",
  timestamp: 5n,
  clusterId: "x",
});

/** The result, or undefined when it was refused as malformed. Anything else that is thrown is a bug. */
function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}

test("field tables: garbage and damaged tables are read or refused, and the checker agrees with the reader", (context) => {
  rounds(context, 120_000, (dice) => {
    const bytes = dice.below(4) === 0 ? dice.bytes(dice.below(60)) : dice.mutate(TABLE);
    const table = attempt(() => decodeTable(bytes, 0, bytes.length));
    const end = attempt(() => checkTable(bytes, 0, bytes.length));
    assert.equal(table === undefined, end === undefined);
  });
});

test("properties: garbage and damaged blocks are read or refused, and the checker agrees with the reader", (context) => {
  rounds(context, 80_000, (dice) => {
    const bytes = dice.below(4) === 0 ? dice.bytes(dice.below(40)) : dice.mutate(BLOCK);
    const mode = attempt(() => checkProperties(bytes, 0, bytes.length));
    const properties = attempt(() => decodeProperties(bytes, 0, bytes.length));
    assert.equal(mode === undefined, properties === undefined);
    if (properties !== undefined) assert.equal(properties.deliveryMode ?? 0, mode);
  });
});

const SAMPLES = new Map<string, unknown>([
  ["octet", 1],
  ["short", 2],
  ["long", 3],
  ["longlong", 4],
  ["shortstr", "q"],
  ["longstr", Buffer.from("long")],
  ["table", HEADERS],
  ["bit", true],
]);
const PAYLOADS = (Object.keys(METHODS) as MethodName[]).map((name) => {
  const texts = METHODS[name].filter((part) => typeof part === "string").map((text) => text.split(":"));
  const fields = Object.fromEntries(texts.map(([field = "", type = ""]) => [field, SAMPLES.get(type)]));
  return encodeMethod(name, fields as unknown as MethodFields<typeof name>);
});

test("methods: garbage and damaged payloads are read or refused", (context) => {
  rounds(context, 100_000, (dice) => {
    const bytes = dice.below(8) === 0 ? dice.bytes(dice.below(40)) : dice.mutate(dice.pick(PAYLOADS));
    attempt(() => decodeMethod(bytes, 0, bytes.length));
  });
});

const CONSUME = {
  ticket: 0,
  queue: "q",
  consumerTag: "",
  noLocal: false,
  noAck: false,
  exclusive: false,
  nowait: false,
  arguments: NO_ARGUMENTS,
};
const EXCHANGE_BIND = {
  ticket: 0,
  destination: "amq.fanout",
  source: "amq.direct",
  routingKey: "k",
  nowait: false,
  arguments: NO_ARGUMENTS,
};
const COPIES: FieldTable = new Map<string, FieldValue>([
  ["CC", ["q", "nowhere"]],
  ["BCC", ["q"]],
  ["x-delay", 5],
  ["x-death", [new Map([["count", 7n]])]],
]);
/** One frame of every method; most of them are errors in the mouth of a client. */
const EVERY_METHOD: readonly Buffer[] = PAYLOADS.map((payload) => frame(1, 1, payload));
/** What a lively client says. */
const LIVELY: readonly Buffer[] = [
  publishFrames("q", "body", { properties: { deliveryMode: 2, headers: HEADERS } }),
  publishFrames("q", "body"),
  publishFrames("q", Buffer.alloc(9000, "b"), { frameMax: 4096 }),
  publishFrames("nowhere", "body", { mandatory: true }),
  headerFrame(1, 5, {}),
  frame(3, 1, Buffer.from("body")),
  frame(8, 0, Buffer.alloc(0)),
  methodFrame(1, "basic.consume", CONSUME),
  methodFrame(1, "basic.get", { ticket: 0, queue: "q", noAck: false }),
  methodFrame(1, "basic.ack", { deliveryTag: 0, multiple: true }),
  methodFrame(1, "basic.ack", { deliveryTag: 1, multiple: false }),
  methodFrame(1, "basic.nack", { deliveryTag: 2, multiple: false, requeue: true }),
  methodFrame(1, "confirm.select", { nowait: true }),
  methodFrame(2, "channel.open", { outOfBand: "" }),
  methodFrame(1, "channel.close-ok", {}),
  methodFrame(1, "channel.open", { outOfBand: "" }),
  methodFrame(1, "tx.select", {}),
  methodFrame(1, "tx.commit", {}),
  methodFrame(1, "tx.rollback", {}),
  methodFrame(1, "exchange.bind", EXCHANGE_BIND),
  methodFrame(1, "exchange.unbind", EXCHANGE_BIND),
  methodFrame(1, "basic.consume", { ...CONSUME, queue: "amq.rabbitmq.reply-to", noAck: true }),
  methodFrame(1, "basic.consume", { ...CONSUME, arguments: new Map([["x-priority", 3]]) }),
  methodFrame(1, "basic.recover", { requeue: true }),
  publishFrames("q", "ask", { properties: { replyTo: "amq.rabbitmq.reply-to", priority: 9, expiration: "1000" } }),
  publishFrames("amq.rabbitmq.reply-to.nobody", "answer", { mandatory: true }),
  publishFrames("q", "copied", { properties: { headers: COPIES } }),
  publishFrames("full", "rejected", { properties: { deliveryMode: 2 } }),
];

interface DoorInside {
  readonly replies: { readonly count: number };
  readonly transactions: { readonly usedBytes: number };
}

function sendInChunks(client: Client, bytes: Buffer, dice: Dice): void {
  for (let at = 0; at < bytes.length; ) {
    const size = 1 + dice.below(dice.below(3) === 0 ? 8 : 3000);
    client.raw(bytes.subarray(at, at + size));
    at += size;
  }
}

test("connections: damaged streams never crash the door, never reach 541, and never hurt another connection", async (context) => {
  const world = await World.open();
  const witness = world.open({ frameMax: 4096 });
  let number = 0;
  rounds(context, 6_000, (dice) => {
    if (number++ % 500 === 0) {
      world.broker.queues.clear();
      world.broker.add("q");
      world.broker.add("full").isFull = true;
    }
    const stranger = dice.below(10) === 0;
    const client = stranger ? world.connect() : world.open({ frameMax: 4096 });
    const parts = Array.from({ length: 1 + dice.below(20) }, () => {
      const part = dice.pick(dice.below(12) === 0 ? EVERY_METHOD : LIVELY);
      return dice.below(8) === 0 ? dice.mutate(part) : part;
    });
    if (dice.below(20) === 0) parts.push(dice.bytes(200));
    sendInChunks(client, Buffer.concat(parts), dice);
    client.settle();
    world.broker.commit();
    // A stranger may be answered with the bare protocol header; everybody else gets whole frames.
    if (stranger) client.settle();
    else client.received();
    client.socket.peerClosed();
    client.settle();
    assert.equal(world.door.internalErrors, 0, world.warnings.join("; "));
    assert.equal(world.door.connectionCount, 1, "a closed socket leaves nothing behind");
    const { replies, transactions } = world.door as unknown as DoorInside;
    assert.equal(replies.count, 0, "no reply address outlives its channel");
    assert.equal(transactions.usedBytes, 0, "no transaction outlives its channel");
    for (const queue of world.broker.queues.values()) {
      assert.equal(queue.consumers.length, 0, "no consumer outlives its connection");
      assert.equal(queue.inFlight.size, 0, "what was in flight went back");
    }
  });
  witness.send(1, "basic.qos", { prefetchSize: 0, prefetchCount: 1, global: false });
  witness.expect("basic.qos-ok");
});
