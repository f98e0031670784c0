import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DecodeError } from "../../src/model/errors.ts";
import type { FieldValue } from "../../src/model/field-table.ts";
import { sameFieldValue, tableFromJson, tableIdentity, tableToJson } from "../../src/model/field-table-json.ts";

const { table } = fc.letrec<{ value: FieldValue; table: Map<string, FieldValue> }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constant(null),
    fc.boolean(),
    fc.string({ unit: "binary" }),
    fc.double(),
    fc.bigInt(),
    fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
    fc.bigInt().map((seconds) => ({ kind: "timestamp", seconds }) as const),
    fc.tuple(fc.nat(255), fc.integer()).map(([scale, value]) => ({ kind: "decimal", scale, value }) as const),
    fc.double().map((value) => ({ kind: "double", value }) as const),
    fc.array(tie("value"), { maxLength: 3 }),
    tie("table"),
  ),
  table: fc.dictionary(fc.string(), tie("value"), { maxKeys: 4 }).map((fields) => new Map(Object.entries(fields))),
}));

test("a field table survives its JSON text without loss, and equal tables give equal text", () => {
  fc.assert(
    fc.property(table, (original) => {
      const text = JSON.stringify(tableToJson(original));
      const copy = tableFromJson(JSON.parse(text));
      assert.deepEqual(copy, original);
      const reversed = new Map([...original].reverse());
      assert.equal(tableIdentity(reversed), tableIdentity(original));
    }),
    { numRuns: 500 },
  );
});

test("JSON that is no field table is refused as malformed", () => {
  for (const json of [
    null,
    5,
    {},
    [["a"]],
    [[1, 2]],
    [["a", {}]],
    [["a", { z: "1" }]],
    [["a", { i: "x" }]],
    [["a", { d: 1 }]],
  ]) {
    assert.throws(() => tableFromJson(json), DecodeError, JSON.stringify(json));
  }
});

test("numbers are equal by value, not by type on the wire; texts and numbers never are", () => {
  assert(sameFieldValue(7, 7n));
  assert(sameFieldValue({ kind: "double", value: 0.5 }, 0.5));
  assert(!sameFieldValue(7, "7"));
  assert(!sameFieldValue(null, false));
  assert(sameFieldValue([1, new Map([["a", 1n]])], [1, new Map([["a", 1n]])]));
});
