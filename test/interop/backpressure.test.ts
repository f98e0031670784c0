// Clients that send without waiting, or do not read: they are slowed, and the broker's memory is
// bounded whatever waits for them.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";
import amqplib, { type Channel, type ChannelModel } from "amqplib";
import { CrashBroker } from "../crash/crash-broker.ts";
import { emptyTable, frame, method, METHOD, RawClient, shortString, u16, u32, u8 } from "./raw-client.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
/** Floods may make the broker hold this much more than when it started. */
const FLOOD_MEMORY_BYTES = 200 * MIB;
/** So may largest messages and thousands of channels, on top of the floods before them. */
const MANY_MEMORY_BYTES = 350 * MIB;
const FLOOD_BYTES = 384 * MIB;
const BODY_BYTES = 8 * KIB;
/** Publishes per write of a flood. */
const FLOOD_BATCH = 64;
const BASIC_CLASS = 60;
const BASIC_CONSUME = 0x003c0014;
const DELIVERY_MODE = 0x1000;
const LARGEST_BODY_BYTES = 16 * MIB;
const SLOW_CONSUMER_PREFETCH = 10;
const IS_LINUX = process.platform === "linux";

const dataDir = mkdtempSync(join(tmpdir(), "quayside-backpressure-"));
let broker: CrashBroker;
let memoryAtStart = 0;
let connection: ChannelModel;
let channel: Channel;

