// Dead letters: where they go, what history they carry, and which circles they do not go round.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DeadLetters, type DeadLetterTarget } from "../../src/broker/dead-letters.ts";
import { RouteFinder } from "../../src/broker/route-finder.ts";
import { Topology, type Vhost } from "../../src/broker/topology.ts";
import { LIMITS } from "../../src/limits.ts";
import type { FieldTable, FieldValue } from "../../src/model/field-table.ts";
import { IncomingMessage, recordSize, writeRecord } from "../../src/model/message.ts";
import { decodeProperties, encodeProperties, type MessageProperties } from "../../src/model/properties.ts";
import type { DeathReason } from "../../src/queues/shard-port.ts";
import { readRecord } from "../../src/protocols/amqp091/record.ts";
import { silentLogger, testRandom } from "./broker-fixtures.ts";

const NOW_MS = 1_700_000_000_500;
const TIME: FieldValue = { kind: "timestamp", seconds: 1_700_000_000n };

/** Queues with their dead-letter targets; "dlx" is a fanout exchange, "keys" a direct one. */
class Harbour {
  readonly warnings: string[] = [];
  readonly #topology = new Topology();
  readonly #targets = new Map<string, DeadLetterTarget>();
  readonly #letters: DeadLetters;
  readonly #finders = new Map<Vhost, RouteFinder>();

