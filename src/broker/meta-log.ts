// The meta log: what of vhosts, users, policies, exchanges, queues and bindings survives a restart.
// Decide -> append -> apply: an effect is appended before it is applied, and what a client is told waits
// for its commit. Entries are JSON text, since the control plane is small and rare:
//
//   {"format": 2, "effects": [...]}
//   {"format": 2, "snapshot": {"part": 0, "last": false}, "effects": [...]}     the whole state, in parts
//
// A snapshot is taken when the log has grown enough. It is the state at its first part; each further
// part is appended when the one before is committed, so that a large state stops nobody, and effects
// appended meanwhile lie between the parts. What lies before the first part is freed once the last one
// is committed (never earlier: a crash would find neither).

import { assert } from "../assert.ts";
import type { LogStore, LogWriter } from "../log/log.ts";
import { BrokerError, StorageError } from "../model/errors.ts";
import type { Logger } from "../ports/logger.ts";
import { effectToJson, type Effect } from "./effects.ts";
import { META_FORMAT, MetaReplay, type SnapshotPart } from "./meta-replay.ts";
import type { MetaState } from "./meta-state.ts";

const META_LOG = "meta";

/** A snapshot is due when so many bytes of effects follow the last one, or twice its size if that is more. */
export interface SnapshotLimits {
  readonly runningBytes: number;
  readonly startBytes: number;
  /** Effects of a snapshot are cut into entries of about this size. */
  readonly partBytes: number;
}

export const SNAPSHOT_LIMITS: SnapshotLimits = {
  runningBytes: 16 * 1024 * 1024,
  startBytes: 1024 * 1024,
  partBytes: 128 * 1024,
};

export interface MetaLogOptions {
  readonly store: LogStore;
  readonly logger: Logger;
  readonly limits: SnapshotLimits;
  readonly onSpace: (state: "ok" | "low") => void;
}

interface Waiter {
  readonly position: number;
  readonly done: () => void;
}

/** A snapshot on its way into the log. */
interface PendingSnapshot {
  /** The state when it began; effects do not change. */
  readonly effects: readonly Effect[];
  /** How many of them are in parts that were appended. */
  encoded: number;
  parts: number;
  bytes: number;
  /** Positions of its first and of its newest part. */
  start: number;
  newest: number;
}

export class MetaLog {
  readonly #writer: LogWriter;
  readonly #options: MetaLogOptions;
  #waiters: Waiter[] = [];
  /** Position of the last effect that was appended here; the log's own entries are no one's to wait for. */
  #lastAppended = 0;
  #bytesSinceSnapshot = 0;
  #snapshotBytes = 0;
  #failure: StorageError | undefined;
  #onCommitted: () => void = () => undefined;
  #pendingSnapshot: PendingSnapshot | undefined;

  private constructor(writer: LogWriter, options: MetaLogOptions) {
    this.#writer = writer;
    this.#options = options;
    void writer.ended.then((error) => {
      this.#failure ??= error;
    });
  }

  /** Acquires the log and replays it. Throws StorageError. */
  static async open(options: MetaLogOptions): Promise<{ readonly meta: MetaLog; readonly state: MetaState }> {
    const { store } = options;
    if (!(await store.list(META_LOG)).includes(META_LOG)) await store.create(META_LOG);
    const opened: { meta?: MetaLog } = {};
    const { writer, reader } = await store.acquire(META_LOG, "broker", {
      onCommitted: (position) => opened.meta?.noteCommitted(position),
      onExtent: () => undefined,
      onSpace: options.onSpace,
    });
    const bounds = reader.bounds();
    const replay = new MetaReplay(bounds.first);
    for await (const entries of reader.read(bounds.first)) {
      for (const entry of entries) replay.take(entry);
    }
    replay.finish();
    const meta = new MetaLog(writer, options);
    opened.meta = meta;
    meta.#start(replay, bounds.first);
    return { meta, state: replay.state };
  }

  /** Set when storage failed: nothing that is not committed by now ever will be. */
  get failure(): StorageError | undefined {
    return this.#failure;
  }

  /** Settles when the log is finished: undefined after `release`, the error after a failure. */
  get ended(): Promise<StorageError | undefined> {
    return this.#writer.ended;
  }

  /** The last appended effect is durable. */
  get isCommitted(): boolean {
    return this.#writer.committed >= this.#lastAppended;
  }

  get committed(): number {
    return this.#writer.committed;
  }

  /** Appends effects as one atomic entry; returns its position. Throws "unavailable" when storage failed. */
  append(effects: readonly Effect[]): number {
    assert(effects.length > 0, "an entry holds effects");
    const payload = encodeEntry(effects.map(encodeEffect));
    this.#lastAppended = this.#append(payload);
    this.#bytesSinceSnapshot += payload.length;
    return this.#lastAppended;
  }

