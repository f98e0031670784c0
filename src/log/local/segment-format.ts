// The two blocks that frame a segment file.
//
//   0        64                                  used             size-40-4n          size-40    size
//   +--------+---------+---------+-----+---------+----------------+-------------------+----------+
//   | header | entry   | entry   | ... | entry   | zeros or stale | n offsets (u32)   | trailer  |
//   +--------+---------+---------+-----+---------+----------------+-------------------+----------+
//
// The header says which entries the file holds; all zeros mean that it holds none (a free segment).
// The footer (offsets and trailer) is written when the segment is full, and is only believed when a
// later segment exists, because only then was it synced together with the entries. Checksums are
// seeded with the log's key, so a file of another log never passes. The place of magic, crc and
// format, and the checksum rule, stay the same in every later format.

import { crc32 } from "node:zlib";
import { assert } from "../../assert.ts";
import { readU64, writeU64 } from "./entry.ts";

export const SEGMENT_HEADER_BYTES = 64;
export const TRAILER_BYTES = 40;
export const SEGMENT_FORMAT = 1;
export const OFFSET_BYTES = 4;
/** "QSEG" and "QFTR" on disk. */
const SEGMENT_MAGIC = 0x47455351;
const TRAILER_MAGIC = 0x52544651;
const CRC_FROM = 8;
const FLAG_OVERSIZE = 1;
const FLAG_GROWN = 2;

export interface SegmentHeader {
  readonly format: number;
  /** Made for one large entry; deleted rather than recycled. */
  readonly oversize: boolean;
  /** The file was empty when it became this segment: where no entry was written, it has no space. */
  readonly grown: boolean;
  /** Position of the first entry. */
  readonly base: number;
  /** Checksum and epoch of the entry before `base`: the chain goes on across files. */
  readonly prevCrc: number;
  readonly prevEpoch: number;
  /** Size at which the segment is full, bytes; the footer ends there. */
  readonly sizeBytes: number;
}

export interface SegmentTrailer {
  readonly count: number;
  /** Where the last entry ends, bytes. */
  readonly usedBytes: number;
  readonly base: number;
  readonly lastCrc: number;
  readonly lastEpoch: number;
  readonly tableCrc: number;
}

/** What the footer of a segment with `count` entries takes, bytes. */
export function footerBytes(count: number): number {
  return TRAILER_BYTES + count * OFFSET_BYTES;
}

/** The log was written by a later release. Not a StorageError: nothing is wrong with the disk. */
export class LogFormatError extends Error {
  override readonly name = "LogFormatError";
  constructor(path: string, found: number, known: number) {
    super(
      `${path} has log format ${found}, and this version of Quayside reads up to ${known}: ` +
        "it was written by a newer version; start that version, or use another data folder",
    );
  }
}

export function encodeSegmentHeader(fields: Omit<SegmentHeader, "format">, key: number): Buffer {
  const block = Buffer.alloc(SEGMENT_HEADER_BYTES);
  block.writeUInt32LE(SEGMENT_MAGIC, 0);
  block.writeUInt8(SEGMENT_FORMAT, 8);
  block.writeUInt8((fields.oversize ? FLAG_OVERSIZE : 0) | (fields.grown ? FLAG_GROWN : 0), 9);
  writeU64(block, fields.base, 16);
  block.writeUInt32LE(fields.prevCrc, 24);
  block.writeUInt32LE(fields.prevEpoch, 28);
  block.writeUInt32LE(fields.sizeBytes, 32);
  block.writeUInt32LE(crc32(block.subarray(CRC_FROM), key), 4);
  return block;
}

/**
 * What the first block of a file says: "free" (zeros or no bytes at all), "unclear" (neither zeros nor
 * a header of this log), or the header. Throws LogFormatError for a later format; `path` is for it.
 */
export function decodeSegmentHeader(block: Buffer, key: number, path: string): SegmentHeader | "free" | "unclear" {
  if (block.every((byte) => byte === 0)) return "free";
  if (block.length < SEGMENT_HEADER_BYTES || block.readUInt32LE(0) !== SEGMENT_MAGIC) return "unclear";
  if (crc32(block.subarray(CRC_FROM, SEGMENT_HEADER_BYTES), key) !== block.readUInt32LE(4)) return "unclear";
  const format = block.readUInt8(8);
  if (format > SEGMENT_FORMAT) throw new LogFormatError(path, format, SEGMENT_FORMAT);
  return {
    format,
    oversize: (block.readUInt8(9) & FLAG_OVERSIZE) !== 0,
    grown: (block.readUInt8(9) & FLAG_GROWN) !== 0,
    base: readU64(block, 16),
    prevCrc: block.readUInt32LE(24),
    prevEpoch: block.readUInt32LE(28),
    sizeBytes: block.readUInt32LE(32),
  };
}

/** The footer as one buffer that ends at the segment's size. */
export function encodeFooter(
  offsets: Uint32Array,
  fields: Omit<SegmentTrailer, "count" | "tableCrc">,
  key: number,
): Buffer {
  const tableBytes = offsets.length * OFFSET_BYTES;
  const footer = Buffer.alloc(tableBytes + TRAILER_BYTES);
  offsets.forEach((offset, index) => footer.writeUInt32LE(offset, index * OFFSET_BYTES));
  const trailer = footer.subarray(tableBytes);
  trailer.writeUInt32LE(TRAILER_MAGIC, 0);
  trailer.writeUInt32LE(offsets.length, 8);
  trailer.writeUInt32LE(fields.usedBytes, 12);
  writeU64(trailer, fields.base, 16);
  trailer.writeUInt32LE(fields.lastCrc, 24);
  trailer.writeUInt32LE(fields.lastEpoch, 28);
  trailer.writeUInt32LE(crc32(footer.subarray(0, tableBytes), key), 32);
  trailer.writeUInt32LE(crc32(trailer.subarray(CRC_FROM), key), 4);
  return footer;
}

/** The trailer of the segment that `header` opens; undefined when it is missing, torn, stale or damaged. */
export function decodeTrailer(block: Buffer, header: SegmentHeader, key: number): SegmentTrailer | undefined {
  if (block.length < TRAILER_BYTES || block.readUInt32LE(0) !== TRAILER_MAGIC) return undefined;
  if (crc32(block.subarray(CRC_FROM, TRAILER_BYTES), key) !== block.readUInt32LE(4)) return undefined;
  const count = block.readUInt32LE(8);
  const usedBytes = block.readUInt32LE(12);
  const base = readU64(block, 16);
  if (base !== header.base || count === 0 || usedBytes + footerBytes(count) > header.sizeBytes) return undefined;
  return {
    count,
    usedBytes,
    base,
    lastCrc: block.readUInt32LE(24),
    lastEpoch: block.readUInt32LE(28),
    tableCrc: block.readUInt32LE(32),
  };
}

/** The offsets behind `trailer`; undefined when they do not match their checksum. */
export function decodeOffsets(table: Buffer, trailer: SegmentTrailer, key: number): Uint32Array | undefined {
  assert(table.length <= trailer.count * OFFSET_BYTES, "the table is read with its own length");
  if (table.length !== trailer.count * OFFSET_BYTES || crc32(table, key) !== trailer.tableCrc) return undefined;
  const offsets = new Uint32Array(trailer.count);
  for (let index = 0; index < offsets.length; index += 1) offsets[index] = table.readUInt32LE(index * OFFSET_BYTES);
  return offsets;
}
