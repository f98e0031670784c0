import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { FieldTable, FieldValue } from "../../src/model/field-table.ts";
import { tableIdentity } from "../../src/model/field-table-json.ts";
import { encodeProperties, type MessageProperties } from "../../src/model/properties.ts";
import { RoutedMessage } from "../../src/routing/routed-message.ts";
import type { ExchangeRouter, RoutedBinding } from "../../src/routing/exchange-router.ts";
import { HeadersRouter, invalidHeadersBinding } from "../../src/routing/headers.ts";
import { invalidBinding, invalidExchangeArguments, isExchangeType, routerFor } from "../../src/routing/router-for.ts";

const NO_HEADERS: FieldTable = new Map();

function bound(queueId: number, routingKey = "", args: FieldTable = NO_HEADERS): RoutedBinding {
  return { queueId, destination: queueId, routingKey, arguments: args };
}

function routed(router: ExchangeRouter, key: string, headers = NO_HEADERS): number[] {
  const into = new Set<number>();
  const block = headers.size === 0 ? Buffer.alloc(0) : encodeProperties({ headers });
  router.route(new RoutedMessage([key], block, () => 0), into);
  return [...into].sort((a, b) => a - b);
}

/** Topic matching as the specification says it, word by word. */
function topicMatches(pattern: readonly string[], words: readonly string[]): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return words.length === 0;
  if (first === "#") return topicMatches(rest, words) || (words.length > 0 && topicMatches(pattern, words.slice(1)));
  return words.length > 0 && (first === "*" || first === words[0]) && topicMatches(rest, words.slice(1));
}

function split(key: string): readonly string[] {
  return key === "" ? [] : key.split(".");
}

test("a direct exchange reaches exactly the queues bound with the message's key", () => {
  const router = routerFor("direct");
  router.bind(bound(1, "a"));
  router.bind(bound(2, "a"));
  router.bind(bound(3, "a.b"));
  assert.deepEqual(routed(router, "a"), [1, 2]);
  assert.deepEqual(routed(router, "a.b"), [3]);
  assert.deepEqual(routed(router, "A"), []);
});

test("a fanout exchange reaches every bound queue once, whatever the keys", () => {
  const router = routerFor("fanout");
  router.bind(bound(1, "a"));
  router.bind(bound(1, "b"));
  router.bind(bound(2));
  assert.deepEqual(routed(router, "zzz"), [1, 2]);
  router.unbind(bound(1, "a"));
  assert.deepEqual(routed(router, "zzz"), [1, 2], "one binding of queue 1 is left");
  router.unbind(bound(1, "b"));
  assert.deepEqual(routed(router, "zzz"), [2]);
});

test("topic wildcards stand for one word and for any number of words", () => {
  const router = routerFor("topic");
  const patterns = ["*.orange.*", "*.*.rabbit", "lazy.#", "#", "", "a", "#.a", "a.#.b", "*", "*.#", "lazy.*"];
  for (const [index, pattern] of patterns.entries()) router.bind(bound(index, pattern));
  for (const key of [
    "quick.orange.rabbit",
    "lazy",
    "lazy.a.b.c",
    "",
    "a",
    "a.b",
    "a.x.y.b",
    ".",
    "a.",
    ".a",
    "*",
    "#",
    "lazy.#",
  ]) {
    const expected = patterns.flatMap((pattern, index) => (topicMatches(split(pattern), split(key)) ? [index] : []));
    assert.deepEqual(routed(router, key), expected, `key "${key}"`);
  }
});

test("a topic pattern with many # takes no exponential time", () => {
  const router = routerFor("topic");
  router.bind(bound(1, "#.a.".repeat(30) + "#.b"));
  assert.deepEqual(routed(router, Array.from({ length: 120 }, () => "a").join(".")), []);
  assert.deepEqual(routed(router, `${Array.from({ length: 60 }, () => "a").join(".")}.b`), [1]);
});

