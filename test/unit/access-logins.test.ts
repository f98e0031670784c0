// Logins: passwords, their hashes, what is remembered, and how guessing is slowed down.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { HashLine } from "../../src/broker/access/hash-line.ts";
import type { Login } from "../../src/broker/facade.ts";
import { LIMITS } from "../../src/limits.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { Hashing } from "../../src/ports/hashing.ts";
import { createNodeHashing } from "../../src/runtime/node-hashing.ts";
import { type Bench, openBench, testHashing, testRandom } from "./broker-fixtures.ts";
import { matchesSecret, secretFromJson, secretOf, secretToJson } from "../../src/broker/access/secrets.ts";

const ADMIN = { user: "guest", tags: ["administrator"] };

function login(user: string, password: string, settings: Partial<Login> = {}): Login {
  return { user, password, peerIsLoopback: true, peerHost: "192.0.2.1", ...settings };
}

/** Time that the test moves, and what waits for it. */
class TestClock implements Clock {
  now = 0;
  readonly waiting: { readonly delayMs: number; readonly run: () => void }[] = [];
  wallMs = () => 1_700_000_000_000;
  monotonicMs = () => this.now;
  after(delayMs: number, run: () => void) {
    this.waiting.push({ delayMs, run });
    return { cancel: () => undefined };
  }
}

/** Hashes when the test says so. */
class HeldHashing implements Hashing {
  readonly waiting: (() => void)[] = [];
  calls = 0;
  held = false;

