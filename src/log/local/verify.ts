// The offline checksum walk: every entry of every log is read and checked, not only the end of the last segment
// as a start does. Changes nothing.

import { StorageError } from "../../model/errors.ts";
import type { Disk } from "../../ports/disk.ts";
import { readMarker } from "./marker.ts";
import { loadLog } from "./recovery.ts";
import { walk } from "./scan.ts";
import { LogFormatError, SEGMENT_FORMAT } from "./segment-format.ts";

export interface VerifiedLog {
  readonly id: string;
  readonly entries: number;
  readonly bytes: number;
  /** Sentences that name file, offset and entry; empty when all is well. */
  readonly damage: readonly string[];
}

/** Checks one log. Throws the system's error. */
export async function verifyLog(
  disk: Disk,
  { root, id }: { readonly root: string; readonly id: string },
): Promise<VerifiedLog> {
  const folder = `${root}/${id}`;
  const damage: string[] = [];
  let [entries, bytes] = [0, 0];
  try {
    const key = await readMarker(disk, folder, id);
    for (const segment of (await loadLog({ disk, id, folder, key })).segments) {
      const file = await disk.open(segment.path, "read");
      try {
        const found = await walk(file, { ...headerOf(segment), format: SEGMENT_FORMAT }, key);
        entries += found.end - segment.base;
        bytes += found.usedBytes;
        if (found.end < segment.end) {
          damage.push(
            `${segment.path} is damaged at offset ${found.usedBytes}: entry ${found.end} is invalid; ` +
              `entries to ${segment.end - 1} follow`,
          );
        }
      } finally {
        await file.close();
      }
    }
  } catch (error) {
    if (!(error instanceof StorageError && error.kind === "damaged") && !(error instanceof LogFormatError)) throw error;
    damage.push(error.message);
  }
  return { id, entries, bytes, damage };
}

function headerOf({ base, sizeBytes, oversize, grown, prevCrc, prevEpoch }: SegmentHead): SegmentHead {
  return { base, sizeBytes, oversize, grown, prevCrc, prevEpoch };
}

interface SegmentHead {
  readonly base: number;
  readonly sizeBytes: number;
  readonly oversize: boolean;
  readonly grown: boolean;
  readonly prevCrc: number;
  readonly prevEpoch: number;
}
