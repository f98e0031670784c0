// Rebuilds the state from the entries of the meta log. The log starts either at its first entry
// ever or, once its beginning was freed, somewhere before a complete snapshot; what lies before that
// snapshot then makes no sense any more and is passed over.
//
//   freed | effects (passed over) | part 0 | effects | part 1 | effects | last part | effects | ...
//                                   |<------------ snapshot ----------->|
//
// A snapshot is the state at its first part; the effects between its parts follow it. One whose last
// part is missing was cut off by a crash: the state before it still stands.

import { StorageError } from "../model/errors.ts";
import type { LogEntry } from "../log/log.ts";
import { effectFromJson, type Effect } from "./effects.ts";
import { MetaState } from "./meta-state.ts";

/**
 * Version of the entries' format. A change that older versions cannot read raises it.
 *   1  the exchanges, queues and bindings of one vhost
 *   2  many vhosts, bindings between exchanges, users, permissions, policies
 */
export const META_FORMAT = 2;

/** A part of a snapshot; parts are appended in one run and numbered from 0. */
export interface SnapshotPart {
  readonly part: number;
  readonly last: boolean;
}

interface PartialSnapshot {
  readonly state: MetaState;
  readonly start: number;
  parts: number;
  bytes: number;
  /** Effects between its parts, to be applied on top, and the bytes of their entries. */
  readonly effectsSince: Effect[];
  bytesSince: number;
}

export class MetaReplay {
  /** The state so far. */
  state = new MetaState();
  /** Position of the first part of the newest complete snapshot; 0 when there is none. */
  snapshotStart = 0;
  /** Payload bytes of that snapshot. */
  snapshotBytes = 0;
  /** Payload bytes of the effects after it. */
  bytesSinceSnapshot = 0;
  #usable: boolean;
  #partial: PartialSnapshot | undefined;

  /** `first`: the oldest position of the log. */
  constructor(first: number) {
    this.#usable = first <= 1;
  }

  /** Takes the next entry. Throws StorageError "damaged" when it makes no sense. */
  take(entry: LogEntry): void {
    if (entry.payload.length === 0) {
      this.#partial = undefined;
      return;
    }
    try {
      this.#apply(entry);
    } catch (error) {
      throw new StorageError("damaged", `meta log entry ${entry.position} cannot be applied: ${String(error)}`, {
        cause: error,
      });
    }
  }

  /** Call after the last entry. */
  finish(): void {
    if (!this.#usable)
      throw new StorageError("damaged", "the meta log has lost its beginning and holds no complete snapshot");
  }

  #apply(entry: LogEntry): void {
    const { effects, snapshot } = parseEntry(entry.payload);
    if (snapshot !== undefined) {
      this.#takePart(entry, snapshot, effects);
      return;
    }
    this.bytesSinceSnapshot += entry.payload.length;
    const partial = this.#partial;
    if (partial !== undefined) {
      partial.effectsSince.push(...effects);
      partial.bytesSince += entry.payload.length;
    }
    if (!this.#usable) return;
    for (const effect of effects) this.state.apply(effect);
  }

  #takePart(entry: LogEntry, { part, last }: SnapshotPart, effects: readonly Effect[]): void {
    if (part === 0) {
      const state = new MetaState();
      this.#partial = { state, start: entry.position, parts: 0, bytes: 0, effectsSince: [], bytesSince: 0 };
    }
    const partial = this.#partial;
    // Its first parts were freed: a newer snapshot follows, or `finish` reports the loss.
    if (partial === undefined) return;
    if (partial.parts !== part) throw new StorageError("damaged", `part ${partial.parts} of a snapshot is missing`);
    for (const effect of effects) partial.state.apply(effect);
    partial.parts++;
    partial.bytes += entry.payload.length;
    if (!last) return;
    for (const effect of partial.effectsSince) partial.state.apply(effect);
    this.state = partial.state;
    this.snapshotStart = partial.start;
    this.snapshotBytes = partial.bytes;
    this.bytesSinceSnapshot = partial.bytesSince;
    this.#usable = true;
    this.#partial = undefined;
  }
}

function parseEntry(payload: Buffer): { effects: readonly Effect[]; snapshot: SnapshotPart | undefined } {
  const json: unknown = JSON.parse(payload.toString("utf8"));
  if (typeof json !== "object" || json === null || !("format" in json) || !("effects" in json)) {
    throw new StorageError("damaged", "an entry has a format and effects");
  }
  const { format } = json;
  if (typeof format !== "number" || format < 1 || format > META_FORMAT) {
    throw new StorageError(
      "damaged",
      `it has format ${String(format)}, this version reads up to ${META_FORMAT}; start a newer version`,
    );
  }
  if (!Array.isArray(json.effects)) throw new StorageError("damaged", "effects are an array");
  return {
    effects: json.effects.map(effectFromJson),
    snapshot: "snapshot" in json ? parsePart(json.snapshot) : undefined,
  };
}

function parsePart(json: unknown): SnapshotPart {
  if (typeof json !== "object" || json === null || !("part" in json) || !("last" in json)) {
    throw new StorageError("damaged", "a snapshot part has a number and an end mark");
  }
  if (typeof json.part !== "number" || typeof json.last !== "boolean") {
    throw new StorageError("damaged", "a snapshot part has a number and an end mark");
  }
  return { part: json.part, last: json.last };
}
