// Opens a shard: acquire the log, load the newest complete snapshot, replay the log from its start,
// recount, and only then serve. Replay calls the same apply functions as live code.

import type { LogReader, LogStore, WriterEvents } from "../log/log.ts";
import { StorageError } from "../model/errors.ts";
import { Cleaner } from "./cleaner.ts";
import { readEffects } from "./effects.ts";
import { loadNewestSnapshot, snapshotNumber } from "./load-snapshot.ts";
import { Shard } from "./shard.ts";
import { type AllShardParameters, SHARD_PARAMETERS, type ShardSetup } from "./shard-options.ts";
import type { ShardState } from "./shard-state.ts";
import type { SnapshotBounds } from "./snapshot-format.ts";
import { Snapshotter } from "./snapshotter.ts";

const MAIN = "shard/0";
const SNAPSHOTS = "shard/0/snap/";

export interface OpenShard {
  readonly shard: Shard;
  readonly snapshotter: Snapshotter;
  readonly cleaner: Cleaner;
  /** Takes a last snapshot when that shortens the next start, commits, and lets go of the logs. */
  close(): Promise<void>;
}

/** Opens the shard of `store`; creates it when it is new. Throws StorageError. */
export async function openShard(setup: ShardSetup): Promise<OpenShard> {
  const { store, logger, clock } = setup;
  const parameters: AllShardParameters = { ...SHARD_PARAMETERS, ...setup.parameters };
  const startedMs = clock.monotonicMs();
  const existing = await store.list("shard/0");
  if (!existing.includes(MAIN)) await store.create(MAIN);
  const events = new LateEvents();
  const { writer, reader, cutBytes } = await store.acquire(MAIN, "broker", events);
  if (cutBytes > 0) logger.warn("An unfinished write at the end of the log was cut.", { log: MAIN, bytes: cutBytes });

  const snapshots = existing
    .filter((id) => id.startsWith(SNAPSHOTS))
    .sort((a, b) => snapshotNumber(b) - snapshotNumber(a));
  const loaded = await loadNewestSnapshot(store, snapshots, parameters);
  const { state, bounds } = loaded;
  const isDurable = loaded.id === undefined || (await makeDurable(store, loaded.id));
  await replay(reader, state, bounds);

  const onCommit: (() => void)[] = [];
  const { maxEntryBytes } = store.traits;
  const random = (): number => (setup.random === undefined ? 0.5 : setup.random.bytes(1)[0]! / 255);
  const options = { ...setup, parameters, onCommit, maxEntryBytes, random };
  const cleaner = new Cleaner({ store, clock, logger, slackBytes: parameters.cleanerSlackBytes });
  const readers: { readonly main: LogReader; cold: LogReader | undefined } = { main: reader, cold: undefined };
  for (const extent of reader.bounds().extents) state.main.open(extent.first);
  await cleaner.open(state, readers);
  state.finishReplay();
  state.main.sealAll(writer.committed);
  state.cold.sealAll(writer.committed);

  const shard = new Shard({ state, writer, readers, snapshotStart: isDurable ? bounds.start : 0 }, options);
  const snapshotter = new Snapshotter({
    shard,
    store,
    clock,
    logger,
    prefix: SNAPSHOTS,
    minBytes: parameters.snapshotMinBytes,
    nextNumber: snapshotNumber(snapshots[0] ?? "0") + 1,
    newest: loaded,
  });
  cleaner.attach(shard, snapshotter);
  shard.addSlicedWork(snapshotter);
  shard.addSlicedWork(cleaner);
  onCommit.push(
    () => snapshotter.startWhenDue(),
    () => cleaner.startWhenDue(),
  );
  events.attach({
    onCommitted: (position) => shard.onCommitted(position),
    onExtent: (first) => shard.onExtent(first),
    onSpace: (space) => {
      setup.events.onSpace(space);
      cleaner.setShort("log", space === "low");
    },
  });
  markRestart(shard);
  shard.collectExtents();
  if (isDurable) await deleteAllBut(store, snapshots, [loaded.id, loaded.base?.id]);
  logger.info("storage is open", { queues: state.queues.size, ms: Math.round(clock.monotonicMs() - startedMs) });
  return { shard, snapshotter, cleaner, close: () => close(shard, snapshotter, cleaner, parameters) };
}

async function deleteAllBut(
  store: LogStore,
  ids: readonly string[],
  needed: readonly (string | undefined)[],
): Promise<void> {
  for (const id of ids) if (!needed.includes(id)) await store.delete(id);
}

/** Events that the log sends before the shard exists are kept. */
class LateEvents implements WriterEvents {
  private target: WriterEvents | undefined = undefined;
  private space: "ok" | "low" = "ok";

  attach(target: WriterEvents): void {
    this.target = target;
    if (this.space === "low") target.onSpace("low");
  }

  onCommitted(position: number): void {
    this.target?.onCommitted(position);
  }

  /** Extents that start during `acquire` are in `bounds()` afterwards. */
  onExtent(first: number): void {
    this.target?.onExtent(first);
  }

  onSpace(state: "ok" | "low"): void {
    this.space = state;
    this.target?.onSpace(state);
  }
}

/**
 * A snapshot that can be read need not be on disk: the process before may have died of a failed sync.
 * Acquiring the log writes again what no entry states to be durable. False on a full disk: then the
 * snapshot is used, and nothing is freed or removed on its word until a newer one is complete.
 */
async function makeDurable(store: LogStore, id: string): Promise<boolean> {
  const ignore = (): void => undefined;
  try {
    const { writer } = await store.acquire(id, "recovery", { onCommitted: ignore, onExtent: ignore, onSpace: ignore });
    await writer.release();
    return true;
  } catch (error) {
    if (error instanceof StorageError && error.kind === "full") return false;
    throw error;
  }
}

async function replay(reader: LogReader, state: ShardState, bounds: SnapshotBounds): Promise<void> {
  state.startReplay(bounds.end);
  const { first, next, extents } = reader.bounds();
  if (bounds.end >= next) {
    throw new StorageError("damaged", `the log ends at ${next - 1}, before its snapshot (${bounds.end})`);
  }
  if (bounds.start === 0 && first > 1) {
    throw new StorageError("damaged", `the log starts at ${first} and has no complete snapshot before that`);
  }
  const needed = extents.filter((extent) => extent.end > bounds.start);
  if (bounds.start > 0 && (needed[0]?.first ?? next) > bounds.start) {
    throw new StorageError("damaged", `the log starts at ${first}, behind its snapshot (${bounds.start})`);
  }
  for (let i = 1; i < needed.length; i++) {
    if (needed[i]!.first === needed[i - 1]!.end) continue;
    throw new StorageError("damaged", `the log has a gap before ${needed[i]!.first} that no snapshot covers`);
  }
  for await (const entries of reader.read(Math.max(first, bounds.start))) {
    for (const entry of entries) {
      state.applying = entry.position;
      readEffects(entry.payload, state);
    }
  }
}

/** Rows that were in flight are ready again, with one delivery more; the log is told. */
function markRestart(shard: Shard): void {
  for (const queue of shard.state.queues.values()) {
    for (const lane of queue.lanes) {
      if (lane.inFlight === 0) continue;
      shard.state.restart();
      shard.journal.writeRestart();
      shard.schedule();
      return;
    }
  }
}

async function close(
  shard: Shard,
  snapshotter: Snapshotter,
  cleaner: Cleaner,
  parameters: AllShardParameters,
): Promise<void> {
  await cleaner.stop();
  await snapshotter.close(parameters.snapshotMinBytes / 16);
  await shard.release();
  await cleaner.release();
}
