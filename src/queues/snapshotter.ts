// Takes snapshots of the index while the shard runs: pages are copied in slices between turns, each
// stamped with the position applied at that moment; nothing is paused. Order 2 of the engine: the END
// entry is written only when the log is committed beyond everything that the snapshot contains.
//
//   base (all pages) <- snapshot (pages changed since the base) <- or, instead of it, the next one
//
// A deep backlog that nobody touches is thus written once. When the snapshots on a base have together
// written as much as the base has, the next one is a new base: it costs at most twice the best choice.

import type { LogStore, LogWriter } from "../log/log.ts";
import { StorageError } from "../model/errors.ts";
import type { Logger } from "../ports/logger.ts";
import type { Clock } from "../ports/clock.ts";
import type { Lane } from "./lane.ts";
import { type LoadedSnapshot, type SnapshotBase, snapshotNumber } from "./load-snapshot.ts";
import {
  encodeEnd,
  encodeKeep,
  encodeNames,
  encodePage,
  encodeQueue,
  encodeStart,
  KEEP_MAX,
} from "./snapshot-format.ts";
import type { Queue } from "./queue.ts";
import type { Shard, SlicedWork } from "./shard.ts";

/** A payload is appended when it has grown to this. */
const PAYLOAD_BYTES = 256 * 1024;
/** Holds a payload and the item that completes it. Slabs are used again: garbage would cost pauses. */
const SLAB_BYTES = 384 * 1024;
/** A snapshot is due when the log has grown by this many times its expected size: it bounds what they cost. */
const GROWTH = 6;
/** Names of one NAMES item. */
const NAMES_MAX = 256;
const BACKLOG_MAX_BYTES = 4 * 1024 * 1024;
/** After one that could not be written the next is not tried before this. */
const RETRY_MS = 1000;

const EMPTY = Buffer.alloc(0);

interface Run {
  readonly id: string;
  readonly number: number;
  readonly start: number;
  /** The snapshot that has the pages that are left out; undefined: this one has all. */
  readonly base: SnapshotBase | undefined;
  /** Settles when its log is open, or cannot be. */
  opened: Promise<void>;
  writer: LogWriter | undefined;
  slab: Buffer;
  slabBytes: number;
  /** Slabs that the log has, by the position of their payload. */
  readonly lent: { readonly position: number; readonly slab: Buffer }[];
  bytes: number;
  steps: Generator<void, void, void> | undefined;
  /** Highest position contained; known when all pages are copied. */
  end: number;
  /** Position of END in the snapshot's own log. */
  endPosition: number;
}

export class Snapshotter implements SlicedWork {
  taken = 0;
  /** Bytes of the newest complete snapshot, without its base. */
  newestBytes = 0;
  private readonly shard: Shard;
  private readonly store: LogStore;
  private readonly clock: Clock;
  private readonly logger: Logger;
  private readonly prefix: string;
  private readonly minBytes: number;
  private run: Run | undefined = undefined;
  private next: number;
  private base: SnapshotBase | undefined;
  private newestId: string | undefined;
  /** What the newest snapshot with a base wrote: about what the next one will cost. */
  private changedBytes: number;
  /** What all snapshots with this base wrote. */
  private onBaseBytes: number;
  private appendedAtStart = 0;
  private finished: (() => void)[] = [];
  private failedAt = Number.NEGATIVE_INFINITY;
  private isClosing = false;
  /** Settles when what the last given-up snapshot left behind is gone. */
  private cleanedUp: Promise<void> = Promise.resolve();

  constructor(options: {
    readonly shard: Shard;
    readonly store: LogStore;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly prefix: string;
    readonly minBytes: number;
    readonly nextNumber: number;
    /** The snapshot that this process started from. */
    readonly newest: Pick<LoadedSnapshot, "id" | "bytes" | "base">;
  }) {
    this.shard = options.shard;
    this.store = options.store;
    this.clock = options.clock;
    this.logger = options.logger;
    this.prefix = options.prefix;
    this.minBytes = options.minBytes;
    this.next = options.nextNumber;
    this.base = options.newest.base;
    this.newestId = options.newest.id;
    this.changedBytes = options.newest.id === options.newest.base?.id ? 0 : options.newest.bytes;
    this.onBaseBytes = this.changedBytes;
  }

  /** Starts a snapshot when the log has grown enough. Called after each commit. */
  startWhenDue(): void {
    if (this.run !== undefined) {
      this.shard.schedule();
      return;
    }
    if (!this.isClosing && this.grownBytes >= Math.max(this.minBytes, GROWTH * this.expectedBytes)) this.start();
  }

