// One entry on disk: a 48-byte header, the payload, zeros up to the next multiple of eight.
//
//   0      4      8       12      13     14       16        24     28        32         40     48
//   +------+------+-------+-------+------+--------+---------+------+---------+----------+------+---------+
//   |magic |crc32 |length |format |flags |effects |position |epoch |prev crc |committed |time  |payload..|
//   +------+------+-------+-------+------+--------+---------+------+---------+----------+------+---------+
//          |      |<-------------------- covered by crc32, seeded with the log's key ------------------->|
//
// Little endian. The chain (prev crc) and the watermark (committed at writing) let recovery tell a
// torn tail from damage. Numbers of 64 bits are safe integers, written as two halves.

import { crc32 } from "node:zlib";

export const ENTRY_HEADER_BYTES = 48;
export const ENTRY_FORMAT = 1;
export const ENTRY_ALIGN_BYTES = 8;
/** "QENT" on disk. */
export const ENTRY_MAGIC = 0x544e4551;
const CRC_FROM = 8;
const HIGH = 0x1_0000_0000;

export interface EntryHeader {
  readonly crc: number;
  /** Payload bytes. */
  readonly lengthBytes: number;
  readonly format: number;
  readonly position: number;
  readonly epoch: number;
  /** Checksum of the entry before, 0 at position 1. */
  readonly prevCrc: number;
  /** The durable watermark when the entry was written. */
  readonly committed: number;
  readonly timeMs: number;
}

/** What an entry of `payloadBytes` takes in a segment, bytes. */
export function entryBytes(payloadBytes: number): number {
  return Math.ceil((ENTRY_HEADER_BYTES + payloadBytes) / ENTRY_ALIGN_BYTES) * ENTRY_ALIGN_BYTES;
}

export function writeU64(target: Buffer, value: number, at: number): void {
  target.writeUInt32LE(value % HIGH, at);
  target.writeUInt32LE(Math.floor(value / HIGH), at + 4);
}

/** May return an unsafe integer from damaged bytes; callers check. */
export function readU64(source: Buffer, at: number): number {
  return source.readUInt32LE(at) + source.readUInt32LE(at + 4) * HIGH;
}

/** Writes the header of an entry whose payload is `parts` into `target` at 0; returns its checksum. */
export function encodeEntryHeader(
  target: Buffer,
  fields: Omit<EntryHeader, "crc" | "format">,
  parts: readonly Buffer[],
  key: number,
): number {
  target.writeUInt32LE(ENTRY_MAGIC, 0);
  target.writeUInt32LE(fields.lengthBytes, 8);
  target.writeUInt32LE(ENTRY_FORMAT, 12);
  writeU64(target, fields.position, 16);
  target.writeUInt32LE(fields.epoch, 24);
  target.writeUInt32LE(fields.prevCrc, 28);
  writeU64(target, fields.committed, 32);
  target.writeDoubleLE(fields.timeMs, 40);
  let crc = crc32(target.subarray(CRC_FROM, ENTRY_HEADER_BYTES), key);
  // The checksum of no bytes at all would start anew: zlib returns 0 for an empty part.
  for (const part of parts) if (part.length > 0) crc = crc32(part, crc);
  target.writeUInt32LE(crc, 4);
  return crc;
}

/** The header at `at`, unverified; undefined when there is none (magic, sizes, ranges). Never throws. */
export function decodeEntryHeader(source: Buffer, at: number): EntryHeader | undefined {
  if (at < 0 || at + ENTRY_HEADER_BYTES > source.length) return undefined;
  if (source.readUInt32LE(at) !== ENTRY_MAGIC) return undefined;
  const position = readU64(source, at + 16);
  const committed = readU64(source, at + 32);
  if (!Number.isSafeInteger(position) || position < 1 || committed >= position) return undefined;
  return {
    crc: source.readUInt32LE(at + 4),
    lengthBytes: source.readUInt32LE(at + 8),
    format: source.readUInt8(at + 12),
    position,
    epoch: source.readUInt32LE(at + 24),
    prevCrc: source.readUInt32LE(at + 28),
    committed,
    timeMs: source.readDoubleLE(at + 40),
  };
}

/** Whether the entry at `at`, whose whole length must be in `source`, matches its checksum. */
export function entryIsIntact(source: Buffer, at: number, header: EntryHeader, key: number): boolean {
  const end = at + ENTRY_HEADER_BYTES + header.lengthBytes;
  return end <= source.length && crc32(source.subarray(at + CRC_FROM, end), key) === header.crc;
}