  /** `listener` is called when the watermark rose. */
  onCommitted(listener: () => void): void {
    this.#onCommitted = listener;
  }

  /** Calls `done` once everything appended so far is durable; at once when it is. */
  whenCommitted(done: () => void): void {
    if (this.isCommitted) done();
    else this.#waiters.push({ position: this.#lastAppended, done });
  }

  /** Appends a snapshot of `state` if the log has grown enough. `state` holds all that was appended. */
  snapshotIfDue(state: MetaState): void {
    if (this.#isDue(this.#options.limits.runningBytes)) this.#snapshot(state);
  }

  /** Like `snapshotIfDue`, with the lower threshold that holds at start. */
  snapshotAtStart(state: MetaState): void {
    if (this.#isDue(this.#options.limits.startBytes)) this.#snapshot(state);
  }

  /** Commits what was appended, then lets go of the log. */
  release(): Promise<void> {
    // A snapshot under way is left unfinished: its next part would come after the end.
    this.#pendingSnapshot = undefined;
    return this.#writer.release();
  }

  /** The engine announced a new watermark. */
  private noteCommitted(position: number): void {
    const ready = this.#waiters.filter((waiter) => waiter.position <= position);
    if (ready.length > 0) this.#waiters = this.#waiters.filter((waiter) => waiter.position > position);
    this.#goOnWithSnapshot(position);
    for (const waiter of ready) waiter.done();
    this.#onCommitted();
  }

  #start(replay: MetaReplay, first: number): void {
    this.#bytesSinceSnapshot = replay.bytesSinceSnapshot;
    this.#snapshotBytes = replay.snapshotBytes;
    // A crash may have come between the commit of a snapshot and the freeing of what lies before it.
    if (replay.snapshotStart > first) this.#writer.free(first, replay.snapshotStart);
  }

  #isDue(thresholdBytes: number): boolean {
    return (
      this.#pendingSnapshot === undefined &&
      this.#bytesSinceSnapshot > Math.max(thresholdBytes, 2 * this.#snapshotBytes)
    );
  }

  #snapshot(state: MetaState): void {
    const effects = [...state.durableState()];
    const pending = { effects, encoded: 0, parts: 0, bytes: 0, start: 0, newest: 0 };
    this.#pendingSnapshot = pending;
    this.#bytesSinceSnapshot = 0;
    this.#appendPart(pending);
    pending.start = pending.newest;
  }

  /** The log is committed up to `committed`: the next part may follow, or what is older be freed. */
  #goOnWithSnapshot(committed: number): void {
    const pending = this.#pendingSnapshot;
    if (pending === undefined || pending.newest > committed || this.#failure !== undefined) return;
    if (pending.encoded < pending.effects.length) {
      this.#appendPart(pending);
      return;
    }
    this.#pendingSnapshot = undefined;
    this.#snapshotBytes = pending.bytes;
    this.#writer.free(1, pending.start);
    this.#options.logger.debug("meta log snapshot taken", { parts: pending.parts, bytes: pending.bytes });
  }

  #appendPart(pending: PendingSnapshot): void {
    const { effects } = pending;
    const texts: string[] = [];
    for (let bytes = 0; bytes <= this.#options.limits.partBytes && pending.encoded < effects.length; ) {
      const effect = effects[pending.encoded++];
      assert(effect !== undefined, "a snapshot has no holes");
      const text = encodeEffect(effect);
      texts.push(text);
      bytes += text.length;
    }
    const payload = encodeEntry(texts, { part: pending.parts, last: pending.encoded === effects.length });
    pending.newest = this.#append(payload);
    pending.parts++;
    pending.bytes += payload.length;
  }

  #append(payload: Buffer): number {
    if (this.#failure !== undefined) throw unavailable(this.#failure);
    try {
      return this.#writer.append([payload]);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      this.#failure ??= error;
      throw unavailable(error);
    }
  }
}

/** The refusal that storage's failure turns every request into. */
export function unavailable(cause: StorageError): BrokerError {
  return new BrokerError("unavailable", `storage has failed (${cause.message}); nothing is accepted until a restart`, {
    cause,
  });
}

function encodeEffect(effect: Effect): string {
  return JSON.stringify(effectToJson(effect));
}

function encodeEntry(effects: readonly string[], snapshot?: SnapshotPart): Buffer {
  const head = snapshot === undefined ? "" : `"snapshot":${JSON.stringify(snapshot)},`;
  return Buffer.from(`{"format":${META_FORMAT},${head}"effects":[${effects.join(",")}]}`);
}
