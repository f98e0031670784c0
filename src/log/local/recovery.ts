// Finding the end of a log.
//
// The segments with a header are put in order of position. All but the last must be whole: their
// footer (or, when that is damaged, a walk that links to the next segment) says where they end,
// because a segment is synced before the next one gets its header. The last one is walked. Its first
// invalid entry p is a torn tail, unless an intact entry anywhere behind states that p was durable:
//
//   ... p-2  p-1 | p: invalid | ... intact entry, committed >= p   -> damaged: never cut what was promised
//   ... p-2  p-1 | p: invalid | ... nothing, or committed < p      -> torn: cut at p
//
// Free files (zero header) are not searched: only their first entry is looked at.

import { StorageError } from "../../model/errors.ts";
import type { Disk, DiskFile } from "../../ports/disk.ts";
import { decodeEntryHeader, ENTRY_HEADER_BYTES } from "./entry.ts";
import { asStorageError } from "./failure.ts";
import { findLaterEntries, type LaterEntries, walk, type WalkEnd } from "./scan.ts";
import { decodeSegmentHeader, decodeTrailer, SEGMENT_HEADER_BYTES, type SegmentHeader } from "./segment-format.ts";
import { TRAILER_BYTES } from "./segment-format.ts";
import { Segment } from "./segment.ts";

export const SEGMENT_NAME = /^(\d{6,})\.seg$/;

/** Where a log lives. `key` seeds its checksums. */
export interface LogPlace {
  readonly disk: Disk;
  readonly id: string;
  readonly folder: string;
  readonly key: number;
}

export interface LoadedLog {
  /** In order; all but the last are complete. */
  readonly segments: readonly Segment[];
  /** Position behind the last valid entry. */
  readonly next: number;
  readonly lastCrc: number;
  readonly lastEpoch: number;
  /** The highest watermark that the entries of the last segment state; 0 when they state none. */
  readonly confirmed: number;
  readonly cutBytes: number;
  /** Files without a segment. */
  readonly unused: readonly string[];
  /** Larger than the number of every file. */
  readonly nextNumber: number;
}

interface Candidate {
  readonly path: string;
  readonly header: SegmentHeader;
}

/** Reads the log's shape; writes nothing. Throws StorageError "damaged" or "io", LogFormatError. */
export async function loadLog(place: LogPlace): Promise<LoadedLog> {
  try {
    return await load(place);
  } catch (error) {
    throw asStorageError(error, `read log ${place.id} in ${place.folder}`);
  }
}

async function load(place: LogPlace): Promise<LoadedLog> {
  const { candidates, free, unclear, nextNumber } = await classify(place);
  const segments: Segment[] = [];
  let tail: WalkEnd | undefined;
  let cutBytes = 0;
  for (const [index, candidate] of candidates.entries()) {
    const following = candidates[index + 1];
    const segment = segmentOf(candidate);
    await withFile(place, candidate.path, async (file) => {
      if (following === undefined) {
        tail = await walk(file, candidate.header, place.key);
        adoptWalk(segment, tail);
        cutBytes = await cutOf(place, file, candidate, tail);
      } else {
        await loadFinished(place, file, { candidate, following, segment });
      }
    });
    segments.push(segment);
  }
  const last = segments.at(-1);
  for (const path of unclear) await refuseOrphans(place, path, last);
  for (const path of free) await refuseHeadless(place, path, last);
  return {
    segments,
    next: last?.end ?? 1,
    lastCrc: last?.lastCrc ?? 0,
    lastEpoch: last?.lastEpoch ?? 0,
    confirmed: tail?.confirmed ?? 0,
    cutBytes,
    unused: [...free, ...unclear],
    nextNumber,
  };
}

/** Sorts the log's files by what their first block says. */
async function classify(place: LogPlace) {
  const candidates: Candidate[] = [];
  const free: string[] = [];
  const unclear: string[] = [];
  let nextNumber = 1;
  for (const name of await place.disk.list(place.folder)) {
    const number = SEGMENT_NAME.exec(name)?.[1];
    if (number === undefined) continue;
    nextNumber = Math.max(nextNumber, Number(number) + 1);
    const path = `${place.folder}/${name}`;
    await withFile(place, path, async (file) => {
      const block = Buffer.alloc(SEGMENT_HEADER_BYTES);
      const header = decodeSegmentHeader(block.subarray(0, await file.read(block, 0)), place.key, path);
      if (header === "free") free.push(path);
      else if (header === "unclear") unclear.push(path);
      else candidates.push({ path, header });
    });
  }
  candidates.sort((a, b) => a.header.base - b.header.base);
  return { candidates, free, unclear, nextNumber };
}

