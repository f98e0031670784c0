// The cleaner: when the logs use far more disk than their messages need, it takes the emptiest
// extent, moves the bodies that are still live to the cold log, and thereby empties it. A nearly empty
// extent is cleaned at any time: moving little is cheaper than a new segment, which costs zeros first. Records carry
// no reference lists; the index is the only truth, so the live rows are found by scanning the pages
// whose position range overlaps. Order 1: a RELOCATE is appended only after the cold copy is durable,
// and the extent is freed only after the RELOCATE is.

import { assert } from "../assert.ts";
import type { LogReader, LogStore, LogWriter } from "../log/log.ts";
import { StorageError } from "../model/errors.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import { align8 } from "./effects.ts";
import type { ExtentState } from "./extents.ts";
import type { Page } from "./page.ts";
import { COLD, SPILLED, STATE_MASK, TRANSIENT } from "./page.ts";
import type { Shard, SlicedWork } from "./shard.ts";
import { locationKey, type ShardState } from "./shard-state.ts";
import type { Snapshotter } from "./snapshotter.ts";

const COLD_LOG = "shard/0/cold";
/** Bodies copied per cold entry, bytes. */
const BATCH_BYTES = 1024 * 1024;
/** Entries read for one batch at most: each may hold 64 KiB of which one message is live. */
const BATCH_ENTRIES_MAX = 64;
/** Rows named by one RELOCATE effect at most. */
const MOVES_MAX = 1024;
const LIVE = 0b1110;
/** An extent is worth cleaning below this share of live bytes when the logs use too much disk, */
const LIVE_SHARE_MAX = 0.5;
/** and below this one always. */
const NEARLY_EMPTY_SHARE = 1 / 32;
/** While space is short, the logs are looked at this often even if nothing is committed. */
const SHORT_LOOK_MS = 1000;
/** While space is short, this share of the slack is left alone. The cold log takes space of its own first. */
const SHORT_SLACK = 0.5;

/** Who says that space is short: the log's reserve, or the watch over free space. */
export type SpaceSource = "log" | "monitor";

interface Victim {
  readonly cold: boolean;
  readonly first: number;
  readonly end: number;
}

/** A live row of the victim. */
interface LiveRow {
  readonly queueId: number;
  readonly lane: number;
  readonly sequence: number;
  readonly position: number;
  readonly offset: number;
  readonly size: number;
}

interface Move {
  readonly row: LiveRow;
  readonly offset: number;
}

export class Cleaner implements SlicedWork {
  cleanedExtents = 0;
  movedBytes = 0;

  private readonly store: LogStore;
  private readonly clock: Clock;
  private readonly logger: Logger;
  private readonly slackBytes: number;
  private shard: Shard | undefined = undefined;
  private snapshotter: Snapshotter | undefined = undefined;
  private coldWriter: LogWriter | undefined = undefined;
  private coldWaiters: {
    readonly position: number;
    readonly done: () => void;
    readonly fail: (error: Error) => void;
  }[] = [];
  private victim: Victim | undefined = undefined;
  private scan: Generator<void, void, void> | undefined = undefined;
  private rows: LiveRow[] = [];
  private moving: Promise<void> | undefined = undefined;
  private stopped = false;
  private coldFailed = false;
  private lastCheckMs = Number.NEGATIVE_INFINITY;
  private failedAtMs = Number.NEGATIVE_INFINITY;
  /** Extents with bodies that cannot be read back (`locationKey`): choosing them again would get nowhere. */
  private readonly unreadable = new Set<number>();
  private readonly shortBy = new Set<SpaceSource>();
  private shortTimer: Timer | undefined = undefined;

  constructor(options: {
    readonly store: LogStore;
    readonly clock: Clock;
    readonly logger: Logger;
    readonly slackBytes: number;
  }) {
    this.store = options.store;
    this.clock = options.clock;
    this.logger = options.logger;
    this.slackBytes = options.slackBytes;
  }

