// The codecs of the log's files against random and mutated bytes.

import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeEntryHeader, encodeEntryHeader, ENTRY_HEADER_BYTES, entryBytes } from "../../src/log/local/entry.ts";
import { entryIsIntact } from "../../src/log/local/entry.ts";
import { findLaterEntries, walk } from "../../src/log/local/scan.ts";
import { decodeOffsets, decodeSegmentHeader, decodeTrailer, encodeFooter } from "../../src/log/local/segment-format.ts";
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, TRAILER_BYTES } from "../../src/log/local/segment-format.ts";
import type { DiskFile } from "../../src/ports/disk.ts";

const KEY = 0x1234_5678;
const SEGMENT_BYTES = 4096;

const position = fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 2 ** 32, max: 2 ** 52 }));
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const fields = fc.record({
  position,
  epoch: u32,
  prevCrc: u32,
  timeMs: fc.double({ noNaN: true }),
  back: fc.nat(1000),
});
const parts = fc.array(
  fc.uint8Array({ maxLength: 100 }).map((bytes) => Buffer.from(bytes)),
  { maxLength: 4 },
);

/** A file whose bytes are `content`. */
function fileOf(content: Buffer): DiskFile {
  return {
    path: "segment",
    write: (_buffers, _offset, done) => done(new Error("read only")),
    sync: (done) => done(null),
    read: async (target, offset) => content.copy(target, 0, Math.min(offset, content.length)),
    size: async () => content.length,
    truncate: async () => undefined,
    close: async () => undefined,
  };
}

const HEADER = { base: 1, prevCrc: 0, prevEpoch: 0, sizeBytes: SEGMENT_BYTES, oversize: false, grown: false };

/** A segment with one entry for each payload, committed one by one. */
function segmentOf(payloads: readonly Buffer[]): Buffer {
  const content = Buffer.alloc(SEGMENT_BYTES);
  encodeSegmentHeader(HEADER, KEY).copy(content);
  let at = SEGMENT_HEADER_BYTES;
  let prevCrc = 0;
  for (const [index, payload] of payloads.entries()) {
    const header = Buffer.alloc(ENTRY_HEADER_BYTES);
    const entry = { position: index + 1, committed: index, epoch: 1, timeMs: 0, lengthBytes: payload.length, prevCrc };
    prevCrc = encodeEntryHeader(header, entry, [payload], KEY);
    header.copy(content, at);
    payload.copy(content, at + ENTRY_HEADER_BYTES);
    at += entryBytes(payload.length);
  }
  return content;
}

test("an entry's header says what was put in, and its checksum covers the payload", () => {
  fc.assert(
    fc.property(fields, parts, ({ position: at, epoch, prevCrc, timeMs, back }, payload) => {
      const committed = Math.max(0, at - 1 - back);
      const body = Buffer.concat(payload);
      const header = Buffer.alloc(ENTRY_HEADER_BYTES);
      const given = { position: at, epoch, prevCrc, timeMs, committed, lengthBytes: body.length };
      const crc = encodeEntryHeader(header, given, payload, KEY);
      const whole = Buffer.concat([header, body]);
      const found = decodeEntryHeader(whole, 0);
      assert.deepEqual(found, { ...given, crc, format: 1 });
      assert.ok(found !== undefined && entryIsIntact(whole, 0, found, KEY));
      assert.equal(entryIsIntact(whole, 0, found, KEY + 1), false, "another log's key does not fit");
    }),
  );
});

test("any changed byte of an entry is noticed", () => {
  const payload = Buffer.from("what was promised");
  const content = segmentOf([payload]).subarray(SEGMENT_HEADER_BYTES);
  fc.assert(
    fc.property(fc.nat(ENTRY_HEADER_BYTES + payload.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const changed = Buffer.from(content);
      changed.writeUInt8(changed.readUInt8(at) ^ mask, at);
      const found = decodeEntryHeader(changed, 0);
      assert.ok(found === undefined || !entryIsIntact(changed, 0, found, KEY));
    }),
    { numRuns: 500 },
  );
});

