// A hold keeps what a log is made of at one moment readable: the durable entries up to its watermark. Nothing
// waits for it; freed segments are recycled only when it is let go. Holds of several logs that are taken in
// one go, without waiting in between, are what a crash at that moment would leave: recovery brings them in line.

import { assert } from "../../assert.ts";
import type { Segment, SegmentList } from "./segment.ts";

/** A file of the log and how much of it belongs to the hold, bytes. */
export interface HeldFile {
  readonly path: string;
  readonly bytes: number;
}

export interface LogHold {
  readonly id: string;
  readonly folder: string;
  /** The last position that is held; 0: none. */
  readonly committed: number;
  readonly files: readonly HeldFile[];
  /** Idempotent. */
  release(): void;
}

export interface HoldParts {
  readonly id: string;
  readonly folder: string;
  readonly segments: SegmentList;
  /** Called when segments that were freed meanwhile may go. */
  readonly onRelease: () => void;
}

/** Holds every durable entry of a log that is being written. Synchronous. */
export function holdLog({ id, folder, segments, onRelease }: HoldParts): LogHold {
  const { committed } = segments;
  const held: Segment[] = [];
  const files: HeldFile[] = [];
  for (const segment of segments) {
    if (segment.base > committed) break;
    segment.pins += 1;
    held.push(segment);
    files.push({ path: segment.path, bytes: heldBytes(segment, committed) });
  }
  let released = false;
  return {
    id,
    folder,
    committed,
    files,
    release() {
      if (released) return;
      released = true;
      for (const segment of held) segment.pins -= 1;
      onRelease();
    },
  };
}

/**
 * A complete segment is held with its footer. Of any other one, only what is durable: bytes behind it are on
 * their way to the disk, and half an entry in front of a whole one would look like damage.
 */
function heldBytes(segment: Segment, committed: number): number {
  if (segment.state === "complete") return segment.sizeBytes;
  const next = committed + 1;
  if (next >= segment.end) return segment.usedBytes;
  assert(segment.offsets !== undefined, "a segment that is being filled has its offsets");
  return segment.offsets.at(next - segment.base);
}
