// The broker inside another program.

import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { startBroker } from "../../src/index.ts";

const folder = mkdtempSync(join(tmpdir(), "quayside-embedding-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "uncaughtException", "unhandledRejection", "exit"] as const;

test("a memory broker is ready in under 100 ms and leaves no handler behind", async () => {
  const handlers = (): number[] => SIGNALS.map((signal) => process.listenerCount(signal));
  const before = handlers();
  let bestMs = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 5; attempt++) {
    const startedMs = performance.now();
    const broker = await startBroker({ memory: true });
    bestMs = Math.min(bestMs, performance.now() - startedMs);
    assert.deepEqual(handlers(), before);
    await broker.close();
  }
  assert(bestMs < 100, `${bestMs} ms`);
});

test("twenty brokers run in one process at once, each on a port of its own that accepts", async () => {
  const hosts = ["127.0.0.1"];
  const brokers = await Promise.all(
    Array.from({ length: 20 }, (_, index) => {
      return startBroker(index % 2 === 0 ? { memory: true, hosts } : { data: join(folder, `many-${index}`), hosts });
    }),
  );
  const ports = new Set(brokers.map(({ addresses }) => addresses[0]?.port));
  assert.equal(ports.size, 20);
  for (const port of ports) {
    const socket = connect(port!, "127.0.0.1");
    await once(socket, "connect");
    socket.destroy();
  }
  await Promise.all(brokers.map((broker) => broker.close()));
});

test("a start that fails leaves nothing behind: the data folder and the ports are free again", async () => {
  const data = join(folder, "failed");
  const first = await startBroker({ memory: true, hosts: ["127.0.0.1"] });
  const taken = first.addresses[0]!.port;
  const options = { data, hosts: ["127.0.0.1"], amqpPort: 0, httpPort: taken };
  await assert.rejects(startBroker(options), { name: "ListenError" });
  await first.close();
  const second = await startBroker(options);
  assert.equal(second.addresses.find(({ protocol }) => protocol === "http")?.port, taken);
  await second.close();
  await second.close();
});

test("two brokers in one process cannot share a data folder", async () => {
  const data = join(folder, "shared");
  const first = await startBroker({ data });
  await assert.rejects(startBroker({ data }), { name: "DataLockedError" });
  await first.close();
  await (await startBroker({ data })).close();
});

test("a broker without a folder, and TLS without a certificate, are refused with a sentence", async () => {
  await assert.rejects(startBroker({}), /needs \{ data: folder \} or \{ memory: true \}/);
  await assert.rejects(startBroker({ memory: true, amqpsPort: 0 }), /amqpsPort needs tls/);
});