const words = fc.array(fc.constantFrom("a", "b", "", "#", "*"), { maxLength: 6 }).map((parts) => parts.join("."));
const bindings = fc.uniqueArray(fc.record({ queueId: fc.nat(5), routingKey: words }), {
  maxLength: 30,
  selector: ({ queueId, routingKey }) => `${queueId} ${routingKey}`,
});

test("the topic trie agrees with the plain definition, also after bindings were removed", () => {
  fc.assert(
    fc.property(bindings, fc.array(fc.nat(29)), fc.array(words, { maxLength: 10 }), (made, removals, keys) => {
      const router = routerFor("topic");
      const left = new Map(made.map((binding, index) => [index, bound(binding.queueId, binding.routingKey)]));
      for (const binding of left.values()) router.bind(binding);
      for (const index of removals) {
        const binding = left.get(index);
        if (binding !== undefined) router.unbind(binding);
        left.delete(index);
      }
      for (const key of keys) {
        const expected = new Set<number>();
        for (const { queueId, routingKey } of left.values()) {
          if (topicMatches(split(routingKey), split(key))) expected.add(queueId);
        }
        assert.deepEqual(
          routed(router, key),
          [...expected].sort((a, b) => a - b),
        );
      }
    }),
    { numRuns: 500 },
  );
});

test("x-match decides whether all or any arguments count, and whether x- names do", () => {
  const headers = new Map<string, FieldValue>([
    ["a", 1],
    ["b", "two"],
    ["x-c", true],
  ]);
  const cases: [string | undefined, [string, FieldValue][], boolean][] = [
    [
      undefined,
      [
        ["a", 1],
        ["b", "two"],
      ],
      true,
    ],
    [
      undefined,
      [
        ["a", 1],
        ["b", "three"],
      ],
      false,
    ],
    [
      undefined,
      [
        ["a", 1],
        ["missing", 1],
      ],
      false,
    ],
    [
      "all",
      [
        ["a", 1],
        ["x-c", false],
      ],
      true,
    ],
    [
      "all-with-x",
      [
        ["a", 1],
        ["x-c", false],
      ],
      false,
    ],
    [
      "all-with-x",
      [
        ["a", 1],
        ["x-c", true],
      ],
      true,
    ],
    [
      "any",
      [
        ["a", 2],
        ["b", "two"],
      ],
      true,
    ],
    [
      "any",
      [
        ["a", 2],
        ["x-c", true],
      ],
      false,
    ],
    [
      "any-with-x",
      [
        ["a", 2],
        ["x-c", true],
      ],
      true,
    ],
    ["all", [], true],
    ["any", [], false],
    [undefined, [], true],
    ["all", [["a", null]], true],
    ["all", [["missing", null]], false],
    [
      "any",
      [
        ["missing", null],
        ["b", null],
      ],
      true,
    ],
  ];
  for (const [match, pairs, expected] of cases) {
    const args = new Map<string, FieldValue>(match === undefined ? pairs : [["x-match", match], ...pairs]);
    const router = new HeadersRouter();
    router.bind(bound(7, "", args));
    assert.deepEqual(routed(router, "", headers), expected ? [7] : [], tableIdentity(args));
    router.unbind(bound(7, "", args));
    assert.deepEqual(routed(router, "", headers), []);
  }
});

test("headers are compared by value, whatever their width on the wire", () => {
  const equal: [FieldValue, FieldValue][] = [
    [5, 5n],
    [1.5, { kind: "double", value: 1.5 }],
    [Buffer.from("ab"), Buffer.from("ab")],
    [
      { kind: "timestamp", seconds: 9n },
      { kind: "timestamp", seconds: 9n },
    ],
    [new Map([["k", 1]]), new Map([["k", 1]])],
    [
      [1, "a"],
      [1, "a"],
    ],
  ];
  const different: [FieldValue, FieldValue][] = [
    ["5", 5],
    [true, 1],
    [true, "true"],
    [new Map([["k", 1]]), new Map([["k", 2]])],
    [{ kind: "timestamp", seconds: 9n }, 9],
  ];
  for (const [pairs, expected] of [
    [equal, [1]],
    [different, []],
  ] as const) {
    for (const [wanted, given] of pairs) {
      const router = new HeadersRouter();
      router.bind(bound(1, "", new Map([["h", wanted]])));
      assert.deepEqual(routed(router, "", new Map([["h", given]])), expected, `${String(wanted)} and ${String(given)}`);
    }
  }
});

