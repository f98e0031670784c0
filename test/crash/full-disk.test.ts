// The broker on a disk that fills up: publishers are blocked and told, consumers drain it, and the
// space is used again. The disk is a file system of the test's own.

import assert from "node:assert/strict";
import { once } from "node:events";
import { test, type TestContext } from "node:test";
import amqplib, { type ChannelModel, type ConfirmChannel } from "amqplib";
import { CrashBroker } from "./crash-broker.ts";
import { SmallDisk } from "./small-disk.ts";

const MIB = 1024 * 1024;
/** Twice the free space at which publishers are blocked, and room for some segments. */
const DISK_MIB = 1152;
/** What the publisher sends unless the test needs a slower one. */
const BODY_BYTES = 64 * 1024;
const SMALL_BODY_BYTES = 16 * 1024;
/** Publishes that may wait for their confirm. */
const WINDOW = 128;
const PREFETCH = 500;
const QUEUE = "full-disk";
/** The broker may hold this much more than when it started. */
const MEMORY_BOUND_BYTES = 250 * MIB;
/** What is in use besides messages when the log is used again: one segment that is not full yet. */
const REUSE_SLACK_BYTES = 64 * MIB;
const DEADLINE_MS = 30_000;

/** Messages carry their number; what was confirmed and what was seen is kept here. */
class Ledger {
  next = 0;
  readonly confirmed = new Set<number>();
  readonly seen = new Set<number>();

  get missing(): number[] {
    return [...this.confirmed].filter((number) => !this.seen.has(number));
  }
}

class Publisher {
  readonly #connection: ChannelModel;
  readonly #channel: ConfirmChannel;
  readonly #ledger: Ledger;
  readonly #bodyBytes: number;
  readonly blocked: Promise<unknown>;
  readonly unblocked: Promise<unknown>;
  isBlocked = false;
  #unconfirmed = 0;
  #wake: () => void = () => undefined;

  private constructor(
    connection: ChannelModel,
    channel: ConfirmChannel,
    { ledger, bodyBytes }: { readonly ledger: Ledger; readonly bodyBytes: number },
  ) {
    this.#connection = connection;
    this.#channel = channel;
    this.#ledger = ledger;
    this.#bodyBytes = bodyBytes;
    this.blocked = once(connection, "blocked").then(() => {
      this.isBlocked = true;
      this.#wake();
    });
    this.unblocked = once(connection, "unblocked");
    // A killed broker ends these; what that means is judged by what is there afterwards.
    for (const promise of [this.blocked, this.unblocked]) promise.catch(() => undefined);
    connection.on("error", () => undefined);
    channel.on("error", () => undefined);
  }

  static async open(port: number, ledger: Ledger, bodyBytes = BODY_BYTES): Promise<Publisher> {
    const connection = await amqplib.connect(`amqp://127.0.0.1:${port}`);
    const channel = await connection.createConfirmChannel();
    await channel.assertQueue(QUEUE, { durable: true });
    return new Publisher(connection, channel, { ledger, bodyBytes });
  }

  get unconfirmed(): number {
    return this.#unconfirmed;
  }

