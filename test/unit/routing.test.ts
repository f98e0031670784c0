import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { FieldTable, FieldValue } from "../../src/model/field-table.ts";
import { tableIdentity } from "../../src/model/field-table-json.ts";
import type { ExchangeRouter, RoutedBinding } from "../../src/routing/exchange-router.ts";
import { HeadersRouter, invalidHeadersBinding } from "../../src/routing/headers.ts";
import { isExchangeType, routerFor } from "../../src/routing/router-for.ts";

const NO_HEADERS: FieldTable = new Map();

function bound(queueId: number, routingKey = "", args: FieldTable = NO_HEADERS): RoutedBinding {
  return { queueId, routingKey, arguments: args };
}

function routed(router: ExchangeRouter, key: string, headers = NO_HEADERS): number[] {
  const into = new Set<number>();
  router.route(key, headers, into);
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
  assert.match(invalidHeadersBinding(new Map([["x-match", "some"]])) ?? "", /Invalid x-match field value "some"/);
  assert.match(invalidHeadersBinding(new Map([["x-match", 1]])) ?? "", /Invalid x-match field type/);
});

test("only the four types that exist are exchange types", () => {
  for (const type of ["direct", "fanout", "topic", "headers"]) assert(isExchangeType(type));
  for (const type of ["", "Direct", "x-delayed-message", "toString"]) assert(!isExchangeType(type));
});
