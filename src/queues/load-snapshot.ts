// Finds and loads the newest complete snapshot of a shard. One with a base is complete only with it:
// its own entries say which pages to take from there.

import type { LogStore } from "../log/log.ts";
import { DecodeError, StorageError } from "../model/errors.ts";
import { ShardState, type ShardParameters } from "./shard-state.ts";
import { type SnapshotBounds, SnapshotLoad } from "./snapshot-format.ts";

/** A full snapshot that later ones may refer to. */
export interface SnapshotBase {
  readonly id: string;
  readonly bytes: number;
}

export interface LoadedSnapshot {
  /** Undefined: there is none, and the state is empty. */
  readonly id: string | undefined;
  readonly state: ShardState;
  readonly bounds: SnapshotBounds;
  /** What the snapshot itself wrote, without its base. */
  readonly bytes: number;
  /** The base that the next snapshot may refer to: this snapshot's own, or itself when it is full. */
  readonly base: SnapshotBase | undefined;
}

/** The number of a snapshot's log id; higher is newer. */
export function snapshotNumber(id: string): number {
  return Number(id.slice(id.lastIndexOf("/") + 1));
}

/** Loads the newest of `ids` (newest first) that is complete. Throws StorageError "io". */
export async function loadNewestSnapshot(
  store: LogStore,
  ids: readonly string[],
  parameters: ShardParameters,
): Promise<LoadedSnapshot> {
  for (const id of ids) {
    try {
      const loaded = await loadSnapshot(store, id, parameters);
      if (loaded !== undefined) return loaded;
    } catch (error) {
      // An unfinished snapshot may end anywhere; the older one, or the log alone, has everything.
      if (!(error instanceof StorageError) && !(error instanceof DecodeError)) throw error;
    }
  }
  const state = new ShardState(parameters);
  return { id: undefined, state, bounds: { start: 0, end: 0 }, bytes: 0, base: undefined };
}

async function loadSnapshot(
  store: LogStore,
  id: string,
  parameters: ShardParameters,
): Promise<LoadedSnapshot | undefined> {
  const state = new ShardState(parameters);
  state.startReplay(Number.MAX_SAFE_INTEGER);
  const load = new SnapshotLoad(state, snapshotNumber(id));
  const bytes = await readAll(store, id, (payload) => load.take(payload));
  if (!load.isComplete) return undefined;
  let base = { id, bytes };
  if (load.base > 0) {
    const baseId = `${id.slice(0, id.lastIndexOf("/") + 1)}${load.base}`;
    base = { id: baseId, bytes: await readAll(store, baseId, (payload) => load.takeFromBase(payload)) };
  }
  load.finish();
  return { id, state, bounds: load.bounds, bytes, base };
}

/** Hands on every payload of a log; returns their bytes. */
async function readAll(store: LogStore, id: string, take: (payload: Buffer) => void): Promise<number> {
  const reader = await store.reader(id);
  let bytes = 0;
  for await (const entries of reader.read(reader.bounds().first)) {
    for (const { payload } of entries) {
      take(payload);
      bytes += payload.length;
    }
  }
  return bytes;
}
