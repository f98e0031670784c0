// What a shard is made of and how large its parts are. Limits are parameters, so that simulations run
// with pages of 8 rows, extents of 4 KiB and a snapshot every few entries.

import { LIMITS } from "../limits.ts";
import type { StorageError } from "../model/errors.ts";
import type { LogStore } from "../log/log.ts";
import type { Clock, Random, Turn } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";

export const SHARD_PARAMETERS = {
  pageRows: LIMITS.pageRows as number,
  pageRowsFirst: LIMITS.pageRowsFirst as number,
  transientSlabBytes: 1024 * 1024,
  transientBytesMax: LIMITS.transientBytesMax as number,
  slabBytes: LIMITS.slabBytes as number,
  tailCacheBytes: LIMITS.tailCacheBytes as number,
  entryTargetBytes: LIMITS.entryTargetBytes as number,
  readAheadBytes: LIMITS.readAheadBytes as number,
  readAheadTotalBytes: LIMITS.readAheadTotalBytes as number,
  queueQuantumBytes: LIMITS.queueQuantumBytes as number,
  queueQuantumMessages: LIMITS.queueQuantumMessages as number,
  turnBudgetMs: LIMITS.turnBudgetMs as number,
  sliceBudgetMs: LIMITS.sliceBudgetMs as number,
  commitBacklogHighBytes: LIMITS.commitBacklogHighBytes as number,
  commitBacklogLowBytes: LIMITS.commitBacklogLowBytes as number,
  lazyCommitMs: LIMITS.lazyCommitMs as number,
  commitDelayMs: LIMITS.commitDelayMs as number,
  snapshotMinBytes: LIMITS.snapshotMinBytes as number,
  cleanerSlackBytes: LIMITS.cleanerSlackBytes as number,
};

export type AllShardParameters = Readonly<typeof SHARD_PARAMETERS>;

export interface ShardEvents {
  /** The watermark rose; confirms may go out. */
  onCommitted(): void;
  /** `congested` changed. */
  onFlow(): void;
  /** The log lives on its reserve ("low"): publishers must be blocked; "ok": they may go on. */
  onSpace(state: "ok" | "low"): void;
  /** Nothing will ever be committed again. */
  onFailed(error: StorageError): void;
}

export interface ShardSetup {
  readonly store: LogStore;
  readonly clock: Clock;
  readonly turn: Turn;
  readonly logger: Logger;
  readonly events: ShardEvents;
  /** For delays that vary; default: they do not. */
  readonly random?: Random;
  /** Overrides of the defaults above. */
  readonly parameters?: Partial<AllShardParameters>;
}

export interface ShardOptions {
  readonly clock: Clock;
  readonly turn: Turn;
  readonly logger: Logger;
  readonly events: ShardEvents;
  readonly parameters: AllShardParameters;
  /** Called after each commit, after the confirms: snapshot and cleaner look whether they are due. */
  readonly onCommit: (() => void)[];
  /** A number from 0 to 1, for delays that vary. */
  readonly random: () => number;
  /** The largest entry that the log takes, bytes. */
  readonly maxEntryBytes: number;
}