  /** Sends one message without waiting for its confirm. */
  send(): void {
    const number = this.#ledger.next++;
    const body = Buffer.alloc(this.#bodyBytes, number);
    body.writeUInt32BE(number);
    this.#unconfirmed++;
    this.#channel.sendToQueue(QUEUE, body, { persistent: true }, (error: unknown) => {
      if (error !== null && error !== undefined) return;
      this.#ledger.confirmed.add(number);
      this.#unconfirmed--;
      this.#wake();
    });
  }

  /** Publishes until so many messages are sent or the broker says that it is blocked. */
  async publish(count: number): Promise<void> {
    for (let sent = 0; sent < count && !this.isBlocked; sent++) {
      this.send();
      while (this.#unconfirmed >= WINDOW && !this.isBlocked) await this.#changed();
    }
  }

  async allConfirmed(): Promise<void> {
    while (this.#unconfirmed > 0) await this.#changed();
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  async close(): Promise<void> {
    await this.#connection.close().catch(() => undefined);
  }
}

/** Consumes and acks `count` messages, or all there are when it is undefined. */
async function drain(port: number, ledger: Ledger, count?: number): Promise<void> {
  const connection = await amqplib.connect(`amqp://127.0.0.1:${port}`);
  const channel = await connection.createChannel();
  const { messageCount } = await channel.checkQueue(QUEUE);
  const wanted = count ?? messageCount;
  await channel.prefetch(PREFETCH);
  let taken = 0;
  await new Promise<void>((resolve, reject) => {
    connection.once("error", reject);
    if (wanted === 0) resolve();
    void channel.consume(QUEUE, (message) => {
      if (message === null || taken === wanted) return;
      ledger.seen.add(message.content.readUInt32BE(0));
      channel.ack(message);
      if (++taken === wanted) resolve();
    });
  });
  await channel.close();
  await connection.close();
}

/** What needs no room for messages goes on while publishers are blocked. */
async function declareAndDelete(port: number): Promise<void> {
  const connection = await amqplib.connect(`amqp://127.0.0.1:${port}`);
  const channel = await connection.createChannel();
  await channel.assertQueue("short-lived", { durable: true });
  await channel.bindQueue("short-lived", "amq.topic", "#");
  await channel.deleteQueue("short-lived");
  await channel.close();
  await connection.close();
}

async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${DEADLINE_MS} ms`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

interface World {
  readonly broker: CrashBroker;
  readonly disk: SmallDisk;
  readonly report: (what: string) => void;
}

/** Runs `body` with a broker on a small disk; skips, or fails, for want of a disk. */
async function onSmallDisk(context: TestContext, body: (world: World) => Promise<void>): Promise<void> {
  const disk = SmallDisk.mount(DISK_MIB);
  if (!(disk instanceof SmallDisk)) {
    assert.ok(disk.unprivileged || process.env["QUAYSIDE_TEST_ALL"] !== "1", disk.reason);
    context.skip(`skipped: ${disk.reason}`);
    return;
  }
  const broker = await CrashBroker.create({ dataDir: disk.dataDir });
  const startedMs = performance.now();
  const report = (what: string): void => {
    const megabytes = (bytes: number): string => `${Math.round(bytes / MIB)} MiB`;
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
    const memory = broker.ended === undefined ? megabytes(broker.memoryBytes("VmHWM")) : "-";
    const space = `${megabytes(disk.dataBytes)} of data, ${megabytes(disk.freeBytes)} free`;
    context.diagnostic(`${seconds} s: ${what}; ${space}, memory at most ${memory}`);
  };
  try {
    await body({ broker, disk, report });
  } catch (error) {
    throw new Error(`${String(error)}; the broker wrote: ${broker.output}`, { cause: error });
  } finally {
    await broker.kill();
    disk.unmount();
  }
}

test("a full disk blocks publishers and tells them, is drained through crashes, and is used again", async (context) => {
  await onSmallDisk(context, fillDrainReuse);
});

test("what consumers drain makes room, and publishers go on by themselves", async (context) => {
  await onSmallDisk(context, async ({ broker, disk, report }) => {
    // Blocked so early that neither a snapshot nor the cleaner would be due.
    disk.fill(800);
    const ledger = new Ledger();
    await broker.start();
    const publisher = await Publisher.open(broker.port, ledger, SMALL_BODY_BYTES);
    await within("filling the disk", publisher.publish(Infinity));
    report(`blocked with ${ledger.confirmed.size} messages confirmed`);
    await within("draining", drain(broker.port, ledger));
    await within("connection.unblocked", publisher.unblocked);
    await within("confirms", publisher.allConfirmed());
    report("unblocked");
    await within("draining what waited", drain(broker.port, ledger));
    assert.deepEqual(ledger.missing, []);
    await publisher.close();
    await broker.stop();
  });
});

async function fillDrainReuse({ broker, disk, report }: World): Promise<void> {
  const ledger = new Ledger();
  await broker.start();
  const memoryAtStart = broker.memoryBytes("VmRSS");
  report("started");

  const first = await Publisher.open(broker.port, ledger);
  await within("filling the disk", first.publish(Infinity));
  const peakBytes = disk.dataBytes;
  report(`blocked with ${ledger.confirmed.size} messages confirmed, ${first.unconfirmed} not`);
  assert.ok(ledger.confirmed.size > 1000, "messages were confirmed before the disk was full");
  disk.fill();
  assert.equal(disk.freeBytes, 0);
  report("filled to the last byte by somebody else");
  assert.ok(broker.memoryBytes("VmHWM") - memoryAtStart < MEMORY_BOUND_BYTES, "memory is bounded");

  await broker.kill();
  await first.close();
  await broker.start();
  report("killed and started on the full disk");
  const second = await Publisher.open(broker.port, ledger);
  second.send();
  await within("connection.blocked", second.blocked);
  await within("declaring and deleting", declareAndDelete(broker.port));
  const half = Math.floor(ledger.confirmed.size / 2);
  await within("draining half", drain(broker.port, ledger, half));
  report("half is drained");
  assert.equal(second.unconfirmed, 1, "a blocked publisher gets no confirm");

  await broker.kill();
  await second.close();
  await broker.start();
  report("killed and started while it was drained");
  await within("draining the rest", drain(broker.port, ledger));
  assert.deepEqual(ledger.missing, [], "every confirmed message was delivered");
  report("all is drained");

  const third = await Publisher.open(broker.port, ledger);
  third.send();
  disk.removeForeign();
  await within("the confirm after the disk has room again", third.allConfirmed());
  report("the publisher goes on");
  if (third.isBlocked) await within("connection.unblocked", third.unblocked);
  const fourth = await Publisher.open(broker.port, ledger);
  await within("publishing again", fourth.publish(half));
  await within("confirms", fourth.allConfirmed());
  report("published again");
  assert.ok(disk.dataBytes <= peakBytes + REUSE_SLACK_BYTES, "freed segments are used again");
  await within("draining again", drain(broker.port, ledger));
  assert.deepEqual(ledger.missing, []);
  await third.close();
  await fourth.close();
  assert.ok(broker.memoryBytes("VmHWM") - memoryAtStart < MEMORY_BOUND_BYTES, "memory is bounded");
  await broker.stop();
}
