// Reading entries without an index: walking the chain from a known place, and looking for intact
// entries behind the place where the chain breaks.

import type { DiskFile } from "../../ports/disk.ts";
import { decodeEntryHeader, ENTRY_ALIGN_BYTES, ENTRY_FORMAT, ENTRY_HEADER_BYTES } from "./entry.ts";
import { ENTRY_MAGIC, entryBytes, entryIsIntact } from "./entry.ts";
import { footerBytes, LogFormatError, SEGMENT_HEADER_BYTES, type SegmentHeader } from "./segment-format.ts";
import { OffsetIndex } from "./segment.ts";

const WINDOW_BYTES = 1024 * 1024;
const MAGIC_BYTES = Buffer.alloc(4);
MAGIC_BYTES.writeUInt32LE(ENTRY_MAGIC);

/** A piece of a file in memory, asked without a promise where possible: entries can be small and many. */
class ReadWindow {
  readonly #file: DiskFile;
  #memory: Buffer = Buffer.alloc(0);
  #at = 0;
  #filled = 0;

  constructor(file: DiskFile) {
    this.#file = file;
  }

  /** Whether `bytes` from `offset` on are in memory. */
  holds(offset: number, bytes: number): boolean {
    return offset >= this.#at && offset + bytes <= this.#at + this.#filled;
  }

  /** The bytes from `offset` on that are in memory; call `load` first unless `holds`. */
  view(offset: number): Buffer {
    return this.#memory.subarray(offset - this.#at, this.#filled);
  }

  /** Brings in at least `bytes` from `offset` on, unless the file ends before. */
  async load(offset: number, bytes: number): Promise<void> {
    const sizeBytes = Math.max(bytes, WINDOW_BYTES);
    if (this.#memory.length < sizeBytes) this.#memory = Buffer.allocUnsafe(sizeBytes);
    this.#filled = await this.#file.read(this.#memory.subarray(0, sizeBytes), offset);
    this.#at = offset;
  }
}

/** Where the chain of a segment ends. */
export interface WalkEnd {
  /** Position behind the last valid entry, and its offset. */
  readonly end: number;
  readonly usedBytes: number;
  readonly lastCrc: number;
  readonly lastEpoch: number;
  /** The highest watermark that a valid entry states. */
  readonly confirmed: number;
  readonly offsets: OffsetIndex;
  /** Bytes that the entry at `end` claims to have when it looks like one and is not valid. */
  readonly tornBytes: number;
}

/**
 * Follows the chain (position, previous checksum, epoch, checksum) from the segment's header to the
 * first entry that breaks it. Throws LogFormatError for an intact entry of a later format.
 */
export async function walk(file: DiskFile, header: SegmentHeader, key: number): Promise<WalkEnd> {
  const window = new ReadWindow(file);
  const offsets = new OffsetIndex();
  let offset = SEGMENT_HEADER_BYTES;
  let position = header.base;
  let crc = header.prevCrc;
  let epoch = header.prevEpoch;
  let confirmed = 0;
  let tornBytes = 0;
  for (;;) {
    if (!window.holds(offset, ENTRY_HEADER_BYTES)) await window.load(offset, ENTRY_HEADER_BYTES);
    const found = decodeEntryHeader(window.view(offset), 0);
    if (found === undefined || found.position !== position || found.epoch < epoch) break;
    const bytes = entryBytes(found.lengthBytes);
    if (offset + bytes + footerBytes(offsets.count + 1) > header.sizeBytes) break;
    if (!window.holds(offset, bytes)) await window.load(offset, bytes);
    if (found.prevCrc !== crc || !entryIsIntact(window.view(offset), 0, found, key)) {
      tornBytes = bytes;
      break;
    }
    if (found.format > ENTRY_FORMAT) throw new LogFormatError(file.path, found.format, ENTRY_FORMAT);
    offsets.push(offset);
    offset += bytes;
    position += 1;
    crc = found.crc;
    epoch = found.epoch;
    confirmed = Math.max(confirmed, found.committed);
  }
  return { end: position, usedBytes: offset, lastCrc: crc, lastEpoch: epoch, confirmed, offsets, tornBytes };
}

export interface LaterEntries {
  readonly count: number;
  /** The highest watermark that one of them states; 0 when there is none. */
  readonly confirmed: number;
  /** Where the last of them ends, bytes. */
  readonly endBytes: number;
}

export interface ScanOptions {
  readonly fromBytes: number;
  /** The first missing position: older entries are stale content of a recycled file. */
  readonly position: number;
  /** The epoch of the last valid entry. */
  readonly epoch: number;
  readonly key: number;
}

/** Intact entries at any multiple of eight from `fromBytes` on that could follow the missing position. */
export async function findLaterEntries(file: DiskFile, options: ScanOptions): Promise<LaterEntries> {
  const window = new ReadWindow(file);
  const sizeBytes = await file.size();
  // A bound that no real entry exceeds; it spares a checksum on most bytes that only look like a header.
  const positionMax = options.position + (2 * sizeBytes) / ENTRY_HEADER_BYTES;
  let count = 0;
  let confirmed = 0;
  let endBytes = 0;
  let at = Math.ceil(options.fromBytes / ENTRY_ALIGN_BYTES) * ENTRY_ALIGN_BYTES;
  while (at + ENTRY_HEADER_BYTES <= sizeBytes) {
    if (!window.holds(at, ENTRY_HEADER_BYTES)) await window.load(at, ENTRY_HEADER_BYTES);
    const piece = window.view(at);
    if (piece.length < ENTRY_HEADER_BYTES) break;
    const hit = nextMagic(piece);
    if (hit + ENTRY_HEADER_BYTES > piece.length) {
      // No header lies wholly in this piece before `hit`; go on where one could begin.
      const passed = Math.min(hit, piece.length - ENTRY_HEADER_BYTES + ENTRY_ALIGN_BYTES);
      at += Math.max(ENTRY_ALIGN_BYTES, passed - (passed % ENTRY_ALIGN_BYTES));
      continue;
    }
    at += hit;
    const found = decodeEntryHeader(piece, hit);
    const bytes = found === undefined ? 0 : ENTRY_HEADER_BYTES + found.lengthBytes;
    const isPossible =
      found !== undefined &&
      found.position >= options.position &&
      found.position <= positionMax &&
      found.epoch >= options.epoch &&
      at + bytes <= sizeBytes;
    if (isPossible && !window.holds(at, bytes)) await window.load(at, bytes);
    if (!isPossible || !entryIsIntact(window.view(at), 0, found, options.key)) {
      at += ENTRY_ALIGN_BYTES;
      continue;
    }
    count += 1;
    confirmed = Math.max(confirmed, found.committed);
    at += entryBytes(found.lengthBytes);
    endBytes = at;
  }
  return { count, confirmed, endBytes };
}

/** The first aligned place of the magic number in `piece`; its length when there is none. */
function nextMagic(piece: Buffer): number {
  let hit = piece.indexOf(MAGIC_BYTES);
  while (hit >= 0 && hit % ENTRY_ALIGN_BYTES !== 0) hit = piece.indexOf(MAGIC_BYTES, hit + 1);
  return hit < 0 ? piece.length : hit;
}
