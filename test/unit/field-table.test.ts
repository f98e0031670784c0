import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { LIMITS } from "../../src/limits.ts";
import { DecodeError } from "../../src/model/errors.ts";
import { checkTable, decodeTable, encodeTable, type FieldTable, type FieldValue } from "../../src/model/field-table.ts";

/** One entry named "k" with these type and value bytes. */
function table(hex: string): Buffer {
  const entry = Buffer.concat([Buffer.from("016b", "hex"), Buffer.from(hex, "hex")]);
  const size = Buffer.alloc(4);
  size.writeUInt32BE(entry.length);
  return Buffer.concat([size, entry]);
}

function only(bytes: Buffer): FieldValue | undefined {
  return decodeTable(bytes, 0, bytes.length).get("k");
}

// Every type that RabbitMQ reads: value bytes, value, and whether encoding gives the same bytes back.
const FIXTURES: readonly {
  readonly type: string;
  readonly hex: string;
  readonly value: FieldValue;
  readonly mirrors: boolean;
}[] = [
  { type: "t bool", hex: "7401", value: true, mirrors: true },
  { type: "t bool", hex: "7400", value: false, mirrors: true },
  { type: "b i8", hex: "62ff", value: -1, mirrors: false },
  { type: "B u8", hex: "42ff", value: 255, mirrors: false },
  { type: "s i16", hex: "73fffe", value: -2, mirrors: false },
  { type: "u u16", hex: "75fffe", value: 65534, mirrors: false },
  { type: "I i32", hex: "49fffffffe", value: -2, mirrors: true },
  { type: "i u32", hex: "69fffffffe", value: 4294967294, mirrors: false },
  { type: "l i64", hex: "6cfffffffffffffffe", value: -2n, mirrors: true },
  { type: "L u64", hex: "4cfffffffffffffffe", value: 18446744073709551614n, mirrors: true },
  { type: "f f32", hex: "663fc00000", value: 1.5, mirrors: false },
  { type: "d f64", hex: "643ff8000000000000", value: 1.5, mirrors: true },
  { type: "d f64, whole", hex: "644000000000000000", value: { kind: "double", value: 2 }, mirrors: true },
  { type: "D decimal", hex: "4402fffffffe", value: { kind: "decimal", scale: 2, value: -2 }, mirrors: true },
  { type: "S string", hex: "5300000003e29c93", value: "✓", mirrors: true },
  { type: "x bytes", hex: "780000000200ff", value: Buffer.of(0, 255), mirrors: true },
  { type: "T timestamp", hex: "54000000006553f100", value: { kind: "timestamp", seconds: 1700000000n }, mirrors: true },
  { type: "V nothing", hex: "56", value: null, mirrors: true },
  { type: "A array", hex: "410000000774015300000000", value: [true, ""], mirrors: true },
  { type: "F table", hex: "46000000040161" + "7400", value: new Map([["a", false]]), mirrors: true },
];

for (const { type, hex, value, mirrors } of FIXTURES) {
  test(`a field of type ${type} is read as RabbitMQ reads it${mirrors ? " and written back byte for byte" : ""}`, () => {
    const bytes = table(hex);
    assert.deepEqual(only(bytes), value);
    assert.equal(checkTable(bytes, 0, bytes.length), bytes.length);
    if (mirrors) assert.deepEqual(encodeTable(new Map([["k", value]])), bytes);
    else
      assert.deepEqual(only(encodeTable(new Map([["k", value]]))), only(encodeTable(new Map([["k", only(bytes)!]]))));
    for (let end = 0; end < bytes.length; end++) {
      assert.throws(() => decodeTable(bytes, 0, end), DecodeError, `cut at ${end}`);
      assert.throws(() => checkTable(bytes, 0, end), DecodeError);
    }
  });
}

const { value: anyValue } = fc.letrec<{ value: FieldValue; table: FieldTable }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    fc.maxSafeInteger().filter((n) => Math.abs(n) < 2 ** 31),
    fc.double({ noNaN: true }).filter((n) => !Number.isInteger(n)),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
    fc.string({ unit: "grapheme" }),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((seconds) => ({ kind: "timestamp" as const, seconds })),
    fc.record(
      { kind: fc.constant("decimal" as const), scale: fc.nat({ max: 255 }), value: fc.integer() },
      { noNullPrototype: true },
    ),
    fc.integer().map((value) => ({ kind: "double" as const, value })),
    fc.array(tie("value"), { maxLength: 4 }),
    tie("table"),
  ),
  table: fc
    .array(fc.tuple(fc.string({ maxLength: 20 }), tie("value")), { maxLength: 4 })
    .map((entries) => new Map(entries)),
}));

test("every table survives encoding and decoding with values and types", () => {
  fc.assert(
    fc.property(anyValue, (value) => {
      const source: FieldTable = new Map([["k", value]]);
      const bytes = encodeTable(source);
      assert.deepEqual(decodeTable(bytes, 0, bytes.length), source);
      assert.equal(checkTable(bytes, 0, bytes.length), bytes.length);
      const embedded = Buffer.concat([Buffer.alloc(3, 9), bytes, Buffer.alloc(3, 9)]);
      assert.deepEqual(decodeTable(embedded, 3, embedded.length), source);
    }),
    { numRuns: 500 },
  );
});

test("unknown types, too deep nesting, too many values and names over the end are refused", () => {
  assert.throws(() => only(table("5a00")), /unknown field type/);
  let deep: FieldValue = null;
  for (let i = 0; i < LIMITS.fieldTableDepthMax + 1; i++) deep = [deep];
  assert.throws(() => encodeTable(new Map([["k", deep]])), /too deeply/);
  const nested = Buffer.concat(
    Array.from({ length: 100 }, (_, i) => {
      const head = Buffer.alloc(5, 0x41);
      head.writeUInt32BE((99 - i) * 5, 1);
      return head;
    }),
  );
  assert.throws(() => only(table(nested.toString("hex"))), /too deeply/);
  const voids = Buffer.alloc(LIMITS.fieldTableEntriesMax + 1, 0x56);
  const array = Buffer.alloc(5, 0x41);
  array.writeUInt32BE(voids.length, 1);
  assert.throws(() => only(table(Buffer.concat([array, voids]).toString("hex"))), /more than 4096/);
  assert.throws(() => decodeTable(Buffer.from("00000003ff6162", "hex"), 0, 7), DecodeError);
});
