// amqps: each client library over TLS, with a certificate that is made for this run.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { freePort, startQuayside } from "./brokers.ts";
import type { Broker } from "./brokers.ts";
import { CLIENT_NAMES } from "./client.ts";
import type { Client, ClientName } from "./client.ts";
import { amqpClientJs } from "./clients/amqp-client-js.ts";
import { amqplibClient } from "./clients/amqplib.ts";
import { pikaClient } from "./clients/pika.ts";
import { rabbitmqClient } from "./clients/rabbitmq-client.ts";
import { complaints } from "./judge.ts";
import { PIKA, missing } from "./peers.ts";
import { Run } from "./runner.ts";
import { confirms, consume, declareQueue, deliveries, open, publish, see } from "./scenario.ts";

const HAS_OPENSSL = spawnSync("openssl", ["version"], { stdio: "ignore" }).status === 0;
const HOST = "127.0.0.1";

const STEPS = [
  open("p", { confirms: true }),
  declareQueue("p", "secret", { durable: true }),
  publish("p", "over TLS", { to: "secret", properties: { "delivery-mode": 2 } }),
  see(confirms("p"), ["ack"]),
  consume("p", "secret", "tag", { noAck: true }),
  see(deliveries("p", 1), ["over TLS"]),
];

function makeCertificate(folder: string): { key: string; certificate: string } {
  const [key, certificate] = [join(folder, "key.pem"), join(folder, "certificate.pem")];
  const made = spawnSync(
    "openssl",
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
      "-subj",
      "/CN=quayside interop",
      "-addext",
      `subjectAltName=IP:${HOST}`,
      "-keyout",
      key,
      "-out",
      certificate,
    ],
    { encoding: "utf8" },
  );
  assert.equal(made.status, 0, made.stderr);
  return { key, certificate };
}

describe("TLS", () => {
  let folder: string;
  let certificate: string;
  let port: number;
  let broker: Broker | undefined;

  before(async () => {
    if (!HAS_OPENSSL) return;
    folder = mkdtempSync(join(tmpdir(), "quayside-tls-"));
    const made = makeCertificate(folder);
    certificate = made.certificate;
    port = await freePort();
    broker = await startQuayside(["--amqps-port", String(port), "--tls-cert", certificate, "--tls-key", made.key]);
  });
  after(async () => {
    if (broker === undefined) return;
    await broker.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  for (const name of CLIENT_NAMES) {
    test(`${name} publishes with confirms and consumes over TLS`, async (t) => {
      if (!HAS_OPENSSL) return missing(t, "openssl");
      if (name === "pika" && PIKA === undefined) return missing(t, "python3-pika");
      const makers: Record<ClientName, () => Client> = {
        amqplib: amqplibClient,
        "rabbitmq-client": rabbitmqClient,
        "amqp-client.js": amqpClientJs,
        pika: () => pikaClient(PIKA ?? "python3"),
      };
      const client = makers[name]();
      const run = new Run(client, { host: HOST, port, certificateFile: certificate }, name, false);
      const found = complaints(STEPS, await run.steps(STEPS), { broker: "quayside" });
      await run.end();
      await client.end();
      assert.equal(found.length, 0, found.join("\n"));
    });
  }
});
