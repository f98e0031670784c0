// Encoding entries one behind the other: each states the checksum of the one before, across segments.

import { assert } from "../../assert.ts";
import { encodeEntryHeader, ENTRY_ALIGN_BYTES, ENTRY_HEADER_BYTES } from "./entry.ts";
import { encodeSegmentHeader } from "./segment-format.ts";
import type { Segment } from "./segment.ts";

const PADDING = Array.from({ length: ENTRY_ALIGN_BYTES }, (_, size) => Buffer.alloc(size));

/** An entry that waits to be written. */
export interface ChainEntry {
  readonly position: number;
  readonly segment: Segment;
  /** In the file, header and padding included. */
  readonly bytes: number;
  readonly payloadBytes: number;
  readonly parts: readonly Buffer[];
  readonly timeMs: number;
}

export interface ChainOptions {
  readonly key: number;
  /** The epoch of every entry that is added. */
  readonly epoch: number;
  /** Checksum and epoch of the entry before the first that is added. */
  readonly lastCrc: number;
  readonly lastEpoch: number;
}

export class Chain {
  readonly #key: number;
  readonly #epoch: number;
  #lastCrc: number;
  #lastEpoch: number;

  constructor({ key, epoch, lastCrc, lastEpoch }: ChainOptions) {
    this.#key = key;
    this.#epoch = epoch;
    this.#lastCrc = lastCrc;
    this.#lastEpoch = lastEpoch;
  }

  /** The header of a segment whose first entry is added next. */
  segmentHeader(segment: Segment): Buffer {
    segment.prevCrc = this.#lastCrc;
    segment.prevEpoch = this.#lastEpoch;
    return encodeSegmentHeader(segment, this.#key);
  }

  /** Appends the bytes of `entry` to `buffers`; its payload is not copied. `committed`: the watermark now. */
  add(entry: ChainEntry, committed: number, buffers: Buffer[]): void {
    const { position, payloadBytes, timeMs, parts, segment } = entry;
    assert(committed < position, "what is written is not committed yet");
    const header = Buffer.allocUnsafe(ENTRY_HEADER_BYTES);
    const fields = {
      position,
      committed,
      timeMs,
      epoch: this.#epoch,
      prevCrc: this.#lastCrc,
      lengthBytes: payloadBytes,
    };
    this.#lastCrc = encodeEntryHeader(header, fields, parts, this.#key);
    this.#lastEpoch = this.#epoch;
    segment.lastCrc = this.#lastCrc;
    segment.lastEpoch = this.#lastEpoch;
    buffers.push(header);
    for (const part of parts) if (part.length > 0) buffers.push(part);
    const padding = PADDING[entry.bytes - ENTRY_HEADER_BYTES - payloadBytes];
    assert(padding !== undefined, "padding is shorter than the alignment");
    if (padding.length > 0) buffers.push(padding);
  }
}
