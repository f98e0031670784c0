// Garbage over HTTP: to every route with any name and any body, as definitions that were tampered with, and
// as bytes that are no HTTP at all. Nothing of it is a bug (500), and the broker goes on. `FUZZ=N` multiplies
// the number of inputs; `FUZZ_SEED=S` repeats a run.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test, type TestContext } from "node:test";
import { ADMIN_ROUTES } from "../../src/admin/routes.ts";
import { Prng } from "../sim/prng.ts";
import { ask, type HttpAnswer, type HttpWorld, startHttpWorld } from "./http-world.ts";

const FACTOR = Number(process.env["FUZZ"] ?? 1);
const SEED = Number(process.env["FUZZ_SEED"] ?? randomInt(2 ** 31));

let world: HttpWorld;
before(async () => {
  world = await startHttpWorld();
  await world.put("/api/queues/%2F/q", { durable: true });
  await world.put("/api/exchanges/%2F/x", { type: "topic", durable: true });
  await world.put("/api/vhosts/v", {});
});
after(() => world.close());

/** Says the seed of a failure. */
async function seeded(t: TestContext, run: (dice: Prng) => Promise<void>): Promise<void> {
  try {
    await run(new Prng(SEED));
  } catch (error) {
    t.diagnostic(`repeat with FUZZ_SEED=${SEED}`);
    console.log(`repeat with FUZZ_SEED=${SEED}`);
    throw error;
  }
}

const NAMES = [
  "/",
  "q",
  "x",
  "v",
  "amq.default",
  "amq.topic",
  "",
  "%",
  "%2F",
  "..",
  "~",
  "1",
  "-1",
  "a b",
  "ä💥",
  "\0",
  "a".repeat(300),
];
const WORDS = [
  "name",
  "vhost",
  "durable",
  "auto_delete",
  "exclusive",
  "arguments",
  "type",
  "routing_key",
  "payload",
  "payload_encoding",
  "properties",
  "headers",
  "count",
  "ackmode",
  "encoding",
  "truncate",
  "pattern",
  "definition",
  "apply-to",
  "priority",
  "value",
  "tags",
  "password",
  "password_hash",
  "configure",
  "write",
  "read",
  "exchange",
  "users",
  "action",
  "body",
  "routingKey",
  "then",
  "skip",
  "max-length",
  "x-max-length",
  "x-message-ttl",
  "delivery_mode",
  "timestamp",
  "expiration",
  "__proto__",
  "constructor",
  "toString",
];
const TEXTS = [
  "",
  "direct",
  "topic",
  "true",
  "base64",
  "ack_requeue_true",
  "requeue",
  ".*",
  "(",
  "^(?!a)b",
  "q",
  "AAA=",
  "\uD800",
  "9".repeat(20),
];
const NUMBERS = [0, -1, 1, 1.5, 255, 256, 65536, 2 ** 31, 2 ** 53, -(2 ** 63), 1e308];

function randomJson(dice: Prng, depth: number): unknown {
  const kind = dice.below(depth > 0 ? 8 : 6);
  if (kind === 0) return null;
  if (kind === 1) return dice.chance(0.5);
  if (kind === 2) return dice.pick(NUMBERS);
  if (kind < 6) return dice.pick([...TEXTS, ...NAMES]);
  if (kind === 6) return Array.from({ length: dice.below(4) }, () => randomJson(dice, depth - 1));
  return randomObject(dice, depth - 1);
}

function randomObject(dice: Prng, depth: number): Record<string, unknown> {
  const entries = Array.from({ length: dice.below(7) }, () => [dice.pick(WORDS), randomJson(dice, depth)] as const);
  // As JSON.parse makes it: a key __proto__ is a key like others.
  return JSON.parse(
    `{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`,
  ) as Record<string, unknown>;
}

/** What one route or another takes, all at once: the others pass over what they do not know. */
const FITTING = {
  durable: true,
  type: "topic",
  arguments: {},
  routing_key: "q",
  routingKey: "q",
  payload: "x",
  payload_encoding: "string",
  body: "x",
  properties: {},
  pattern: "^q",
  definition: { "max-length": 5 },
  "apply-to": "queues",
  value: 5,
  configure: ".*",
  write: ".*",
  read: ".*",
  exchange: "x",
  description: "d",
  tags: "a",
};

/** Usually well-formed; sometimes cut, with a byte changed, or raw. */
function randomBody(dice: Prng): string | Buffer {
  if (dice.chance(0.4)) return JSON.stringify(dice.chance(0.5) ? FITTING : tampered(dice, FITTING));
  const text = JSON.stringify(dice.chance(0.8) ? randomObject(dice, 3) : randomJson(dice, 3));
  if (dice.chance(0.8)) return text;
  const bytes = Buffer.from(text);
  if (bytes.length > 0) bytes[dice.below(bytes.length)] = dice.below(256);
  return dice.chance(0.5) ? bytes : bytes.subarray(0, dice.below(bytes.length + 1));
}

const QUERIES = [
  "page",
  "page_size",
  "name",
  "use_regex",
  "sort",
  "sort_reverse",
  "columns",
  "limit",
  "offset",
  "count",
  "skip",
  "bodyBytes",
  "vhost",
  "family",
  "if-unused",
];