  /** So much of the index has changed that the next snapshot must be a base. */
  private get isBaseStale(): boolean {
    return this.base === undefined || this.onBaseBytes > this.base.bytes;
  }

  private get expectedBytes(): number {
    return this.isBaseStale ? (this.base?.bytes ?? 0) + this.changedBytes : this.changedBytes;
  }

  /** The logs of the newest complete snapshot: itself and the base that it needs. None: there is no snapshot. */
  get newestLogs(): readonly string[] {
    if (this.newestId === undefined) return [];
    return this.base === undefined || this.base.id === this.newestId ? [this.newestId] : [this.base.id, this.newestId];
  }

  /** Bytes appended to the log since the newest snapshot was started. */
  get grownBytes(): number {
    return this.shard.journal.appendedBytes - this.appendedAtStart;
  }

  /** Starts one now unless one is under way; resolves when that one is finished or given up. */
  take(): Promise<void> {
    if (this.run === undefined && !this.isClosing) this.start();
    return this.underWay();
  }

  /**
   * Finishes the snapshot under way, takes a last one when the log has grown by more than `worthBytes`
   * since the newest, and begins no other.
   */
  async close(worthBytes: number): Promise<void> {
    this.isClosing = true;
    await this.underWay();
    if (this.shard.failure !== undefined || this.grownBytes <= worthBytes) return;
    this.start();
    await this.underWay();
  }

  /** The shard's log has failed: what is under way will never be complete. */
  abandon(error: StorageError): void {
    if (this.run !== undefined) this.giveUp(this.run, error);
  }

  private underWay(): Promise<void> {
    if (this.run === undefined) return this.cleanedUp;
    this.shard.schedule();
    return new Promise((resolve) => this.finished.push(resolve));
  }

  private start(): void {
    if (this.shard.failure !== undefined || this.clock.monotonicMs() - this.failedAt < RETRY_MS) return;
    this.shard.seal();
    this.appendedAtStart = this.shard.journal.appendedBytes;
    const number = this.next++;
    const run: Run = {
      id: `${this.prefix}${number}`,
      number,
      base: this.isBaseStale ? undefined : this.base,
      start: this.shard.journal.openPosition,
      opened: Promise.resolve(),
      writer: undefined,
      slab: EMPTY,
      slabBytes: 0,
      lent: [],
      bytes: 0,
      steps: undefined,
      end: 0,
      endPosition: 0,
    };
    this.run = run;
    run.opened = this.open(run);
    run.opened.then(
      () => this.shard.schedule(),
      (error: Error) => this.giveUp(run, error),
    );
  }

  private async open(run: Run): Promise<void> {
    await this.store.create(run.id);
    const wake = (): void => this.shard.schedule();
    const { writer } = await this.store.acquire(run.id, "snapshot", {
      onCommitted: wake,
      onExtent: () => undefined,
      onSpace: () => undefined,
    });
    run.writer = writer;
    run.steps = this.steps(run);
    void writer.ended.then((error) => {
      if (error !== undefined) this.giveUp(run, error);
    });
  }

  slice(deadlineMs: number): boolean {
    const run = this.run;
    if (run?.writer === undefined || run.steps === undefined) return false;
    try {
      return this.advance(run, run.writer, run.steps, deadlineMs);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.giveUp(run, error);
      return false;
    }
  }

  private advance(run: Run, writer: LogWriter, steps: Generator<void, void, void>, deadlineMs: number): boolean {
    if (run.endPosition > 0) {
      if (writer.committed >= run.endPosition) this.complete(run, writer);
      return false;
    }
    if (run.end === 0) {
      if (writer.backlogBytes > BACKLOG_MAX_BYTES) return false;
      // What is applied must be in the log before it is stamped.
      this.shard.seal();
      while (this.clock.monotonicMs() < deadlineMs) {
        if (steps.next().done !== true) continue;
        run.end = this.shard.journal.openPosition - 1;
        this.append(run, writer);
        break;
      }
      if (run.end === 0) return true;
    }
    if (this.shard.journal.committed >= run.end) {
      this.add(run, encodeEnd(run.end));
      run.endPosition = this.append(run, writer);
    }
    return false;
  }

