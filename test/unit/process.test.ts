// The broker as a process: start, banner, refusals, signals, exit codes.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { get } from "node:http";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import amqplib from "amqplib";
import { SETTINGS, variableOf } from "../../src/settings.ts";
import { FREE_PORTS, quayside, start, type Started, testFolder } from "./process-fixtures.ts";

const folder = testFolder("process");

function startIn(data: string, ...args: string[]): Promise<Started> {
  return quayside(["start", "--data", join(folder, data), ...FREE_PORTS, ...args]);
}

function portsOf(banner: string): number[] {
  return [...banner.matchAll(/:(\d+)(?=[\s/])/g)].map((match) => Number(match[1]));
}

async function listenOn(port: number): Promise<Server> {
  const server = createServer();
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

/** Fails unless every port can be listened on at once. */
async function assertFree(ports: readonly number[]): Promise<void> {
  for (const server of await Promise.all(ports.map(listenOn))) server.close();
}

test("the banner names every address, each one answers, and SIGTERM ends with code 0 and free ports", async () => {
  const { child, banner, exit } = await startIn("banner");
  assert.match(banner, /amqp:\/\/127\.0\.0\.1:\d+/);
  assert.match(banner, /ready in \d+ ms\n$/);
  const ports = portsOf(banner);
  assert.equal(ports.length, 3);
  const health = /http\s+(http:\S+)/.exec(banner)?.[1];
  const [response] = (await once(get(`${health}/v1/health`), "response")) as [{ statusCode: number; resume(): void }];
  response.resume();
  assert.equal(response.statusCode, 200);
  child.kill("SIGTERM");
  assert.equal(await exit, 0);
  await assertFree(ports);
});

test("SIGTERM and SIGINT sent to npm reach the broker: code 0 and free ports", async () => {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    const data = join(folder, `npm-${signal}`);
    const { child, banner, exit } = await start("npm", ["start", "--", "--data", data, ...FREE_PORTS]);
    const ports = portsOf(banner);
    assert.equal(ports.length, 3, banner);
    child.kill(signal);
    assert.equal(await exit, 0);
    await assertFree(ports);
  }
});

test("a data folder in use is refused with the owner's pid, and is free again after kill -9", async () => {
  const first = await startIn("shared");
  const second = await startIn("shared");
  assert.equal(await second.exit, 1);
  assert.match(second.stderr(), new RegExp(`in use by the process with pid ${first.child.pid};`));
  first.child.kill("SIGKILL");
  await first.exit;
  const third = await startIn("shared");
  assert.match(third.banner, /ready in/);
  third.child.kill("SIGTERM");
  assert.equal(await third.exit, 0);
});

test("a taken port is refused in one sentence with its number, and the broker moves nowhere else", async () => {
  const taken = await listenOn(0);
  const { port } = taken.address() as { port: number };
  const { exit, stderr, banner } = await startIn("taken", "--amqp-port", String(port), "--log-level", "error");
  assert.equal(await exit, 1);
  assert.equal(banner, "");
  assert.match(stderr(), new RegExp(`^quayside: amqp: port ${port} .* taken .*--amqp-port\\n$`));
  taken.close();
});

test("settings that cannot be used end with code 64 and one sentence", async () => {
  const config = join(folder, "broken.json");
  writeFileSync(config, '{"amqp-prt": 1}');
  const unreadable = await quayside(["start", "--config", join(folder, "gone.json")]);
  assert.equal(await unreadable.exit, 64);
  assert.match(unreadable.stderr(), /^quayside: cannot read the config file .*gone\.json.*\n$/);
  const unknown = await quayside(["start", "--config", config]);
  assert.equal(await unknown.exit, 64);
  assert.match(unknown.stderr(), /did you mean amqp-port\?\n$/);
});

test("a data folder that cannot be used ends with code 74 and one sentence", async () => {
  writeFileSync(join(folder, "file"), "");
  const { exit, stderr } = await startIn("file");
  assert.equal(await exit, 74);
  assert.match(stderr(), /^quayside: cannot use the data folder .*\n$/);
});

test("--version, --help and start --help answer with code 0; the help lists every setting", async () => {
  const run = async (...args: string[]): Promise<string> => {
    const { banner, exit } = await quayside(args);
    assert.equal(await exit, 0);
    return banner;
  };
  assert.match(await run("--version"), /^\d+\.\d+\.\d+\n$/);
  assert.match(await run("--help"), /start/);
  const help = await run("start", "--help");
  for (const { name } of SETTINGS) assert(help.includes(`--${name} `) || help.includes(variableOf(name)), name);
  const unknown = await quayside(["strat"]);
  assert.equal(await unknown.exit, 64);
});

test("with --log-format json every line on stdout and stderr is a JSON object", async () => {
  const { child, banner, stderr, exit } = await startIn("json", "--log-format", "json");
  child.kill("SIGTERM");
  assert.equal(await exit, 0);
  const lines = `${banner}${stderr()}`.trim().split("\n");
  for (const line of lines) assert.equal(typeof (JSON.parse(line) as { message: unknown }).message, "string");
});

const prlimitMissing = spawnSync("prlimit", ["--version"]).status !== 0;

test("a write that fails ends the process with code 74 before anything more is confirmed", {
  skip: prlimitMissing && "skipped: needs prlimit (apt-get install util-linux)",
}, async () => {
  const { child, banner, stderr, exit } = await startIn("failing");
  const connection = await amqplib.connect(`amqp://127.0.0.1:${portsOf(banner)[0]}`);
  connection.on("error", () => {});
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue("q");
  const confirmed: boolean[] = [];
  const publish = (size: number): Promise<void> =>
    new Promise((resolve) => {
      channel.sendToQueue("q", Buffer.alloc(size), { persistent: true }, (error) => {
        confirmed.push(error === null);
        resolve();
      });
    });
  await publish(100);
  // From now on the system fails every write beyond 8 KiB of a file.
  assert.equal(spawnSync("prlimit", ["--pid", String(child.pid), "--fsize=8192"]).status, 0);
  await publish(20_000);
  assert.deepEqual(confirmed, [true, false]);
  assert.equal(await exit, 74);
  assert.match(stderr(), /check the disk of the data folder/);
});
