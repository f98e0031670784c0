import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { DecodeError } from "../../src/model/errors.ts";
import {
  checkProperties,
  decodeProperties,
  encodeProperties,
  FLAG_CORRELATION_ID,
  FLAG_MESSAGE_ID,
  type MessageProperties,
  readDeliveryMode,
  readHeaders,
  readShortProperty,
  withIntegerHeader,
} from "../../src/model/properties.ts";

const short = fc.option(fc.string({ unit: "grapheme", maxLength: 40 }), { nil: undefined });
const octet = fc.option(fc.nat({ max: 255 }), { nil: undefined });
const anyProperties: fc.Arbitrary<MessageProperties> = fc
  .record({
    contentType: short,
    contentEncoding: short,
    headers: fc.option(
      fc
        .array(
          fc.tuple(
            fc.constantFrom("a", "b", "x-delivery-count", "CC"),
            fc.oneof(fc.string(), fc.integer(), fc.bigInt(0n, 9n)),
          ),
        )
        .map((list) => new Map(list)),
      { nil: undefined },
    ),
    deliveryMode: octet,
    priority: octet,
    correlationId: short,
    replyTo: short,
    expiration: short,
    messageId: short,
    timestamp: fc.option(fc.bigInt(0n, 2n ** 64n - 1n), { nil: undefined }),
    type: short,
    userId: short,
    appId: short,
    clusterId: short,
  })
  .map((all) => Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)));

test("every block survives the mirror, and single properties are read without decoding the rest", () => {
  fc.assert(
    fc.property(anyProperties, (properties) => {
      const block = encodeProperties(properties);
      const bytes = Buffer.concat([Buffer.alloc(2, 7), block, Buffer.alloc(2, 7)]);
      const end = 2 + block.length;
      assert.deepEqual(decodeProperties(bytes, 2, end), properties);
      assert.equal(checkProperties(bytes, 2, end), properties.deliveryMode ?? 0);
      assert.equal(readDeliveryMode(bytes, 2), properties.deliveryMode ?? 0);
      assert.equal(readShortProperty(bytes, 2, FLAG_MESSAGE_ID), properties.messageId);
      assert.equal(readShortProperty(bytes, 2, FLAG_CORRELATION_ID), properties.correlationId);
      assert.deepEqual(readHeaders(bytes, 2, end), properties.headers ?? new Map());
      for (let cut = 2; cut < end; cut++) assert.throws(() => checkProperties(bytes, 2, cut), DecodeError);
      assert.throws(() => checkProperties(bytes, 2, end + 1), DecodeError);
    }),
    { numRuns: 300 },
  );
});

test("a header is set without touching the other properties and headers", () => {
  fc.assert(
    fc.property(anyProperties, fc.nat(), (properties, count) => {
      const block = encodeProperties(properties);
      const changed = withIntegerHeader(block, 0, block.length, "x-delivery-count", count);
      const headers = new Map([...(properties.headers ?? [])].filter(([name]) => name !== "x-delivery-count"));
      headers.set("x-delivery-count", BigInt(count));
      assert.deepEqual(decodeProperties(changed, 0, changed.length), { ...properties, headers });
    }),
    { numRuns: 300 },
  );
});

test("flags that no property has are refused", () => {
  assert.throws(() => checkProperties(Buffer.of(0, 1, 0, 0), 0, 4), DecodeError);
  assert.throws(() => checkProperties(Buffer.of(0), 0, 1), DecodeError);
});