  /** One step copies one queue's head or one page. */
  private *steps(run: Run): Generator<void, void, void> {
    const base = run.base === undefined ? 0 : snapshotNumber(run.base.id);
    this.add(run, encodeStart(run.start, this.shard.state.pageRows, base));
    for (const queueId of [...this.shard.state.queues.keys()]) {
      const queue = this.shard.state.queues.get(queueId);
      if (queue === undefined || !queue.settings.durable) continue;
      this.add(run, encodeQueue(queue));
      yield;
      for (const names of queue.names?.lists(NAMES_MAX) ?? []) {
        this.add(run, encodeNames(queueId, names));
        yield;
      }
      for (const lane of queue.lanes) yield* this.laneSteps(run, queue, lane, base);
    }
  }

  private *laneSteps(run: Run, queue: Queue, lane: Lane, base: number): Generator<void, void, void> {
    const kept: number[] = [];
    for (const number of [...lane.pages.keys()]) {
      if (queue.deleted) return;
      this.shard.reclaimer.finishPage(lane, number);
      const page = lane.pages.get(number);
      if (page === undefined) continue;
      if (base > 0 && page.savedIn === base) {
        kept.push(number);
        if (kept.length === KEEP_MAX) this.add(run, encodeKeep(queue.id, lane, kept.splice(0)));
        continue;
      }
      const stamp = this.shard.journal.openPosition - 1;
      const encoded = encodePage(queue.id, lane, page, stamp, (size) => this.room(run, size));
      if (encoded?.mayBeKept === true) page.savedIn = run.number;
      if (run.slabBytes >= PAYLOAD_BYTES) this.append(run, run.writer!);
      yield;
    }
    if (kept.length > 0) this.add(run, encodeKeep(queue.id, lane, kept));
  }

  private add(run: Run, bytes: Buffer): void {
    bytes.copy(this.room(run, bytes.length));
  }

  /** Room for `bytes` more of the payload. */
  private room(run: Run, bytes: number): Buffer {
    if (run.slabBytes + bytes > run.slab.length) {
      this.append(run, run.writer!);
      const [oldest] = run.lent;
      const isFree = oldest !== undefined && oldest.position <= run.writer!.committed;
      run.slab =
        isFree && bytes <= SLAB_BYTES ? run.lent.shift()!.slab : Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, bytes));
    }
    const at = run.slabBytes;
    run.slabBytes += bytes;
    run.bytes += bytes;
    return run.slab.subarray(at, run.slabBytes);
  }

  private append(run: Run, writer: LogWriter): number {
    if (run.slabBytes === 0) return 0;
    const position = writer.append([run.slab.subarray(0, run.slabBytes)]);
    run.lent.push({ position, slab: run.slab });
    run.slab = EMPTY;
    run.slabBytes = 0;
    return position;
  }

  private complete(run: Run, writer: LogWriter): void {
    run.steps = undefined;
    this.taken++;
    this.newestId = run.id;
    this.newestBytes = run.bytes;
    if (run.base === undefined) {
      this.base = { id: run.id, bytes: run.bytes };
      this.changedBytes = 0;
      this.onBaseBytes = 0;
    } else {
      this.changedBytes = run.bytes;
      this.onBaseBytes += run.bytes;
    }
    this.shard.snapshotStart = run.start;
    this.shard.collectExtents();
    this.logger.debug("snapshot taken", { log: run.id, bytes: run.bytes, start: run.start, end: run.end });
    this.retire(run, writer)
      .catch((error: Error) => {
        this.logger.warn("Older snapshots could not be removed; the next start removes them.", {
          reason: error.message,
        });
      })
      .finally(() => {
        // Only now may the next one start: it must not be taken for an older one.
        this.run = undefined;
        this.finish();
      });
  }

  private async retire(run: Run, writer: LogWriter): Promise<void> {
    await writer.release();
    for (const id of await this.store.list(this.prefix)) {
      if (snapshotNumber(id) < run.number && id !== run.base?.id) await this.store.delete(id);
    }
  }

  private giveUp(run: Run, error: Error): void {
    if (this.run !== run || (run.endPosition > 0 && run.steps === undefined)) return;
    this.run = undefined;
    this.failedAt = this.clock.monotonicMs();
    this.logger.warn("A snapshot could not be written; the next one is tried later.", {
      log: run.id,
      reason: error.message,
    });
    this.cleanedUp = this.discard(run).catch((failure: Error) =>
      this.logger.warn("An unfinished snapshot stays until the next start.", {
        log: run.id,
        reason: failure.message,
      }),
    );
    void this.cleanedUp.then(() => this.finish());
  }

  private async discard(run: Run): Promise<void> {
    await run.opened.catch(() => undefined); // why it could not be opened has been told
    await run.writer?.release();
    await this.store.delete(run.id);
  }

  private finish(): void {
    for (const resolve of this.finished.splice(0)) resolve();
  }
}