function segmentOf({ path, header }: Candidate): Segment {
  const segment = new Segment(header);
  segment.path = path;
  segment.grown = header.grown;
  segment.prevCrc = header.prevCrc;
  segment.prevEpoch = header.prevEpoch;
  return segment;
}

function adoptWalk(segment: Segment, found: WalkEnd): void {
  segment.end = found.end;
  segment.usedBytes = found.usedBytes;
  segment.lastCrc = found.lastCrc;
  segment.lastEpoch = found.lastEpoch;
  segment.offsets = found.offsets;
}

interface Finished {
  readonly candidate: Candidate;
  readonly following: Candidate;
  readonly segment: Segment;
}

/** A segment that another one follows. Throws "damaged" unless it is known to be whole. */
async function loadFinished(
  place: LogPlace,
  file: DiskFile,
  { candidate, following, segment }: Finished,
): Promise<void> {
  const { header, path } = candidate;
  const next = following.header;
  const block = Buffer.alloc(TRAILER_BYTES);
  const read = await file.read(block, header.sizeBytes - TRAILER_BYTES);
  const trailer = decodeTrailer(block.subarray(0, read), header, place.key);
  if (trailer === undefined) {
    adoptWalk(segment, await walk(file, header, place.key));
    segment.offsets = undefined;
  } else {
    segment.end = trailer.base + trailer.count;
    segment.usedBytes = trailer.usedBytes;
    segment.lastCrc = trailer.lastCrc;
    segment.lastEpoch = trailer.lastEpoch;
  }
  segment.state = "complete";
  const links = segment.end === next.base && segment.lastCrc === next.prevCrc;
  const hole = trailer !== undefined && segment.end < next.base;
  if (links || hole) return;
  throw new StorageError(
    "damaged",
    `${path} is damaged at offset ${segment.usedBytes}: entry ${segment.end} is missing or invalid, ` +
      `and ${following.path} goes on at entry ${next.base}`,
  );
}

/** Bytes of the torn tail behind `tail`. Throws "damaged" when they were durable. */
async function cutOf(place: LogPlace, file: DiskFile, candidate: Candidate, tail: WalkEnd): Promise<number> {
  const later = await findLaterEntries(file, {
    fromBytes: tail.usedBytes,
    position: tail.end,
    epoch: tail.lastEpoch,
    key: place.key,
  });
  if (later.confirmed >= tail.end) throw promised(candidate.path, tail, later);
  return Math.max(tail.tornBytes, later.endBytes - tail.usedBytes, 0);
}

/** A header is written together with durable entries or not at all, so entries behind a broken one are damage. */
async function refuseOrphans(place: LogPlace, path: string, last: Segment | undefined): Promise<void> {
  await withFile(place, path, async (file) => {
    const position = last?.end ?? 1;
    const epoch = last?.lastEpoch ?? 0;
    const found = await findLaterEntries(file, { fromBytes: 0, position, epoch, key: place.key });
    if (found.count === 0) return;
    throw new StorageError(
      "damaged",
      `${path} is damaged at offset 0: its header is invalid, and it holds entries that the log misses`,
    );
  });
}

/**
 * A free file whose first entry is the very next of the chain lost its header: header and first entry
 * share a sector, so no crash parts them.
 */
async function refuseHeadless(place: LogPlace, path: string, last: Segment | undefined): Promise<void> {
  await withFile(place, path, async (file) => {
    const block = Buffer.alloc(ENTRY_HEADER_BYTES);
    const read = await file.read(block, SEGMENT_HEADER_BYTES);
    const first = decodeEntryHeader(block.subarray(0, read), 0);
    const isNext = first?.position === (last?.end ?? 1) && first.prevCrc === (last?.lastCrc ?? 0);
    if (!isNext || first.epoch < (last?.lastEpoch ?? 0)) return;
    throw new StorageError(
      "damaged",
      `${path} is damaged at offset 0: its header is gone, and entry ${first.position} is behind it`,
    );
  });
}

function promised(path: string, tail: WalkEnd, later: LaterEntries): StorageError {
  return new StorageError(
    "damaged",
    `${path} is damaged at offset ${tail.usedBytes}: entry ${tail.end} is missing or invalid, ` +
      `but a later entry states that everything up to ${later.confirmed} was durable`,
  );
}

async function withFile(place: LogPlace, path: string, run: (file: DiskFile) => Promise<void>): Promise<void> {
  const file = await place.disk.open(path, "read");
  try {
    await run(file);
  } finally {
    await file.close();
  }
}