function randomQuery(dice: Prng): string {
  const pairs = Array.from({ length: dice.below(4) }, () => {
    return `${dice.pick(QUERIES)}=${encodeURIComponent(String(dice.pick(["1", "0", "true", "name", "a.b", "__proto__", "(", "999999999", "-1", "x"])))}`;
  });
  return pairs.length === 0 ? "" : `?${pairs.join("&")}`;
}

/** No 500, and JSON or text that can be read. */
function checkAnswer(answer: HttpAnswer, what: string): void {
  assert.notEqual(answer.status, 500, `${what}: ${answer.text}`);
  if (answer.status >= 400 && answer.text !== "")
    assert.equal(typeof (answer.json as { error?: unknown }).error === "string" || answer.status === 503, true, what);
}

/** What everything stands on must stay: the user that asks, and the vhost with its permissions. */
function isSafe(method: string, path: string): boolean {
  return !(path.includes("users") && method !== "GET") && !(method === "DELETE" && path === "/api/vhosts/%2F");
}

test("any name and any body to any route is answered, and is no bug", async (t) => {
  const statuses = new Map<number, number>();
  await seeded(t, async (dice) => {
    for (let round = 0; round < 1500 * FACTOR; round++) {
      const route = dice.pick(ADMIN_ROUTES);
      const method = dice.chance(0.9) ? route.method : dice.pick(["GET", "PUT", "POST", "DELETE"]);
      const path = route.path.replaceAll(/\{\w+\}/g, () => encodeURIComponent(dice.pick(NAMES)));
      if (!isSafe(method, path)) continue;
      const body = method === "PUT" || method === "POST" ? randomBody(dice) : undefined;
      const target = path + randomQuery(dice);
      const answer = await ask(world.port, target, { method, body });
      statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
      checkAnswer(answer, `${method} ${target} ${String(body)}`);
    }
  });
  assert.equal((await world.get("/health/ready")).status, 200);
  // A run in which everything is refused shows nothing.
  for (const status of [200, 201, 204, 400, 404]) {
    assert((statuses.get(status) ?? 0) > 0, `no answer ${status} with ${SEED}`);
  }
});

/** A copy with some values replaced, removed or doubled. */
function tampered(dice: Prng, value: unknown): unknown {
  if (dice.chance(0.03)) return randomJson(dice, 2);
  if (Array.isArray(value)) {
    const items = value.filter(() => !dice.chance(0.05)).map((each: unknown) => tampered(dice, each));
    return dice.chance(0.05) ? [...items, ...items] : items;
  }
  if (typeof value !== "object" || value === null) return value;
  const kept = Object.entries(value).filter(() => !dice.chance(0.03));
  return Object.fromEntries(
    kept.map(([key, each]) => [dice.chance(0.02) ? dice.pick(WORDS) : key, tampered(dice, each)]),
  );
}

test("definitions that were tampered with are taken or refused, and what is exported afterwards can be imported", async (t) => {
  const own = await startHttpWorld();
  await own.put("/api/queues/%2F/q", { durable: true, arguments: { "x-max-length": 3 } });
  await own.put("/api/exchanges/%2F/x", { type: "headers", durable: true });
  await own.post("/api/bindings/%2F/e/x/q/q", { routing_key: "k", arguments: { n: 1 } });
  await own.put("/api/policies/%2F/p", { pattern: "q", definition: { "max-length": 4 } });
  await own.put("/api/users/u", { password: "p", tags: "management" });
  await own.put("/api/permissions/%2F/u", { configure: "a", write: "b", read: "c" });
  const definitions = (await own.get("/api/definitions")).json as Record<string, unknown>;
  const users = (definitions["users"] as readonly { name: string }[]).filter(({ name }) => name !== "guest");
  await seeded(t, async (dice) => {
    for (let round = 0; round < 150 * FACTOR; round++) {
      const body = JSON.stringify(tampered(dice, { ...definitions, users }));
      // Whoever imports may be taken the right to do so: that is told, and ends the run.
      const answer = await own.post(dice.chance(0.5) ? "/api/definitions" : "/api/definitions/%2F", body);
      checkAnswer(answer, body);
    }
  });
  const exported = await own.get("/api/definitions");
  assert.equal(exported.status, 200);
  const fresh = await startHttpWorld();
  assert.equal((await fresh.post("/api/definitions", exported.json)).status, 204);
  await fresh.close();
  await own.close();
});

test("bytes that are no HTTP end their connection and nothing else", async (t) => {
  await seeded(t, async (dice) => {
    for (let round = 0; round < 100 * FACTOR; round++) {
      const valid = Buffer.from(
        `PUT /api/queues/%2F/q HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic Z3Vlc3Q6Z3Vlc3Q=\r\nContent-Length: 2\r\n\r\n{}`,
      );
      const bytes = dice.chance(0.3) ? Buffer.from(dice.bytes(dice.below(300))) : valid;
      for (let change = dice.below(6); change > 0 && bytes.length > 0; change--)
        bytes[dice.below(bytes.length)] = dice.below(256);
      const socket = connect(world.port, "127.0.0.1");
      let text = "";
      socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
      socket.on("error", (error) => (text += error.message));
      socket.end(bytes);
      await once(socket, "close");
      assert.doesNotMatch(text, /^HTTP\/1\.1 500/, bytes.toString("base64"));
    }
  });
  assert.equal((await world.get("/health/ready")).status, 200);
});