  async pbkdf2(what: Parameters<Hashing["pbkdf2"]>[0]): Promise<Buffer> {
    this.calls++;
    if (this.held) await new Promise<void>((resolve) => this.waiting.push(resolve));
    return testHashing.pbkdf2(what);
  }
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

let addresses = 0;

/** From an address of its own, unless told otherwise: failures slow down an address. */
async function logsIn({ broker }: Bench, user: string, password: string, settings: Partial<Login> = {}) {
  const peerHost = `host-${addresses++}`;
  return (await broker.authenticate(login(user, password, { peerHost, ...settings }))) !== undefined;
}

function rabbitHash(algorithm: string, password: string): string {
  const salt = Buffer.from([1, 2, 3, 4]);
  return Buffer.concat([salt, createHash(algorithm).update(salt).update(password).digest()]).toString("base64");
}

test("a password is kept as SCRAM verifiers that a client of RFC 7677 would compute, and checked against them", async () => {
  const secret = await secretOf("pencil", createNodeHashing(), testRandom());
  assert(secret.kind === "scram");
  for (const [verifier, bytes] of [[secret.sha256, 32] as const, [secret.sha512, 64] as const]) {
    assert(verifier.iterations >= 4096, "RFC 7677 section 4");
    assert.equal(verifier.storedKey.length, bytes);
    assert.notDeepEqual(verifier.storedKey, verifier.serverKey);
  }
  assert(!JSON.stringify(secretToJson(secret)).includes("pencil"));
  const again = secretFromJson(JSON.parse(JSON.stringify(secretToJson(secret))));
  assert.deepEqual(again, secret);
  assert(await matchesSecret("pencil", again, createNodeHashing()));
  assert(!(await matchesSecret("pencils", again, createNodeHashing())));
});

test("the vector of RFC 7677 is accepted", async () => {
  const verifier = {
    salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
    iterations: 4096,
    storedKey: "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
    serverKey: "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
  };
  const sha512 = {
    ...verifier,
    storedKey: Buffer.alloc(64).toString("base64"),
    serverKey: Buffer.alloc(64).toString("base64"),
  };
  const secret = secretFromJson({ kind: "scram", sha256: verifier, sha512 });
  assert(await matchesSecret("pencil", secret, createNodeHashing()));
  assert(!(await matchesSecret("Pencil", secret, createNodeHashing())));
});

test("users log in with their password, and survive a restart", async () => {
  const bench = await openBench();
  await bench.broker.management.users.put(ADMIN, "ann", { password: "s3cret", tags: ["monitoring", "other"] });
  await bench.broker.management.users.put(ADMIN, "cert", { tags: [] });
  bench.turn.run();
  const after = await bench.crash();
  for (const each of [bench, after]) {
    const { broker } = each;
    assert.deepEqual(await broker.authenticate(login("ann", "s3cret")), { name: "ann", tags: ["monitoring", "other"] });
    assert(await logsIn(each, "ann", "s3cret", { peerIsLoopback: false }));
    for (const wrong of ["", "s3cre", "s3cret ", "S3CRET"]) assert(!(await logsIn(each, "ann", wrong)));
    for (const nobody of ["bob", "", "__proto__"]) assert(!(await logsIn(each, nobody, "s3cret")));
    assert(!(await logsIn(each, "cert", "")), "no password lets nobody in");
    assert.deepEqual(broker.logInByCertificate("cert", false), { name: "cert", tags: [] });
    assert.equal(broker.logInByCertificate("bob", true), undefined);
    assert.equal(broker.logInByCertificate("guest", false), undefined, "guest comes from this machine only");
  }
});

test("hashes from RabbitMQ work for PLAIN and are replaced at the first login", async () => {
  for (const algorithm of ["sha256", "sha512", "md5"]) {
    const bench = await openBench();
    const hashingAlgorithm = `rabbit_password_hashing_${algorithm}`;
    const passwordHash = rabbitHash(algorithm, "wabbit");
    await bench.broker.management.users.put(ADMIN, "old", { passwordHash, hashingAlgorithm });
    assert(!(await logsIn(bench, "old", "rabbit")));
    assert(await logsIn(bench, "old", "wabbit"));
    bench.turn.run();
    const text = await metaText(bench);
    assert.match(text.at(-1) ?? "", /"kind":"user-put","name":"old".*"kind":"scram"/);
    const after = await bench.crash();
    assert(await logsIn(after, "old", "wabbit"));
    assert(!(await logsIn(after, "old", "rabbit")));
  }
});

async function metaText({ store }: Bench): Promise<string[]> {
  const texts: string[] = [];
  for await (const batch of (await store.reader("meta")).read(1)) {
    texts.push(...batch.map(({ payload }) => payload.toString()).filter((text) => text !== ""));
  }
  return texts;
}

test("a hash that is none, or of an unknown kind, is refused", async () => {
  const { management } = (await openBench()).broker;
  for (const settings of [
    { passwordHash: "AAAA" },
    { passwordHash: rabbitHash("sha256", "x"), hashingAlgorithm: "rabbit_password_hashing_sha512" },
    { passwordHash: rabbitHash("sha256", "x"), hashingAlgorithm: "constructor" },
    { passwordHash: rabbitHash("sha256", "x"), password: "x" },
    { password: "x".repeat(1025) },
  ]) {
    await assert.rejects(management.users.put(ADMIN, "x", settings), {
      name: "BrokerError",
      code: "precondition-failed",
    });
  }
});

test("in a storm of reconnecting clients a password is hashed once, one hash at a time, then known for a minute", async () => {
  const clock = new TestClock();
  const hashing = new HeldHashing();
  const { broker } = await openBench({ broker: { clock, hashing } });
  for (const name of ["ann", "bob"]) await broker.management.users.put(ADMIN, name, { password: name });
  hashing.calls = 0;
  hashing.held = true;
  let accepted = 0;
  for (let i = 0; i < 1000; i++)
    broker.logIn(
      login(i % 2 === 0 ? "ann" : "bob", i % 2 === 0 ? "ann" : "bob"),
      (user) => void (accepted += user === undefined ? 0 : 1),
    );
  for (let round = 0; round < 2; round++) {
    await settled();
    assert.equal(hashing.waiting.length, 1, "one hash in flight");
    hashing.waiting.pop()?.();
  }
  await settled();
  assert.deepEqual([accepted, hashing.calls], [1000, 2]);
  broker.logIn(login("ann", "ann"), () => void accepted++);
  assert.equal(accepted, 1001, "a known answer comes at once");
  clock.now = 60_001;
  broker.logIn(login("ann", "ann"), () => undefined);
  await settled();
  assert.equal(hashing.calls, 3);
});

test("addresses take turns: one that asks very often does not keep the others out, and the line is bounded", async () => {
  const line = new HashLine();
  const order: string[] = [];
  const ask = (asker: string, n: number) =>
    line.run(asker, async () => {
      await settled();
      order.push(`${asker}${n}`);
    });
  const all = [0, 1, 2, 3, 4].map((n) => ask("flood", n));
  all.push(ask("ann", 0), ask("bob", 0), ask("ann", 1));
  await Promise.all(all);
  assert.deepEqual(order, ["flood0", "flood1", "ann0", "bob0", "flood2", "ann1", "flood3", "flood4"]);
  await assert.rejects(
    line.run("ann", () => Promise.reject(new Error("no hash"))),
    /no hash/,
  );
  const held = Array.from({ length: LIMITS.hashesWaitingMax + 1 }, () => line.run("flood", () => Promise.resolve()));
  await assert.rejects(
    line.run("ann", () => Promise.resolve()),
    { code: "resource-limit" },
  );
  await Promise.all(held);
  assert.equal(await line.run("ann", () => Promise.resolve(7)), 7);
});

test("a remembered login is forgotten when the password changes or the user goes", async () => {
  const bench = await openBench();
  const { users } = bench.broker.management;
  await users.put(ADMIN, "ann", { password: "one" });
  assert(await logsIn(bench, "ann", "one"));
  await users.put(ADMIN, "ann", { tags: ["management"] });
  assert(await logsIn(bench, "ann", "one"), "other changes keep the password");
  await users.put(ADMIN, "ann", { password: "two" });
  assert(!(await logsIn(bench, "ann", "one")));
  assert(await logsIn(bench, "ann", "two"));
  users.delete(ADMIN, "ann");
  assert(!(await logsIn(bench, "ann", "two")));
});

test("an address that keeps failing waits longer each time, others do not, and a success clears it", async () => {
  const clock = new TestClock();
  const bench = await openBench({ broker: { clock } });
  const attempt = async (password: string, peerHost = "192.0.2.1") => {
    const result = logsIn(bench, "guest", password, { peerHost });
    await settled();
    const waited = clock.waiting.splice(0);
    for (const { run } of waited) run();
    return { accepted: await result, waitedMs: waited[0]?.delayMs ?? 0 };
  };
  const waits: number[] = [];
  for (let i = 0; i < 12; i++) waits.push((await attempt("wrong")).waitedMs);
  assert.deepEqual(waits, [0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
  assert.equal((await attempt("wrong", "192.0.2.2")).waitedMs, 0);
  assert.deepEqual(await attempt("guest"), { accepted: true, waitedMs: 5000 });
  assert.equal((await attempt("wrong")).waitedMs, 0);
  for (let i = 0; i < 6; i++) await attempt("wrong");
  clock.now += 60_001;
  assert.equal((await attempt("wrong")).waitedMs, 0, "forgotten after a minute");
});

test("guest exists only when there is nobody, and the first admin takes its place", async () => {
  const plain = await openBench();
  assert.deepEqual(
    plain.broker.management.users.list().map(({ name, tags }) => [name, tags]),
    [["guest", ["administrator"]]],
  );
  const firstAdmin = { name: "root", password: "tree" };
  const bench = await openBench({ broker: { firstAdmin }, user: "root" });
  assert.deepEqual(
    bench.broker.management.users.list().map(({ name }) => name),
    ["root"],
  );
  assert(await logsIn(bench, "root", "tree", { peerIsLoopback: false }));
  await bench.broker.management.users.put({ user: "root", tags: ["administrator"] }, "root", { password: "leaf" });
  bench.turn.run();
  const after = await bench.crash();
  assert.deepEqual(
    after.broker.management.users.list().map(({ name }) => name),
    ["root"],
  );
  assert(await logsIn(after, "root", "leaf"), "an admin that exists keeps its password");
});

test("an admin that is named for a broker with users is added to them", async () => {
  const bench = await openBench();
  bench.turn.run();
  const { turn, store } = bench;
  const after = await openBench({ store, turn, broker: { firstAdmin: { name: "root", password: "tree" } } });
  assert.deepEqual(
    after.broker.management.users.list().map(({ name }) => name),
    ["guest", "root"],
  );
  assert.deepEqual(after.broker.management.users.permission("/", "root")?.configure, ".*");
});
