// An upgrade and rolling restarts: the data folder that an older version left is started under load, and the
// broker is stopped and started again while clients reconnect. Nothing is lost.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import amqplib, { type ChannelModel } from "amqplib";
import { quayside, type Started, testFolder } from "./process-fixtures.ts";

const folder = testFolder("upgrade");
const RESTARTS = 3;
const RETRY_MS = 20;

/** What the older version left: 18 messages in "work", 5 in "safe". */
function oldData(): string {
  const packed = new URL("../../../test/data/storage-format-1.json", import.meta.url);
  const data = join(folder, "data");
  for (const [name, bytes] of Object.entries(JSON.parse(readFileSync(packed, "utf8")) as Record<string, string>)) {
    mkdirSync(dirname(join(data, name)), { recursive: true });
    writeFileSync(join(data, name), gunzipSync(Buffer.from(bytes, "base64")));
  }
  return data;
}

/** Runs `work` on a connection, again on another one each time the broker goes away, until `isDone`. */
async function reconnecting(
  url: string,
  isDone: () => boolean,
  work: (connection: ChannelModel) => Promise<void>,
): Promise<void> {
  while (!isDone()) {
    let connection: ChannelModel | undefined;
    try {
      connection = await amqplib.connect(url);
      connection.on("error", () => undefined);
      await work(connection);
    } catch (error) {
      // The broker is away, which is what this is about.
      assert(error instanceof Error);
      await wait(RETRY_MS);
    }
    await connection?.close().catch(() => undefined);
  }
}

test("older data, restarts under load and clients that reconnect: every confirmed message arrives", async () => {
  const data = oldData();
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  const flags = ["--data", data, "--amqp-port", String(port), "--http-port", "off", "--metrics-port", "off"];
  const url = `amqp://127.0.0.1:${port}`;
  const start = async (): Promise<Started> => {
    const broker = await quayside(["start", ...flags]);
    assert.match(broker.banner, /ready in/, broker.stderr());
    return broker;
  };
  let broker = await start();
  const confirmed = new Set<string>();
  const received = new Set<string>();
  let [stopped, sent] = [false, 0];
  const publishing = reconnecting(
    url,
    () => stopped,
    async (connection) => {
      const channel = await connection.createConfirmChannel();
      channel.on("error", () => undefined);
      while (!stopped) {
        const body = `new ${sent++}`;
        await new Promise<void>((resolve, reject) => {
          channel.once("close", () => reject(new Error("closed")));
          channel.sendToQueue("work", Buffer.from(body), { persistent: true }, (error) => {
            if (error === null) resolve();
            else reject(error as Error);
          });
        });
        channel.removeAllListeners("close");
        confirmed.add(body);
      }
    },
  );
  const everything = (): boolean => stopped && [...confirmed].every((body) => received.has(body));
  const consuming = reconnecting(url, everything, async (connection) => {
    const channel = await connection.createChannel();
    channel.on("error", () => undefined);
    const closed = new Promise<void>((resolve) => channel.once("close", () => resolve()));
    await channel.prefetch(20);
    await channel.consume("work", (message) => {
      if (message === null) return;
      received.add(message.content.toString());
      channel.ack(message);
    });
    while (!everything() && (await Promise.race([closed.then(() => false), wait(RETRY_MS).then(() => true)])));
  });
  for (let restart = 0; restart < RESTARTS; restart++) {
    const before = confirmed.size;
    while (confirmed.size < before + 200) await wait(RETRY_MS);
    broker.child.kill("SIGTERM");
    assert.equal(await broker.exit, 0);
    broker = await start();
  }
  const before = confirmed.size;
  while (confirmed.size < before + 100) await wait(RETRY_MS);
  stopped = true;
  await publishing;
  await consuming;
  assert(confirmed.size > RESTARTS * 200);
  // What the older version had stored is there too.
  assert.equal([...received].filter((body) => body.startsWith("order ")).length, 18);
  broker.child.kill("SIGTERM");
  assert.equal(await broker.exit, 0);
});