test("random bytes are never an entry, a header or a footer, and never a crash", () => {
  const header = { ...HEADER, format: 1 };
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(220), (bytes, at) => {
      const block = Buffer.from(bytes);
      assert.equal(decodeEntryHeader(block, at), undefined);
      const isZero = block.every((byte) => byte === 0);
      assert.equal(decodeSegmentHeader(block, KEY, "path"), isZero ? "free" : "unclear");
      assert.equal(decodeTrailer(block, header, KEY), undefined);
    }),
  );
});

test("a footer gives back its offsets, and only to the segment that it belongs to", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 64, max: 3000 }), { minLength: 1, maxLength: 50 }),
      fc.nat(400),
      (list, flipAt) => {
        const offsets = Uint32Array.from(list.sort((a, b) => a - b));
        const footer = encodeFooter(offsets, { usedBytes: 3500, base: 1, lastCrc: 7, lastEpoch: 2 }, KEY);
        const table = footer.subarray(0, footer.length - TRAILER_BYTES);
        const trailer = decodeTrailer(footer.subarray(table.length), { ...HEADER, format: 1 }, KEY);
        assert.ok(trailer !== undefined);
        assert.deepEqual(decodeOffsets(table, trailer, KEY), offsets);
        assert.equal(decodeTrailer(footer.subarray(table.length), { ...HEADER, format: 1, base: 2 }, KEY), undefined);
        const changed = Buffer.from(footer);
        const at = flipAt % changed.length;
        changed.writeUInt8(changed.readUInt8(at) ^ 1, at);
        const other = decodeTrailer(changed.subarray(table.length), { ...HEADER, format: 1 }, KEY);
        assert.ok(other === undefined || decodeOffsets(changed.subarray(0, table.length), other, KEY) === undefined);
      },
    ),
  );
});

test("walking a mutated segment yields a prefix of what was written, and the scan invents no promise", async () => {
  const payloads = fc.array(
    fc.uint8Array({ maxLength: 150 }).map((bytes) => Buffer.from(bytes)),
    { minLength: 1, maxLength: 12 },
  );
  const mutation = fc.record({ at: fc.nat(2500), bytes: fc.uint8Array({ minLength: 1, maxLength: 600 }) });
  await fc.assert(
    fc.asyncProperty(payloads, fc.option(mutation), async (written, change) => {
      const content = segmentOf(written);
      if (change !== null) content.set(change.bytes, Math.max(SEGMENT_HEADER_BYTES, change.at));
      const found = await walk(fileOf(content), { ...HEADER, format: 1 }, KEY);
      assert.ok(found.end <= written.length + 1);
      // Only the padding between entries is nobody's.
      for (const [index, payload] of written.slice(0, found.end - 1).entries()) {
        const at = found.offsets.at(index) + ENTRY_HEADER_BYTES;
        assert.ok(content.subarray(at, at + payload.length).equals(payload));
      }
      if (change === null) assert.equal(found.end, written.length + 1);
      const later = await findLaterEntries(fileOf(content), {
        fromBytes: found.usedBytes,
        position: found.end,
        epoch: found.lastEpoch,
        key: KEY,
      });
      assert.ok(later.confirmed < written.length);
      if (change === null) assert.equal(later.count, 0);
    }),
  );
});

test("an intact entry is found at any aligned place, also across the edge of a read", async () => {
  const entry = segmentOf([Buffer.from("far away".repeat(20))]).subarray(
    SEGMENT_HEADER_BYTES,
    SEGMENT_HEADER_BYTES + 208,
  );
  const edge = 1024 * 1024;
  for (const at of [0, 8, edge - 208, edge - 200, edge - 48, edge - 40, edge - 8, edge, edge + 8, 2 * edge + 64]) {
    const content = Buffer.alloc(at + entry.length);
    entry.copy(content, at);
    const found = await findLaterEntries(fileOf(content), { fromBytes: 0, position: 1, epoch: 0, key: KEY });
    assert.equal(found.count, 1, `at ${at}`);
    assert.equal(found.endBytes, at + entry.length);
  }
});
