import assert from "node:assert/strict";
import { test } from "node:test";
import { DecodeError } from "../../src/model/errors.ts";
import type { FieldTable, FieldValue } from "../../src/model/field-table.ts";
import { tableFromPlain, tableToPlain } from "../../src/model/field-table-plain.ts";

test("plain JSON becomes a table and a table plain JSON; what no table holds is refused", () => {
  const json = { a: 1, b: "x", c: [true, null, { d: 1.5 }], e: {} };
  assert.deepEqual(tableToPlain(tableFromPlain(json)), json);
  const rest: FieldTable = new Map<string, FieldValue>([
    ["t", { kind: "timestamp", seconds: 5n }],
    ["d", { kind: "decimal", scale: 2, value: 150 }],
    ["f", { kind: "double", value: 2 }],
    ["i", 12345678901234567890n],
    ["l", 5n],
    ["b", Buffer.from("bytes")],
    ["n", Number.NaN],
  ]);
  assert.deepEqual(tableToPlain(rest), {
    t: 5,
    d: 1.5,
    f: 2,
    i: "12345678901234567890",
    l: 5,
    b: "bytes",
    n: "NaN",
  });
  let deep: unknown = 1;
  for (let i = 0; i < 40; i++) deep = { deep };
  const wide = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`k${i}`, i]));
  for (const each of [null, [], "x", 1, undefined, deep, wide, { ["k".repeat(256)]: 1 }]) {
    assert.throws(() => tableFromPlain(each), DecodeError);
  }
});