  /** Acquires the cold log when there is one, and tells the state its extents. */
  async open(state: ShardState, readers: { cold: LogReader | undefined }): Promise<void> {
    const logs = await this.store.list(COLD_LOG);
    if (!logs.includes(COLD_LOG)) return;
    try {
      readers.cold = await this.acquire(state);
    } catch (error) {
      if (!(error instanceof StorageError) || error.kind !== "full") throw error;
      // A full disk must not keep the broker from starting: bodies are read, and nothing is moved for now.
      this.logger.warn("The cold log cannot be written, because the disk is full.", { reason: error.message });
      readers.cold = await this.store.reader(COLD_LOG);
      for (const extent of readers.cold.bounds().extents) state.cold.open(extent.first);
    }
  }

  private async acquire(state: ShardState): Promise<LogReader> {
    let opened = false;
    const { writer, reader } = await this.store.acquire(COLD_LOG, "broker", {
      onCommitted: (position) => this.coldCommitted(position),
      onExtent: (first) => {
        if (opened) state.cold.open(first);
      },
      onSpace: () => undefined,
    });
    const known = state.cold.list.at(-1)?.first ?? 0;
    for (const extent of reader.bounds().extents) if (extent.first > known) state.cold.open(extent.first);
    opened = true;
    this.coldWriter = writer;
    void writer.ended.then((error) => {
      if (error === undefined) return;
      this.stopped = true;
      this.coldFailed = true;
      for (const waiter of this.coldWaiters.splice(0)) waiter.fail(error);
      this.logger.error("The cold log has failed; disk space is not reclaimed until the next start.", {
        reason: error.message,
      });
    });
    return reader;
  }

  attach(shard: Shard, snapshotter: Snapshotter): void {
    this.shard = shard;
    this.snapshotter = snapshotter;
  }

  /** Bytes of both logs on disk. */
  get usedBytes(): number {
    const { main, cold } = this.shard!.readers;
    return extentBytes(main) + (cold === undefined ? 0 : extentBytes(cold));
  }

  /** Looks whether there is something to clean. Called after each commit; looks ten times a second. */
  startWhenDue(): void {
    const shard = this.shard!;
    const { coldWriter } = this;
    if (coldWriter !== undefined) {
      shard.state.cold.collect(shard.committed, Number.MAX_SAFE_INTEGER, (first, end) => coldWriter.free(first, end));
    }
    const now = this.clock.monotonicMs();
    if (this.busy || this.stopped || now - this.lastCheckMs < 100 || now - this.failedAtMs < 1000) return;
    this.lastCheckMs = now;
    // What is drained waits for a snapshot only, and the log may not grow enough to make one due.
    if (this.isShort && this.snapshotHelps()) void this.snapshotter!.take();
    const slackBytes = this.isShort ? this.slackBytes * SHORT_SLACK : this.slackBytes;
    if (this.usedBytes > 2 * shard.state.liveBytes + slackBytes) this.begin(LIVE_SHARE_MAX);
    else this.begin(NEARLY_EMPTY_SHARE);
  }

  /** Publishers are blocked for want of space, or no longer: until then space is freed more eagerly. */
  setShort(source: SpaceSource, isShort: boolean): void {
    if (isShort) this.shortBy.add(source);
    else this.shortBy.delete(source);
    if (this.isShort && this.shortTimer === undefined) this.lookWhileShort();
  }

  private get isShort(): boolean {
    return this.shortBy.size > 0;
  }

  private lookWhileShort(): void {
    this.shortTimer = undefined;
    if (this.stopped || !this.isShort) return;
    this.startWhenDue();
    this.shortTimer = this.clock.after(SHORT_LOOK_MS, () => this.lookWhileShort());
  }

  get busy(): boolean {
    return this.victim !== undefined;
  }

  private begin(shareMax: number): void {
    const victim = this.choose(shareMax);
    if (victim === undefined) {
      if (shareMax === LIVE_SHARE_MAX && this.snapshotHelps()) void this.snapshotter!.take();
      return;
    }
    this.victim = victim;
    this.rows = [];
    this.scan = this.scanRows(victim);
    this.shard!.schedule();
  }

