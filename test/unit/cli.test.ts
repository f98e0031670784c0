// The command line against the built broker: verbs, pipes, exit codes.

import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { VERBS } from "../../src/cli/verb-table.ts";
import { addressOf, FREE_PORTS, quayside, type Started, type StartOptions, testFolder } from "./process-fixtures.ts";

const folder = testFolder("cli");
const data = join(folder, "data");
let broker: Started;
let url = "";

before(async () => {
  broker = await quayside(["start", "--data", data, ...FREE_PORTS]);
  url = addressOf(broker.banner, "http");
});
after(async () => {
  broker.child.kill("SIGTERM");
  await broker.exit;
});

interface Ran {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(args: readonly string[], options: StartOptions = {}): Promise<Ran> {
  const ran = await quayside(args, { ...options, env: { QUAYSIDE_URL: url, ...options.env } });
  const code = await ran.exit;
  return { code, stdout: ran.stdout(), stderr: ran.stderr() };
}

async function ok(args: readonly string[], options?: StartOptions): Promise<string> {
  const { code, stdout, stderr } = await run(args, options);
  assert.equal(code, 0, `${args.join(" ")}: ${stderr}`);
  return stdout;
}

test("lines of stdin become messages and come out again as lines, in order", async () => {
  await ok(["queue", "declare", "lines"]);
  await ok(["publish", "lines"], { input: "one\ntwo\nthree\n" });
  const [row] = JSON.parse(await ok(["queue", "list", "-o", "json"])) as { name: string; messages_ready: number }[];
  assert.deepEqual([row?.name, row?.messages_ready], ["lines", 3]);
  assert.equal(await ok(["consume", "lines", "--count", "1"]), "one\n");
  const rest = await ok(["consume", "lines", "--jsonl"]);
  const again = await run(["publish", "--jsonl"], { input: rest });
  assert.equal(again.code, 0, again.stderr);
  assert.equal(await ok(["consume", "lines"]), "two\nthree\n");
  const unrouted = await run(["publish", "no-such-queue"], { input: "lost\n" });
  assert.equal(unrouted.code, 1);
  assert.match(unrouted.stderr, /published 1 messages, 1 of them reached no queue/);
});

test("topology is made, listed and taken away; --dry-run changes nothing", async () => {
  await ok(["exchange", "declare", "events", "topic"]);
  await ok(["queue", "declare", "jobs", "-a", "x-max-length=5"]);
  await ok(["binding", "add", "events", "jobs", "--key", "job.#"]);
  assert.match(await ok(["binding", "list"]), /events +queue +jobs +job\.#/);
  await ok(["publish", "job.1", "--exchange", "events"], { input: "a\nb\n" });
  assert.match(await ok(["queue", "purge", "jobs", "--dry-run"]), /would queue purge: jobs, with 2 messages/);
  assert.match(await ok(["queue", "list"]), /jobs +classic +true +2/);
  await ok(["queue", "purge", "jobs"]);
  await ok(["binding", "delete", "events", "jobs", "--key", "job.#"]);
  await ok(["queue", "delete", "jobs"]);
  await ok(["exchange", "delete", "events"]);
  const missing = await run(["queue", "delete", "jobs"]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /^quayside queue delete: .*jobs/);
});

test("users, permissions, vhosts and policies; a user that may not is refused with code 1", async () => {
  await ok(["vhost", "add", "other"]);
  const env = { QUAYSIDE_NEW_PASSWORD: "pw" };
  await ok(["user", "add", "bob", "--tags", "management"], { env });
  await ok(["permission", "set", "bob", "^b", ".*", ".*", "--vhost", "other"]);
  assert.match(await ok(["permission", "list", "--vhost", "other"]), /bob +\^b/);
  const as = { env: { QUAYSIDE_USER: "bob", QUAYSIDE_PASSWORD: "pw", QUAYSIDE_VHOST: "other" } };
  await ok(["queue", "declare", "bobs"], as);
  const refused = await run(["queue", "declare", "alices"], as);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /access/);
  await ok(["policy", "set", "long", "^b", "max-length=7", "--apply-to", "queues", "--vhost", "other"]);
  assert.match(await ok(["policy", "list", "--vhost", "other"]), /long +\^b +queues/);
  assert.match(await ok(["policy", "safe-defaults", "^work"]), /delivery-limit/);
  const wrong = await run(["status"], { env: { QUAYSIDE_USER: "bob", QUAYSIDE_PASSWORD: "no" } });
  assert.equal(wrong.code, 1);
  await ok(["vhost", "delete", "other"]);
});

test("what is exported can be imported into another broker", async () => {
  await ok(["queue", "declare", "kept", "-a", "x-max-length=9"]);
  const lines = await ok(["export"]);
  const other = await quayside(["start", "--data", join(folder, "other"), ...FREE_PORTS]);
  const env = { QUAYSIDE_URL: addressOf(other.banner, "http") };
  assert.match(await ok(["import", "--dry-run"], { input: lines, env }), /would import .* queues/);
  await ok(["import"], { input: lines, env });
  assert.match(await ok(["queue", "list"], { env }), /kept/);
  other.child.kill("SIGTERM");
  assert.equal(await other.exit, 0);
});

test("a backup by the running broker restores to the same messages; verify finds a flipped bit", async () => {
  await ok(["queue", "declare", "saved"]);
  await ok(["publish", "saved"], { input: Array.from({ length: 50 }, (_, i) => `message ${i}\n`).join("") });
  const [backup, restored] = [join(folder, "backup"), join(folder, "restored")];
  assert.match(await ok(["backup", backup]), /backed up \d+ files/);
  const twice = await run(["backup", backup]);
  assert.equal(twice.code, 1);
  assert.match(twice.stderr, /is not empty/);
  await ok(["restore", backup, "--data", restored]);
  assert.match(await ok(["verify", "--data", restored]), /ok {2}shard\/0 {2}\d+ entries/);
  const other = await quayside(["start", "--data", restored, ...FREE_PORTS]);
  const locked = await run(["verify", "--data", restored]);
  assert.equal(locked.code, 1);
  assert.match(locked.stderr, /in use by the process with pid/);
  const lines = await ok(["consume", "saved"], { env: { QUAYSIDE_URL: addressOf(other.banner, "http") } });
  assert.equal(lines.split("\n").length, 51);
  other.child.kill("SIGKILL");
  await other.exit;

  const [name = ""] = readdirSync(join(backup, "logs/shard/0")).filter((file) => file.endsWith(".seg"));
  const bytes = readFileSync(join(backup, "logs/shard/0", name));
  const at = bytes.indexOf("message 7");
  assert(at > 0);
  bytes[at]! ^= 1;
  writeFileSync(join(backup, "logs/shard/0", name), bytes);
  const damaged = await run(["verify", "--data", backup]);
  assert.equal(damaged.code, 74, damaged.stdout);
  assert.match(damaged.stdout, /DAMAGED {2}shard\/0/);
  assert.match(damaged.stdout, /is damaged at offset \d+: entry \d+/);
});

test("the first administrator is made without a running broker", async () => {
  const fresh = join(folder, "fresh");
  await ok(["user", "add", "ann", "--data", fresh], { env: { QUAYSIDE_NEW_PASSWORD: "s3cret" } });
  const other = await quayside(["start", "--data", fresh, ...FREE_PORTS], { env: { QUAYSIDE_HOST: "0.0.0.0" } });
  const port = new URL(addressOf(other.banner, "http")).port;
  const env = { QUAYSIDE_URL: `http://127.0.0.1:${port}`, QUAYSIDE_USER: "ann", QUAYSIDE_PASSWORD: "s3cret" };
  assert.match(await ok(["user", "list"], { env }), /ann +.*administrator/);
  other.child.kill("SIGTERM");
  assert.equal(await other.exit, 0);
});

test("a broker that cannot be reached is code 69, wrong use is code 64 and names what is near", async () => {
  const away = await run(["status"], { env: { QUAYSIDE_URL: "http://127.0.0.1:9" } });
  assert.equal(away.code, 69);
  assert.match(away.stderr, /^quayside status: cannot reach http:\/\/127\.0\.0\.1:9: .*is the broker running/);
  for (const args of [["queue"], ["queue", "dlete", "x"], ["queue", "delete"], ["queue", "list", "--vhots", "x"]]) {
    assert.equal((await run(args)).code, 64, args.join(" "));
  }
  assert.match((await run(["queue", "list", "--vhots", "x"])).stderr, /did you mean --vhost\?/);
  assert.match((await run(["publsh"])).stderr, /did you mean publish\?/);
});

test("every verb explains itself", async () => {
  const help = await ok(["--help"]);
  for (const { name } of VERBS) assert(help.includes(`  ${name} `), name);
  assert.match(await ok(["queue", "delete", "--help"]), /--dry-run/);
  assert.match(await ok(["queue", "--help"]), /queue purge/);
});