before(async () => {
  broker = await CrashBroker.create({ dataDir });
  await broker.start();
  if (IS_LINUX) memoryAtStart = broker.memoryBytes("VmRSS");
  connection = await amqplib.connect(`amqp://127.0.0.1:${broker.port}`);
  channel = await connection.createChannel();
});
after(async () => {
  await connection.close();
  await broker.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

/** The most that the broker ever held beyond its start; 0 where the system does not say. */
function grownBytes(): number {
  return IS_LINUX ? broker.memoryBytes("VmHWM") - memoryAtStart : 0;
}

function assertBounded(context: TestContext, boundBytes = FLOOD_MEMORY_BYTES): void {
  const grown = grownBytes();
  context.diagnostic(`memory grew by at most ${Math.round(grown / MIB)} MiB so far`);
  assert.ok(grown < boundBytes, `memory grew by ${Math.round(grown / MIB)} MiB`);
}

/** One publish to `queue` on channel 1, as frames. */
function publishFrames(queue: string, mode: "persistent" | "transient"): Buffer {
  const size = Buffer.concat([u32(0), u32(BODY_BYTES)]);
  const header = [u16(BASIC_CLASS), u16(0), size, u16(DELIVERY_MODE), u8(mode === "persistent" ? 2 : 1)];
  return Buffer.concat([
    method(1, METHOD.basicPublish, u16(0), shortString(""), shortString(queue), u8(0)),
    frame(2, 1, Buffer.concat(header)),
    frame(3, 1, Buffer.alloc(BODY_BYTES, 120)),
  ]);
}

/** A socket with an open channel 1, of which nobody reads what the broker sends from now on. */
async function openDeaf(): Promise<Socket> {
  const socket = connect(broker.port, "127.0.0.1");
  socket.setNoDelay(true);
  socket.on("error", () => undefined);
  await once(socket, "connect");
  await RawClient.over(socket, async (client) => {
    await client.handshake();
    await client.openChannel();
  });
  socket.removeAllListeners("data");
  socket.pause();
  return socket;
}

/** Sends publishes as fast as the socket takes them. Resolves with how often it had to wait. */
async function flood(socket: Socket, queue: string, mode: "persistent" | "transient"): Promise<number> {
  const one = publishFrames(queue, mode);
  const batch = Buffer.concat(Array.from({ length: FLOOD_BATCH }, () => one));
  let waits = 0;
  for (let sent = 0; sent < FLOOD_BYTES; sent += FLOOD_BATCH * BODY_BYTES) {
    if (socket.write(batch)) continue;
    waits++;
    await once(socket, "drain");
  }
  return waits;
}

/** Waits until the queue holds at least so many messages. */
async function untilQueued(queue: string, count: number): Promise<void> {
  while ((await channel.checkQueue(queue)).messageCount < count);
}

for (const mode of ["persistent", "transient"] as const) {
  test(`a flood of ${mode} messages that nobody consumes is slowed, and memory stays bounded`, async (context) => {
    const queue = `flood-${mode}`;
    await channel.assertQueue(queue, { durable: true });
    const socket = await openDeaf();
    const waits = await flood(socket, queue, mode);
    assert.ok(waits > 0, "the socket never made the publisher wait");
    await untilQueued(queue, FLOOD_BYTES / BODY_BYTES);
    assertBounded(context);
    socket.destroy();
  });

  test(`a slow consumer of a flood of ${mode} messages gets them, and memory stays bounded`, async (context) => {
    const queue = `slow-${mode}`;
    await channel.assertQueue(queue, { durable: true });
    const consumer = await connection.createChannel();
    await consumer.prefetch(SLOW_CONSUMER_PREFETCH);
    let taken = 0;
    let isOpen = true;
    await consumer.consume(queue, (message) => {
      if (message === null) return;
      taken++;
      setTimeout(() => isOpen && consumer.ack(message), 1);
    });
    const socket = await openDeaf();
    await flood(socket, queue, mode);
    isOpen = false;
    await consumer.close();
    assert.ok(taken > 0, "the slow consumer got messages during the flood");
    assertBounded(context);
    socket.destroy();
  });
}

test("a consumer that does not read its socket costs no memory, and others go on", async (context) => {
  const queue = "flood-persistent";
  const waiting = FLOOD_BYTES / BODY_BYTES;
  const socket = await openDeaf();
  const noAck = u8(2);
  socket.write(method(1, BASIC_CONSUME, u16(0), shortString(queue), shortString("deaf"), noAck, emptyTable));
  while ((await channel.checkQueue(queue)).consumerCount === 0);
  // Others are served while the deaf one has what its socket takes.
  const reader = await connection.createChannel();
  await reader.prefetch(100);
  await new Promise<void>((resolve) => {
    let taken = 0;
    void reader.consume(queue, (message) => {
      if (message === null) return;
      reader.ack(message);
      if (++taken === waiting / 2) resolve();
    });
  });
  await reader.close();
  const { messageCount } = await channel.checkQueue(queue);
  assert.ok(messageCount > waiting / 4, `most messages still wait, ${messageCount} of ${waiting}`);
  assertBounded(context);
  socket.destroy();
});

test("100,000 unacked messages are held and acked at once", async (context) => {
  const queue = "unacked";
  const count = 100_000;
  await channel.assertQueue(queue, { durable: true });
  const publisher = await connection.createConfirmChannel();
  for (let sent = 0; sent < count; sent++) publisher.sendToQueue(queue, Buffer.from("small"), { persistent: true });
  await publisher.waitForConfirms();
  const consumer = await connection.createChannel();
  const last = await new Promise<amqplib.ConsumeMessage>((resolve) => {
    let taken = 0;
    void consumer.consume(queue, (message) => {
      if (message !== null && ++taken === count) resolve(message);
    });
  });
  consumer.ack(last, true);
  await consumer.close();
  assert.equal((await channel.checkQueue(queue)).messageCount, 0);
  assertBounded(context);
});

test("a message of 16 MiB passes, and one byte more is refused with 406", async () => {
  const queue = "large";
  await channel.assertQueue(queue, { durable: true });
  const publisher = await connection.createConfirmChannel();
  publisher.sendToQueue(queue, Buffer.alloc(LARGEST_BODY_BYTES, 7), { persistent: true });
  await publisher.waitForConfirms();
  const message = await channel.get(queue, { noAck: true });
  assert.ok(message !== false && message.content.equals(Buffer.alloc(LARGEST_BODY_BYTES, 7)));
  const closed = once(publisher, "error");
  publisher.sendToQueue(queue, Buffer.alloc(LARGEST_BODY_BYTES + 1, 7));
  const [error] = await closed;
  assert.equal((error as { readonly code?: number }).code, 406);
});

test("2,000 channels on one connection and 500 connections are served at the same time", async (context) => {
  const queue = "many";
  await channel.assertQueue(queue, { durable: true });
  const wide = await amqplib.connect(`amqp://127.0.0.1:${broker.port}`);
  const channels = await Promise.all(Array.from({ length: 2000 }, () => wide.createChannel()));
  const connections = await Promise.all(
    Array.from({ length: 500 }, () => amqplib.connect(`amqp://127.0.0.1:${broker.port}`)),
  );
  for (const one of channels) one.sendToQueue(queue, Buffer.from("from a channel"));
  for (const one of connections) (await one.createChannel()).sendToQueue(queue, Buffer.from("from a connection"));
  await untilQueued(queue, 2500);
  await Promise.all(connections.map((one) => one.close()));
  await wide.close();
  assertBounded(context, MANY_MEMORY_BYTES);
});
