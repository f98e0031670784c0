// Settings of the running process: config check and show, SIGHUP, credentials, and what the log never says.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { connect as connectPlain } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { test } from "node:test";
import amqplib from "amqplib";
import { addressOf, FREE_PORTS, quayside, start, testFolder } from "./process-fixtures.ts";

const folder = testFolder("settings");
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
const needsOpenssl = !hasOpenssl && "skipped: needs openssl (apt-get install openssl)";

function makeCertificate(name: string): { cert: string; key: string } {
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  const request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const made = spawnSync("openssl", [...request, "-subj", `/CN=${name}`, "-keyout", key, "-out", cert]);
  assert.equal(made.status, 0, String(made.stderr));
  return { cert, key };
}

/** The name in the certificate that a TLS port shows. */
function certificateName(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connectTls({ host: "127.0.0.1", port, rejectUnauthorized: false }, () => {
      resolve(String(socket.getPeerCertificate().subject.CN));
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

test("config check accepts what start accepts and refuses in one sentence with code 64", async () => {
  const file = join(folder, "broker.toml");
  writeFileSync(file, 'data = "/somewhere"\n[amqp]\nport = 1234\n');
  const good = await quayside(["config", "check", "--config", file]);
  assert.equal(await good.exit, 0);
  assert.match(good.stdout(), /^ok: data in \/somewhere, .* AMQP port 1234\n$/);
  writeFileSync(file, "[amqp]\nprot = 1234\n");
  const bad = await quayside(["config", "check", "--config", file]);
  assert.equal(await bad.exit, 64);
  assert.match(bad.stderr(), /^quayside config check: unknown key "amqp-prot" .*did you mean amqp-port\?\n$/);
  const missing = await quayside(["config", "check", "--tls-cert", join(folder, "gone.pem"), "--tls-key", "gone"]);
  assert.equal(await missing.exit, 64);
  assert.match(missing.stderr(), /cannot read .*gone\.pem/);
});

test("config show prints every setting with its source and no secret", async () => {
  const env = { QUAYSIDE_ADMIN_USER: "ann", QUAYSIDE_ADMIN_PASSWORD: "hunter2-secret" };
  const { stdout, exit } = await quayside(["config", "show", "-o", "json", "--amqp-port", "7"], { env });
  assert.equal(await exit, 0);
  assert(!stdout().includes("hunter2"));
  const rows = JSON.parse(stdout()) as { setting: string; value: string; from: string }[];
  const row = (name: string) => rows.find(({ setting }) => setting === name);
  assert.deepEqual(row("amqp-port"), { setting: "amqp-port", value: "7", from: "flag --amqp-port" });
  assert.equal(row("admin-password")?.value, "********");
  assert.equal(row("admin-password")?.from, "variable QUAYSIDE_ADMIN_PASSWORD");
  const table = await quayside(["config", "show"], { env });
  assert.equal(await table.exit, 0);
  assert.match(table.stdout(), /^setting +value +from\ndata +\.\/data +default\n/);
  assert(!table.stdout().includes("hunter2"));
});

test("SIGHUP takes certificates, log level and limits anew, and names what waits for a restart", {
  skip: needsOpenssl,
}, async () => {
  const first = makeCertificate("first");
  const [cert, key, file] = [join(folder, "cert.pem"), join(folder, "key.pem"), join(folder, "hup.toml")];
  const install = (from: { cert: string; key: string }): void => {
    assert.equal(spawnSync("cp", [from.cert, cert]).status, 0);
    assert.equal(spawnSync("cp", [from.key, key]).status, 0);
  };
  install(first);
  writeFileSync(file, 'max-message-size = "1KiB"\n');
  const tls = ["--amqps-port", "0", "--tls-cert", cert, "--tls-key", key];
  const broker = await quayside(["start", "--data", join(folder, "hup"), ...FREE_PORTS, ...tls, "--config", file]);
  const port = Number(new URL(addressOf(broker.banner, "amqps")).port);
  assert.equal(await certificateName(port), "first");
  const publish = async (size: number): Promise<string> => {
    const connection = await amqplib.connect(addressOf(broker.banner, "amqp"));
    const channel = await connection.createConfirmChannel();
    const closed = new Promise<string>((resolve) => channel.on("error", (error: Error) => resolve(error.message)));
    await channel.assertQueue("q");
    channel.sendToQueue("q", Buffer.alloc(size));
    const confirmed = channel.waitForConfirms().then(
      () => "confirmed",
      () => closed,
    );
    const outcome = await Promise.race([confirmed, closed]);
    await connection.close();
    return outcome;
  };
  assert.match(await publish(2000), /406.*message size 2000 is larger than configured max size 1024/);

  install(makeCertificate("second"));
  writeFileSync(file, 'max-message-size = "20MiB"\nport-offset = 5\nlog-level = "debug"\n');
  broker.child.kill("SIGHUP");
  await broker.says(/reloaded: .* changed="?max-message-size,log-level"?/);
  await broker.says(/need a restart settings=port-offset/);
  assert.equal(await certificateName(port), "second");
  assert.equal(await publish(17 * 2 ** 20), "confirmed");

  writeFileSync(file, "no toml");
  broker.child.kill("SIGHUP");
  await broker.says(/nothing was reloaded \(SIGHUP\) error=.*cannot read the config file/);
  writeFileSync(file, "");
  writeFileSync(cert, "no certificate");
  broker.child.kill("SIGHUP");
  await broker.says(/nothing was reloaded \(SIGHUP\) error=.*cannot be used/);
  assert.equal(await certificateName(port), "second");
  broker.child.kill("SIGTERM");
  assert.equal(await broker.exit, 0);
});

test("an address that others can reach is refused while guest is the only user, and taken with an administrator", async () => {
  const data = join(folder, "open");
  const args = ["start", "--data", data, ...FREE_PORTS];
  const refused = await quayside(args, { env: { QUAYSIDE_HOST: "0.0.0.0" } });
  assert.equal(await refused.exit, 64);
  assert.match(refused.stderr(), /^quayside: will not listen on 0\.0\.0\.0: .*QUAYSIDE_ADMIN_USER.*\n$/m);
  const env = { QUAYSIDE_HOST: "0.0.0.0", QUAYSIDE_ADMIN_USER: "ann", QUAYSIDE_ADMIN_PASSWORD: "a b:c" };
  const open = await quayside(args, { env });
  const { port } = new URL(addressOf(open.banner, "amqp"));
  const connection = await amqplib.connect(`amqp://ann:${encodeURIComponent("a b:c")}@127.0.0.1:${port}`);
  await connection.close();
  open.child.kill("SIGTERM");
  assert.equal(await open.exit, 0);
});

test("a broker that drains is not ready at once and serves its clients until the time is over", async () => {
  const broker = await quayside(["start", "--data", join(folder, "drain"), ...FREE_PORTS, "--drain-time", "2"]);
  const health = `${addressOf(broker.banner, "http")}/v1/health`;
  const connection = await amqplib.connect(addressOf(broker.banner, "amqp"));
  connection.on("error", () => undefined);
  assert.equal((await fetch(health)).status, 200);
  broker.child.kill("SIGTERM");
  await broker.says(/stopping/);
  assert.equal((await fetch(health)).status, 503);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue("late");
  channel.sendToQueue("late", Buffer.from("still served"), { persistent: true });
  await channel.waitForConfirms();
  assert.equal(await broker.exit, 0);
});

test("the log never tells a body, a header or a password, whatever the level", async () => {
  const env = { QUAYSIDE_ADMIN_USER: "ann", QUAYSIDE_ADMIN_PASSWORD: "admin-s3cret" };
  const args = ["start", "--data", join(folder, "quiet"), ...FREE_PORTS, "--log-level", "debug"];
  const broker = await quayside(args, { env });
  const url = new URL(addressOf(broker.banner, "amqp"));
  const connection = await amqplib.connect(`amqp://ann:admin-s3cret@${url.host}`);
  connection.on("error", () => undefined);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue("q");
  channel.sendToQueue("q", Buffer.from("body-s3cret"), { headers: { h: "header-s3cret" }, persistent: true });
  await channel.waitForConfirms();
  await assert.rejects(amqplib.connect(`amqp://ann:wrong-s3cret@${url.host}`));
  // Something that is no AMQP at all, and a frame that is none.
  for (const bytes of ["GET /garbage-s3cret HTTP/1.1\r\n\r\n", "AMQP\u0000\u0000\u0009\u0001garbage-s3cret-s3cret"]) {
    const socket = connectPlain(Number(url.port), "127.0.0.1");
    await new Promise((resolve) => socket.on("close", resolve).on("error", resolve).end(bytes).resume());
  }
  const base64 = Buffer.from("ann:http-s3cret").toString("base64");
  await fetch(`${addressOf(broker.banner, "http")}/v1/overview`, { headers: { authorization: `Basic ${base64}` } });
  broker.child.kill("SIGTERM");
  assert.equal(await broker.exit, 0);
  for (const secret of ["s3cret", base64, createHash("sha256").update("admin-s3cret").digest("hex")]) {
    assert(!broker.stderr().includes(secret), broker.stderr());
    assert(!broker.stdout().includes(secret), broker.stdout());
  }
});

const prlimitMissing = spawnSync("prlimit", ["--version"]).status !== 0;

test("a low limit of open files is told at the start, with what to do", {
  skip: prlimitMissing && "skipped: needs prlimit (apt-get install util-linux)",
}, async () => {
  const program = new URL("../../src/cli/quayside.js", import.meta.url).pathname;
  const args = [process.execPath, program, "start", "--data", join(folder, "files"), ...FREE_PORTS];
  const broker = await start("prlimit", ["--nofile=500:500", ...args]);
  assert.match(broker.stderr(), /may have 500 files open, .* raise the limit \(ulimit -n 65536, or LimitNOFILE=65536/);
  broker.child.kill("SIGTERM");
  assert.equal(await broker.exit, 0);
});
