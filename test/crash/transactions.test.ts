// Transactions and kill -9: every transaction is there as a whole or not at all, on all its queues, and
// those that were answered are there.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import amqplib, { type Channel } from "amqplib";
import { CrashBroker } from "./crash-broker.ts";

const CYCLES = Number(process.env["CRASH_CYCLES"] ?? 4);
const LIFE_MS = 400;
const MESSAGES = 5;
/** Larger than what entries are usually cut at, so that only a transaction's own rule keeps it together. */
const BODY_BYTES = 20 * 1024;
const QUEUES = ["tx-a", "tx-b"];
const TX = { select: 0x5a000a, commit: 0x5a0014 } as const;

const dataDir = mkdtempSync(join(tmpdir(), "quayside-transactions-"));
let broker: CrashBroker;

before(async () => {
  broker = await CrashBroker.create({ dataDir });
  await broker.start();
});
after(async () => {
  await broker.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

async function call(channel: Channel, method: number): Promise<void> {
  const inside = channel as unknown as { rpc(method: number, fields: object, answer: number): Promise<unknown> };
  await inside.rpc(method, {}, method + 1);
}

/** Commits transactions until the broker is gone; each moves on the token as well. Returns what was answered. */
async function publishUntilKilled(first: number): Promise<{ readonly committed: number[]; readonly next: number }> {
  const committed: number[] = [];
  let batch = first;
  try {
    const connection = await amqplib.connect(`amqp://127.0.0.1:${broker.port}`);
    connection.on("error", () => undefined);
    const channel = await connection.createChannel();
    channel.on("error", () => undefined);
    await call(channel, TX.select);
    for (; ; batch++) {
      for (let i = 0; i < MESSAGES; i++) {
        const headers = { batch };
        for (const queue of QUEUES)
          channel.sendToQueue(queue, Buffer.alloc(BODY_BYTES, i), { persistent: true, headers });
      }
      const token = await channel.get("token");
      assert.ok(token !== false, "the token is in its queue between transactions");
      channel.ack(token);
      channel.sendToQueue("token", Buffer.alloc(0), { persistent: true });
      await call(channel, TX.commit);
      committed.push(batch);
    }
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    // The broker was killed under the call that waits now.
  }
  return { committed, next: batch + 1 };
}

/** Empties the queues; the number of messages of each batch, by queue. */
async function drain(): Promise<Map<number, number>[]> {
  const connection = await amqplib.connect(`amqp://127.0.0.1:${broker.port}`);
  const channel = await connection.createChannel();
  const found: Map<number, number>[] = [];
  for (const queue of QUEUES) {
    const batches = new Map<number, number>();
    for (;;) {
      const message = await channel.get(queue, { noAck: true });
      if (message === false) break;
      const { batch } = message.properties.headers as { batch: number };
      batches.set(batch, (batches.get(batch) ?? 0) + 1);
    }
    found.push(batches);
  }
  const { messageCount } = await channel.checkQueue("token");
  assert.equal(messageCount, 1, "an ack and a publish of one transaction are kept together");
  await connection.close();
  return found;
}

test("after kill -9 a transaction is there whole, on all its queues, or not at all", async (context) => {
  const setup = await amqplib.connect(`amqp://127.0.0.1:${broker.port}`);
  const channel = await setup.createConfirmChannel();
  for (const queue of [...QUEUES, "token"]) await channel.assertQueue(queue, { durable: true });
  channel.sendToQueue("token", Buffer.alloc(0), { persistent: true });
  await channel.waitForConfirms();
  await setup.close();

  let next = 1;
  let answered = 0;
  for (let cycle = 0; cycle < CYCLES; cycle++) {
    const publishing = publishUntilKilled(next);
    await wait(LIFE_MS + 37 * cycle);
    await broker.kill();
    const { committed, next: after } = await publishing;
    next = after;
    answered += committed.length;
    await broker.start();
    const [a = new Map<number, number>(), b = new Map<number, number>()] = await drain();
    for (const [batch, count] of [...a, ...b]) assert.equal(count, MESSAGES, `batch ${batch} is there in part`);
    assert.deepEqual(new Set(a.keys()), new Set(b.keys()), "both queues have the same batches");
    for (const batch of committed) assert.ok(a.has(batch), `batch ${batch} was answered and is gone`);
  }
  context.diagnostic(`${answered} transactions answered in ${CYCLES} lives`);
  assert.ok(answered > CYCLES, "transactions were committed");
});