test("an x-match that means nothing is refused", () => {
  assert.equal(invalidHeadersBinding(new Map()), undefined);
  assert.equal(invalidHeadersBinding(new Map([["x-match", "any-with-x"]])), undefined);
  assert.match(invalidHeadersBinding(new Map([["x-match", "some"]])) ?? "", /Invalid x-match field value <<"some">>/);
  assert.match(invalidHeadersBinding(new Map([["x-match", 1]])) ?? "", /Invalid x-match field type/);
});

test("exchange types are those that exist, under exactly their names", () => {
  for (const type of ["direct", "fanout", "topic", "headers", "x-consistent-hash", "x-delayed-message", "x-random"]) {
    assert(isExchangeType(type));
  }
  for (const type of ["", "Direct", "x-recent-history", "toString"]) assert(!isExchangeType(type));
});

/** One message by its properties, on a router that may draw lots. */
function routedBy(router: ExchangeRouter, keys: readonly string[], properties: MessageProperties = {}, drawn = 0) {
  const into = new Set<number>();
  router.route(new RoutedMessage(keys, encodeProperties(properties), () => drawn), into);
  return [...into].sort((a, b) => a - b);
}

test("the keys of CC and BCC reach what the routing key does not, each queue once", () => {
  for (const type of ["direct", "topic"] as const) {
    const router = routerFor(type);
    router.bind(bound(1, "a"));
    router.bind(bound(2, "b"));
    router.bind(bound(3, "c"));
    assert.deepEqual(routedBy(router, ["a", "b", "a"]), [1, 2], type);
  }
});

test("a consistent-hash exchange sends equal keys to one queue, in proportion to the weights", () => {
  const router = routerFor("x-consistent-hash");
  for (const [queueId, weight] of [
    [1, "1"],
    [2, "1"],
    [3, "2"],
  ] as const) {
    router.bind(bound(queueId, weight));
  }
  const counts = new Map<number, number>();
  for (let i = 0; i < 8000; i++) {
    const reachedNow = routedBy(router, [`key ${i}`]);
    assert.equal(reachedNow.length, 1);
    assert.deepEqual(routedBy(router, [`key ${i}`]), reachedNow);
    counts.set(reachedNow[0]!, (counts.get(reachedNow[0]!) ?? 0) + 1);
  }
  // 4 sigma around the expected share of 8000 messages; the keys are fixed, so this cannot flicker.
  for (const [queueId, expected] of [
    [1, 2000],
    [2, 2000],
    [3, 4000],
  ] as const) {
    assert(Math.abs((counts.get(queueId) ?? 0) - expected) < 200, `queue ${queueId}: ${counts.get(queueId)}`);
  }
});

test("a consistent-hash binding that comes or goes moves only what it gains or loses, in any order of bindings", () => {
  const before = routerFor("x-consistent-hash");
  const after = routerFor("x-consistent-hash");
  const queues = [1, 2, 3, 4, 5];
  for (const queueId of queues) before.bind(bound(queueId, "10"));
  for (const queueId of queues.toReversed()) after.bind(bound(queueId, "10"));
  after.unbind(bound(3, "10"));
  after.bind(bound(6, "10"));
  for (let i = 0; i < 2000; i++) {
    const [was] = routedBy(before, [`k${i}`]);
    const [is] = routedBy(after, [`k${i}`]);
    assert(is === was || was === 3 || is === 6, `k${i} moved from ${was} to ${is}`);
  }
});