  constructor() {
    for (const [name, type] of [
      ["dlx", "fanout"],
      ["keys", "direct"],
    ] as const) {
      const settings = { durable: true, autoDelete: false, internal: false, arguments: new Map() };
      this.#topology.apply({ kind: "exchange-declared", exchange: { vhost: "/", name, type, ...settings } });
    }
    this.#letters = new DeadLetters({
      topology: this.#topology,
      logger: { ...silentLogger, warn: (text) => this.warnings.push(text) },
      routesOf: (vhost) => {
        const finder = this.#finders.get(vhost) ?? new RouteFinder(this.#topology, vhost, testRandom());
        this.#finders.set(vhost, finder);
        return finder;
      },
      targetOf: (queue) => this.#targets.get(queue.record.name),
    });
  }

  queue(name: string, exchange?: string, routingKey?: string): this {
    const id = this.#topology.queuesById.size + 1;
    const record = { vhost: "/", id, name, durable: true, autoDelete: false, ownerId: 0, quorum: false };
    this.#topology.apply({ kind: "queue-declared", queue: { ...record, arguments: new Map() } });
    if (exchange !== undefined) this.#targets.set(name, { exchange, routingKey });
    return this;
  }

  bind(exchange: string, queue: string, routingKey = ""): this {
    const binding = { vhost: "/", exchange, destination: this.#id(queue), routingKey, arguments: new Map() };
    this.#topology.apply({ kind: "bound", binding });
    return this;
  }

  /** The message dies in the queue; the dead letter and the names of the queues that get it. */
  dies(record: Buffer, queue: string, reason: DeathReason) {
    // Behind other bytes, as in an entry of the log.
    const bytes = Buffer.concat([Buffer.alloc(5, 0xaa), record, Buffer.alloc(3, 0xbb)]);
    const death = { queueId: this.#id(queue), bytes, start: 5, size: record.length, reason, timeMs: NOW_MS };
    const letter = this.#letters.route(death);
    if (letter === undefined) return undefined;
    const stored = Buffer.alloc(recordSize(letter.message));
    assert.equal(writeRecord(letter.message, stored, 0), stored.length);
    const names = letter.queueIds.map((id) => this.#topology.queuesById.get(id)?.record.name);
    return { record: stored, names, message: letter.message, ...see(stored) };
  }

  #id(name: string): number {
    const queue = this.#topology.vhosts.get("/")?.queues.get(name);
    assert(queue !== undefined);
    return queue.record.id;
  }
}

function see(record: Buffer) {
  const { exchange, routingKey, properties, body } = readRecord(record);
  const decoded = decodeProperties(properties, 0, properties.length);
  const headers = decoded.headers ?? new Map<string, FieldValue>();
  const deaths = (headers.get("x-death") ?? []) as readonly FieldTable[];
  return {
    exchange,
    routingKey,
    properties: decoded,
    body: body.toString(),
    headers,
    deaths: deaths.map((death) => Object.fromEntries(death)),
  };
}

function recordOf(routingKey: string, body: string, properties: MessageProperties = {}, exchange = "orders"): Buffer {
  const message = new IncomingMessage();
  const [name, key] = [Buffer.from(exchange), Buffer.from(routingKey)];
  message.envelope = Buffer.concat([Buffer.of(name.length), name, Buffer.of(key.length), key]);
  message.envelopeEnd = message.envelope.length;
  message.properties = encodeProperties(properties);
  message.propertiesEnd = message.properties.length;
  message.bodyParts = [Buffer.from(body)];
  message.bodyStarts = [0];
  message.bodyEnds = [Buffer.byteLength(body)];
  message.bodyCount = body === "" ? 0 : 1;
  message.bodySize = Buffer.byteLength(body);
  const record = Buffer.alloc(recordSize(message));
  writeRecord(message, record, 0);
  return record;
}

test("a dead letter keeps body, properties and key, and tells where, why and when it died", () => {
  const harbour = new Harbour().queue("work", "dlx").queue("graveyard").bind("dlx", "graveyard");
  const properties = { contentType: "text/plain", deliveryMode: 2, priority: 4, headers: new Map([["mine", 1]]) };
  const letter = harbour.dies(recordOf("k", "body", properties), "work", "rejected");
  assert(letter !== undefined);
  assert.deepEqual(letter.names, ["graveyard"]);
  assert.deepEqual([letter.exchange, letter.routingKey, letter.body], ["dlx", "k", "body"]);
  assert.deepEqual([letter.message.persistent, letter.message.priority, letter.message.expirationMs], [true, 4, -1]);
  const { headers, ...others } = letter.properties;
  assert.deepEqual(others, { contentType: "text/plain", deliveryMode: 2, priority: 4 });
  assert.deepEqual([...(headers ?? [])].slice(0, 1), [["mine", 1]]);
  assert.deepEqual(letter.deaths, [
    { count: 1n, reason: "rejected", queue: "work", time: TIME, exchange: "orders", "routing-keys": ["k"] },
  ]);
  for (const when of ["first", "last"]) {
    assert.equal(headers?.get(`x-${when}-death-reason`), "rejected");
    assert.equal(headers?.get(`x-${when}-death-queue`), "work");
    assert.equal(headers?.get(`x-${when}-death-exchange`), "orders");
  }
});

test("the expiration goes from the properties into the history", () => {
  const harbour = new Harbour().queue("work", "dlx").queue("graveyard").bind("dlx", "graveyard");
  const letter = harbour.dies(recordOf("k", "", { expiration: "1000", messageId: "m" }), "work", "expired");
  assert.deepEqual([letter?.properties.expiration, letter?.properties.messageId], [undefined, "m"]);
  assert.equal(letter?.deaths[0]?.["original-expiration"], "1000");
});

test("a second death in the same queue for the same reason counts up; another reason is a second entry, in front", () => {
  const harbour = new Harbour().queue("work", "dlx").queue("graveyard").bind("dlx", "graveyard").bind("dlx", "work");
  const first = harbour.dies(recordOf("k", "m"), "work", "rejected");
  const second = harbour.dies(first!.record, "work", "rejected");
  const third = harbour.dies(second!.record, "graveyard", "rejected");
  assert.equal(third, undefined, "the graveyard has no dead-letter exchange");
  const other = harbour.dies(second!.record, "work", "maxlen");
  assert.deepEqual(
    other?.deaths.map(({ queue, reason, count, exchange }) => [queue, reason, count, exchange]),
    [
      ["work", "maxlen", 1n, "dlx"],
      ["work", "rejected", 2n, "orders"],
    ],
  );
  assert.deepEqual(
    [other?.headers.get("x-first-death-reason"), other?.headers.get("x-last-death-reason")],
    ["rejected", "maxlen"],
  );
  const back = harbour.dies(other!.record, "work", "rejected");
  assert.deepEqual(
    back?.deaths.map(({ reason, count }) => [reason, count]),
    [
      ["rejected", 3n],
      ["maxlen", 1n],
    ],
  );
});

test("a dead-letter routing key replaces all keys; without one the keys of CC are routed too, and told", () => {
  const harbour = new Harbour().queue("plain", "keys").queue("keyed", "keys", "dead").queue("again", "keys");
  harbour.queue("q1").queue("q2").queue("q3");
  harbour.bind("keys", "q1", "k").bind("keys", "q2", "copy").bind("keys", "q3", "dead");
  const record = recordOf("k", "m", { headers: new Map([["CC", ["copy"]]]) });
  const plain = harbour.dies(record, "plain", "rejected");
  assert.deepEqual(
    [plain?.names, plain?.deaths[0]?.["routing-keys"]],
    [
      ["q1", "q2"],
      ["k", "copy"],
    ],
  );
  const keyed = harbour.dies(record, "keyed", "rejected");
  assert.deepEqual([keyed?.names, keyed?.routingKey], [["q3"], "dead"]);
  assert.deepEqual(keyed?.deaths[0]?.["routing-keys"], ["k", "copy"]);
  assert.deepEqual(keyed?.headers.get("CC"), ["copy"], "CC stays on the message");
  const again = harbour.dies(keyed!.record, "again", "rejected");
  assert.deepEqual([again?.names, again?.deaths[0]?.["routing-keys"]], [["q3"], ["dead"]], "but routes no more");
});

test("a message that would go round by itself is dropped; once somebody has rejected it, it goes on", () => {
  const harbour = new Harbour().queue("a", "", "b").queue("b", "", "a");
  const inB = harbour.dies(recordOf("a", "m", {}, ""), "a", "expired");
  assert.deepEqual(inB?.names, ["b"]);
  assert.equal(harbour.dies(inB!.record, "b", "expired"), undefined);
  assert.equal(harbour.dies(inB!.record, "b", "maxlen"), undefined);
  assert.equal(harbour.warnings.length, 1, "told once");
  const rejected = harbour.dies(inB!.record, "b", "rejected");
  assert.deepEqual(rejected?.names, ["a"]);
  const round = harbour.dies(rejected!.record, "a", "expired");
  assert.deepEqual(round?.names, ["b"], "b rejected it after a had let it expire");
  const self = new Harbour().queue("self", "", "self");
  assert.equal(self.dies(recordOf("self", "m", {}, ""), "self", "delivery_limit"), undefined);
});

test("a circle takes away only the queue that closes it", () => {
  const harbour = new Harbour().queue("work", "dlx").queue("graveyard").bind("dlx", "graveyard").bind("dlx", "work");
  assert.deepEqual(harbour.dies(recordOf("k", "m"), "work", "expired")?.names, ["graveyard"]);
});

test("an x-death with the counts of a client is replaced, not continued, and closes no circle", () => {
  const harbour = new Harbour().queue("a", "", "b").queue("b", "", "a");
  const foreign = new Map<string, FieldValue>([
    ["count", 7],
    ["queue", "b"],
    ["reason", "expired"],
  ]);
  const letter = harbour.dies(recordOf("k", "m", { headers: new Map([["x-death", [foreign]]]) }), "a", "expired");
  assert.deepEqual(letter?.names, ["b"]);
  assert.deepEqual(
    letter?.deaths.map(({ queue, count }) => [queue, count]),
    [["a", 1n]],
  );
});

test("without target, exchange or route a dead letter is dropped", () => {
  const harbour = new Harbour().queue("none").queue("missing", "not there").queue("nowhere", "dlx");
  for (const queue of ["none", "missing", "nowhere"]) {
    assert.equal(harbour.dies(recordOf("k", "m"), queue, "rejected"), undefined, queue);
  }
});

test("a history keeps its newest entries, and never outgrows what a client can read", () => {
  const harbour = new Harbour().queue("graveyard").bind("dlx", "graveyard");
  let record = recordOf("k", "m");
  for (let i = 0; i < LIMITS.deathsKeptMax + 20; i++) {
    harbour.queue(`q${i}`, "dlx");
    record = harbour.dies(record, `q${i}`, "rejected")!.record;
  }
  const { deaths, headers } = see(record);
  assert.equal(deaths.length, LIMITS.deathsKeptMax);
  assert.equal(deaths[0]?.["queue"], `q${LIMITS.deathsKeptMax + 19}`);
  assert.equal(headers.get("x-first-death-queue"), "q0");
});