  /** The emptiest extent of either log that has at most this share of live bytes and may be freed afterwards. */
  private choose(shareMax: number): Victim | undefined {
    const { state, snapshotStart } = this.shard!;
    let best: { readonly state: ExtentState; readonly victim: Victim; readonly share: number } | undefined;
    for (const cold of [false, true]) {
      const extents = cold ? state.cold : state.main;
      const reader = cold ? this.shard!.readers.cold : this.shard!.readers.main;
      const sizes = new Map(reader?.bounds().extents.map((extent) => [extent.first, extent.bytes]));
      for (let i = 0; i + 1 < extents.list.length; i++) {
        const candidate = extents.list[i]!;
        const end = extents.list[i + 1]!.first;
        if (candidate.references === 0 || (!cold && end > snapshotStart)) continue;
        if (this.unreadable.has(locationKey(candidate.first, cold))) continue;
        const share = candidate.bytes / (sizes.get(candidate.first) ?? 1);
        if (share > shareMax || (best !== undefined && share >= best.share)) continue;
        best = { state: candidate, victim: { cold, first: candidate.first, end }, share };
      }
    }
    return best?.victim;
  }

  /** True when an extent that is less than half live only waits for a newer snapshot. */
  private snapshotHelps(): boolean {
    const { state, snapshotStart, readers } = this.shard!;
    const sizes = new Map(readers.main.bounds().extents.map((extent) => [extent.first, extent.bytes]));
    return state.main.list.slice(0, -1).some((extent, i) => {
      const end = state.main.list[i + 1]!.first;
      return end > snapshotStart && extent.bytes <= LIVE_SHARE_MAX * (sizes.get(extent.first) ?? 0);
    });
  }

  slice(deadlineMs: number): boolean {
    const { scan } = this;
    if (scan === undefined) return false;
    while (this.clock.monotonicMs() < deadlineMs) {
      if (scan.next().done !== true) continue;
      this.scan = undefined;
      this.moving = this.move(this.victim!).then(
        () => this.done(),
        (error: Error) => this.failed(error),
      );
      return false;
    }
    return true;
  }

  private *scanRows(victim: Victim): Generator<void, void, void> {
    const { state } = this.shard!;
    for (const queueId of [...state.queues.keys()]) {
      const queue = state.queues.get(queueId);
      if (queue === undefined) continue;
      for (const lane of queue.lanes) {
        for (const number of [...lane.pages.keys()]) {
          const page = lane.pages.get(number);
          if (page === undefined || !overlaps(page, victim)) continue;
          this.collect(page, victim, { queueId, lane: lane.index, base: number * state.pageRows });
          yield;
        }
      }
      yield;
    }
  }

  private collect(
    page: Page,
    victim: Victim,
    at: { readonly queueId: number; readonly lane: number; readonly base: number },
  ): void {
    for (let row = page.find(0, LIVE); row >= 0; row = page.find(row + 1, LIVE)) {
      const state = page.state(row);
      if ((state & COLD) !== (victim.cold ? COLD : 0) || (state & (TRANSIENT | SPILLED)) === TRANSIENT) continue;
      const position = page.position(row);
      if (position < victim.first || position >= victim.end) continue;
      this.rows.push({
        queueId: at.queueId,
        lane: at.lane,
        sequence: at.base + row,
        position,
        offset: page.offset(row),
        size: page.size(row),
      });
    }
  }

  /** Copies the bodies batch by batch, then points the rows at the copies. */
  private async move(victim: Victim): Promise<void> {
    const shard = this.shard!;
    if (this.coldWriter === undefined) {
      if (shard.readers.cold === undefined) await this.store.create(COLD_LOG);
      shard.readers.cold = await this.acquire(shard.state);
    }
    const rows = this.rows.sort((a, b) => a.position - b.position || a.offset - b.offset);
    for (let from = 0; from < rows.length && !this.stopped; ) {
      const to = batchEnd(rows, from);
      await this.moveBatch(victim, rows.slice(from, to));
      from = to;
    }
  }