test("a consistent-hash exchange can hash a header or a property instead of the key", () => {
  const byHeader = routerFor("x-consistent-hash", new Map([["hash-header", "customer"]]));
  const byProperty = routerFor("x-consistent-hash", new Map([["hash-property", "message_id"]]));
  assert(byHeader.perMessage && byProperty.perMessage && !routerFor("x-consistent-hash").perMessage);
  for (const queueId of [1, 2, 3, 4]) {
    byHeader.bind(bound(queueId, "1"));
    byProperty.bind(bound(queueId, "1"));
  }
  const seen = [new Set<number>(), new Set<number>()];
  for (let i = 0; i < 50; i++) {
    const headers = new Map<string, FieldValue>([["customer", i]]);
    const wide = new Map<string, FieldValue>([["customer", BigInt(i)]]);
    const header = routedBy(byHeader, [`k${i}`], { headers });
    assert.deepEqual(routedBy(byHeader, ["other"], { headers: wide }), header, "an integer is its value");
    seen[0]!.add(header[0]!);
    const property = routedBy(byProperty, [`k${i}`], { messageId: `m${i}` });
    assert.deepEqual(routedBy(byProperty, ["other"], { messageId: `m${i}` }), property);
    seen[1]!.add(property[0]!);
  }
  for (const each of seen) assert.equal(each.size, 4);
});

test("weights and hash arguments that mean nothing are refused", () => {
  const hash = { type: "x-consistent-hash", arguments: NO_HEADERS } as const;
  const refusal = (routingKey: string) => invalidBinding(hash, { routingKey, arguments: NO_HEADERS });
  assert.equal(refusal("3"), undefined);
  assert.match(refusal("0") ?? "", /must be greater than 0/);
  assert.match(refusal("a") ?? "", /must be an integer/);
  assert.match(refusal("99999999") ?? "", /must not exceed 65536/);
  const args = (entries: [string, string][]) => invalidExchangeArguments("x-consistent-hash", new Map(entries));
  assert.equal(args([["hash-property", "timestamp"]]), undefined);
  assert.equal(args([["hash-property", "priority"]]), "Unsupported property: priority");
  assert.match(
    args([
      ["hash-property", "timestamp"],
      ["hash-header", "h"],
    ]) ?? "",
    /mutually exclusive/,
  );
});

test("a modulus-hash exchange spreads keys evenly, a random one follows the draw", () => {
  const modulus = routerFor("x-modulus-hash");
  const random = routerFor("x-random");
  for (const router of [modulus, random]) {
    for (const queueId of [1, 2, 3]) router.bind(bound(queueId));
    router.bind(bound(3, "again"));
  }
  const reachedNow = new Set(Array.from({ length: 100 }, (_, i) => routedBy(modulus, [`k${i}`])[0]));
  assert.equal(reachedNow.size, 3);
  assert.deepEqual(
    [0, 1, 2, 3].map((drawn) => routedBy(random, [""], {}, drawn)[0]),
    [1, 2, 3, 1],
  );
});

test("an exchange that delays routes as its inner type does, which must be another one", () => {
  const router = routerFor("x-delayed-message", new Map([["x-delayed-type", "topic"]]));
  router.bind(bound(1, "a.*"));
  assert.deepEqual(routed(router, "a.b"), [1]);
  const invalid = (type?: string) =>
    invalidExchangeArguments("x-delayed-message", new Map(type === undefined ? [] : [["x-delayed-type", type]]));
  assert.equal(invalid("topic"), undefined);
  assert.match(invalid() ?? "", /'x-delayed-type' must be an existing exchange type/);
  assert.match(invalid("zzz") ?? "", /unknown exchange type 'zzz'/);
  assert.match(invalid("x-delayed-message") ?? "", /can't be used/);
});

test("a topic exchange with a hundred thousand bindings is asked in microseconds", () => {
  const router = routerFor("topic");
  for (let i = 0; i < 100_000; i++) router.bind(bound(i + 1, `device.${i}.*.state`));
  router.bind(bound(200_001, "device.#"));
  const started = process.hrtime.bigint();
  for (let i = 0; i < 10_000; i++) assert.equal(routed(router, `device.${i}.room.state`).length, 2);
  const spentMs = Number(process.hrtime.bigint() - started) / 1e6;
  assert(spentMs < 5_000, `10,000 messages took ${spentMs} ms: more than the trie's worst day, less than a scan`);
});