  private async moveBatch(victim: Victim, rows: readonly LiveRow[]): Promise<void> {
    const shard = this.shard!;
    const reader = victim.cold ? shard.readers.cold! : shard.readers.main;
    const positions = [...new Set(rows.map((row) => row.position))];
    const entries = new Map((await reader.fetch(positions)).map((entry) => [entry.position, entry.payload]));
    const parts: Buffer[] = [];
    const moves: Move[] = [];
    let at = 0;
    let last: Move | undefined;
    for (const row of rows) {
      const same = last !== undefined && last.row.position === row.position && last.row.offset === row.offset;
      if (!same) {
        const record = Buffer.alloc(align8(row.size));
        const start = row.offset * 8;
        entries.get(row.position)!.copy(record, 0, start, start + row.size);
        parts.push(record);
        last = { row, offset: at / 8 };
        at += record.length;
      }
      moves.push({ row, offset: last!.offset });
    }
    const position = this.coldWriter!.append(parts);
    this.movedBytes += at;
    await new Promise<void>((done, fail) => {
      this.coldWaiters.push({ position, done, fail });
    });
    this.relocate(moves, position);
  }

  /** Points the rows that are still where they were at their copies. */
  private relocate(moves: readonly Move[], position: number): void {
    const shard = this.shard!;
    const groups = new Map<string, { sequence: number; position: number; offset: number }[]>();
    shard.journal.flush();
    for (const { row, offset } of moves) {
      const lane = shard.state.lane(row.queueId, row.lane);
      const page = lane?.page(Math.floor(row.sequence / shard.state.pageRows));
      if (lane === undefined || page === undefined) continue;
      const at = lane.rowOf(row.sequence);
      const state = page.state(at);
      if ((state & STATE_MASK) === 0) continue;
      assert(page.position(at) === row.position && page.offset(at) === row.offset, "only the cleaner moves bodies");
      lane.applyRelocate(row.sequence, position, offset);
      if ((state & TRANSIENT) !== 0) continue;
      const key = `${row.queueId}/${row.lane}`;
      let group = groups.get(key);
      if (group === undefined) groups.set(key, (group = []));
      group.push({ sequence: row.sequence, position, offset });
    }
    for (const [key, group] of groups) {
      const [queueId, lane] = key.split("/");
      for (let from = 0; from < group.length; from += MOVES_MAX) {
        shard.journal.writeRelocate(Number(queueId), Number(lane), group.slice(from, from + MOVES_MAX));
      }
    }
    shard.schedule();
  }

  private coldCommitted(position: number): void {
    let done = 0;
    while (done < this.coldWaiters.length && this.coldWaiters[done]!.position <= position) done++;
    for (const waiter of this.coldWaiters.splice(0, done)) waiter.done();
  }

  private done(): void {
    this.cleanedExtents++;
    this.lastCheckMs = Number.NEGATIVE_INFINITY; // there may be more: look at the next commit
    this.victim = undefined;
    this.moving = undefined;
    this.rows = [];
    this.shard!.schedule();
  }

  private failed(error: Error): void {
    const victim = this.victim!;
    if (error instanceof StorageError && error.kind === "damaged") {
      this.unreadable.add(locationKey(victim.first, victim.cold));
      this.lastCheckMs = Number.NEGATIVE_INFINITY; // another may be cleaned: look at the next commit
    } else {
      this.failedAtMs = this.clock.monotonicMs();
    }
    this.victim = undefined;
    this.moving = undefined;
    this.rows = [];
    this.logger.warn("Disk space could not be reclaimed now; it is tried again.", { reason: error.message });
  }

  /** Finishes the batch under way and starts no other. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.shortTimer?.cancel();
    this.scan = undefined;
    await this.moving;
  }

  async release(): Promise<void> {
    if (this.coldWriter !== undefined && !this.coldFailed) await this.coldWriter.release();
  }
}

/** The end of the batch that starts with row `from`; the rows are sorted by position. */
function batchEnd(rows: readonly LiveRow[], from: number): number {
  let bytes = align8(rows[from]!.size);
  let entries = 1;
  for (let to = from + 1; to < rows.length; to++) {
    bytes += align8(rows[to]!.size);
    if (rows[to]!.position !== rows[to - 1]!.position) entries++;
    if (bytes > BATCH_BYTES || entries > BATCH_ENTRIES_MAX) return to;
  }
  return rows.length;
}

function extentBytes(reader: LogReader): number {
  let bytes = 0;
  for (const extent of reader.bounds().extents) bytes += extent.bytes;
  return bytes;
}

/** Cold positions are not covered by a page's range: any page may hold some. */
function overlaps(page: Page, victim: Victim): boolean {
  return victim.cold || (page.positionMin < victim.end && page.positionMax >= victim.first);
}
