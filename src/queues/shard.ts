// A shard: the single-threaded state machine of many queues over one log (ShardPort). Path of every
// change: decide -> effect in the open entry -> apply; nothing is rolled back, a failed log ends the
// shard. Work is collected per event-loop turn:
//
//   socket data -> publish, settle, requeue ... -> run(): flush and seal -> deliver -> doors write
//   log commit  -> confirms, messages that were to be durable first, freed extents
//
// Order 6 of the engine: a position is announced through `committed` only after the log's watermark
// passed it.

import { assert } from "../assert.ts";
import type { LogReader, LogWriter } from "../log/log.ts";
import { SETTLE_PURGED } from "../model/delivery.ts";
import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import { BrokerError, type StorageError } from "../model/errors.ts";
import { type IncomingMessage, recordSize, writeRecord } from "../model/message.ts";
import type { Clock, Timer, Turn } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import { Bodies } from "./bodies.ts";
import { align8, ENQUEUE_HEADER_BYTES, ENQUEUE_REF_BYTES } from "./effects.ts";
import { CommitPacer } from "./commit-pacer.ts";
import { Journal } from "./journal.ts";
import type { Lane } from "./lane.ts";
import { IN_FLIGHT, SPILLED, STATE_MASK, TRANSIENT } from "./page.ts";
import type { Queue } from "./queue.ts";
import { Reclaimer } from "./reclaimer.ts";
import { Serving } from "./serving.ts";
import type { ShardOptions } from "./shard-options.ts";
import type {
  DeadLetterRouter,
  QueueCounts,
  QueueSettings,
  ReturnCause,
  SettleReason,
  ShardCounters,
  ShardPort,
} from "./shard-port.ts";
import { settingsToFlags, type ShardState } from "./shard-state.ts";

/** Work in slices, done between turns: purges, snapshots, cleaning. */
export interface SlicedWork {
  /** Works until `deadlineMs` (monotonic) at the latest; true when there is more to do right away. */
  slice(deadlineMs: number): boolean;
  /** The shard's log has failed: there will be no further slice. */
  abandon?(error: StorageError): void;
}

/** What recovery hands over. */
export interface RecoveredShard {
  readonly state: ShardState;
  readonly writer: LogWriter;
  readonly readers: { readonly main: LogReader; cold: LogReader | undefined };
  readonly snapshotStart: number;
}

export class Shard implements ShardPort {
  readonly counters: ShardCounters = {
    published: 0,
    delivered: 0,
    redelivered: 0,
    acked: 0,
    requeued: 0,
    purged: 0,
    dropped: 0,
    expired: 0,
    deadLettered: 0,
    refused: 0,
    deduplicated: 0,
  };
  readonly state: ShardState;
  readonly journal: Journal;
  readonly readers: { readonly main: LogReader; cold: LogReader | undefined };
  readonly reclaimer: Reclaimer;
  /** Start of the newest complete snapshot: extents that end there or before may be freed. */
  snapshotStart: number;
  failure: StorageError | undefined = undefined;
  congested = false;
  /** Group commits so far. */
  commits = 0;

  private readonly options: ShardOptions;
  private readonly clock: Clock;
  private readonly turn: Turn;
  private readonly logger: Logger;
  private readonly writer: LogWriter;
  private readonly bodies: Bodies;
  private readonly serving: Serving;
  /** Where dead letters go; without one they are dropped. */
  deadLetterRouter: DeadLetterRouter | undefined = undefined;
  private readonly slicedWork: SlicedWork[] = [];
  private turnEnd: (() => void)[] = [];
  private turnEndRunning: (() => void)[] = [];
  private readonly waiters: { readonly position: number; readonly done: () => void }[] = [];
  private scheduled = false;
  private isReleased = false;
  private lazyTimer: Timer | undefined = undefined;
  private pacing: Timer | undefined = undefined;
  private readonly pacer = new CommitPacer();
  private readonly run = (): void => this.runTurn();
  private readonly wake = (queue: Queue): void => {
    this.serving.mark(queue);
    this.schedule();
  };

  constructor(recovered: RecoveredShard, options: ShardOptions) {
    this.options = options;
    this.clock = options.clock;
    this.turn = options.turn;
    this.logger = options.logger;
    this.state = recovered.state;
    this.writer = recovered.writer;
    this.readers = recovered.readers;
    this.snapshotStart = recovered.snapshotStart;
    const parameters = options.parameters;
    this.journal = new Journal({
      writer: recovered.writer,
      state: recovered.state,
      parameters,
      onFailure: (error) => this.fail(error),
    });
    this.bodies = new Bodies({
      state: this.state,
      slabs: this.journal.slabs,
      readers: this.readers,
      parameters,
      wake: this.wake,
      onDamage: (queue, error) => this.damaged(queue, error),
    });
    this.serving = new Serving({
      clock: this.clock,
      journal: this.journal,
      bodies: this.bodies,
      counters: this.counters,
      parameters,
    });
    this.reclaimer = new Reclaimer(this.state, this.clock);
    this.slicedWork.push(this.reclaimer);
    void recovered.writer.ended.then((error) => {
      if (error !== undefined) this.fail(error);
    });
  }

  get openPosition(): number {
    return this.journal.openPosition;
  }

  get committed(): number {
    return this.journal.committed;
  }

  get backlogBytes(): number {
    return this.journal.backlogBytes;
  }

  createQueue(queueId: number, settings: QueueSettings): void {
    this.state.addQueue(queueId, settings);
    if (settings.durable) {
      this.journal.writeQueueCreate(queueId, settingsToFlags(settings));
      this.schedule();
    }
  }

  configureQueue(queueId: number, settings: QueueSettings): void {
    const queue = this.queue(queueId);
    const { durable, deliverAfterCommit } = queue.settings;
    assert(settings.durable === durable, "a queue stays durable or not");
    queue.settings = { ...settings, durable, deliverAfterCommit };
    if (queue.wanted) this.wake(queue);
  }

  setDeadLetterRouter(router: DeadLetterRouter): void {
    this.deadLetterRouter = router;
  }

  deleteQueue(queueId: number): number {
    const queue = this.queue(queueId);
    const { ready } = queue.counts();
    for (const lane of queue.lanes) this.journal.flushLane(queue, lane);
    queue.deleted = true;
    this.state.queues.delete(queueId);
    if (queue.settings.durable) this.journal.writeQueueDelete(queueId);
    this.bodies.release(queue);
    for (const consumer of [...queue.consumers()]) {
      queue.removeConsumer(consumer);
      consumer.sink.cancelled();
    }
    for (const take of queue.takes.splice(0)) take.done(false);
    this.reclaimer.addQueue(queue);
    this.counters.dropped += ready;
    this.schedule();
    return ready;
  }

  hasQueue(queueId: number): boolean {
    return this.state.queues.has(queueId);
  }

  queueIds(): IterableIterator<number> {
    return this.state.queues.keys();
  }

  counts(queueId: number): QueueCounts {
    return this.queue(queueId).counts();
  }

  purge(queueId: number): number {
    const queue = this.queue(queueId);
    let purged = 0;
    for (const lane of queue.lanes) {
      this.journal.flushLane(queue, lane);
      const from = lane.cursor;
      while (lane.ready > lane.purging && lane.head() && lane.headSequence < from) {
        this.settleRow(queue, lane, lane.headSequence, SETTLE_PURGED);
        purged++;
      }
      const unseen = lane.ready - lane.purging;
      if (unseen === 0) continue;
      purged += unseen;
      this.journal.flushLane(queue, lane);
      if (queue.settings.durable) this.journal.writePurge(queueId, lane.index, from, lane.next);
      lane.purging += unseen;
      lane.purgingBytes = lane.readyBytes;
      this.reclaimer.addPurge(lane, from, lane.next);
      lane.cursor = lane.next;
      lane.marked = lane.next;
    }
    this.counters.purged += purged;
    this.bodies.release(queue);
    queue.repaired();
    this.schedule();
    return purged;
  }

  publish(message: IncomingMessage, queueIds: readonly number[]): number {
    if (this.failure !== undefined) throw new BrokerError("unavailable", "the log has failed; nothing is stored");
    if (this.isReleased) throw new BrokerError("shutting-down", "the broker is stopping; nothing is stored any more");
    if (queueIds.length === 0) return 0;
    const size = recordSize(message);
    // All of its rows are one entry: a fan-out to very many queues may not fit one.
    if (ENQUEUE_HEADER_BYTES + align8(size) + queueIds.length * ENQUEUE_REF_BYTES > this.options.maxEntryBytes) {
      throw new BrokerError(
        "too-large",
        `a message of ${size} bytes to ${queueIds.length} queues does not fit one log entry`,
      );
    }
    this.counters.published++;
    if (message.persistent) {
      for (let i = 0; i < queueIds.length; i++) {
        if (this.state.queues.get(queueIds[i]!)?.settings.durable === true) {
          return this.publishLogged(message, size, queueIds, true);
        }
      }
    }
    if (!this.state.transient.reserve(size)) return this.publishLogged(message, size, queueIds, false);
    const { bytes, offset, slabId } = this.state.transient;
    writeRecord(message, bytes, offset);
    for (let i = 0; i < queueIds.length; i++) {
      const queue = this.queue(queueIds[i]!);
      const lane = queue.lanes[0]!;
      lane.applyEnqueue(lane.next, TRANSIENT, slabId, offset / 8, size);
      if (queue.wanted) this.serving.mark(queue);
    }
    this.schedule();
    return 0;
  }

  /** The body goes to the log; rows of durable queues too when `owned` (the message is persistent). */
  private publishLogged(message: IncomingMessage, size: number, queueIds: readonly number[], owned: boolean): number {
    const { journal, state } = this;
    const recordAt = journal.openRecord(size, queueIds.length - 1, owned);
    writeRecord(message, journal.slabs.bytes, recordAt);
    const position = journal.openPosition;
    const offset = (recordAt - journal.slabs.start) / 8;
    let named = !owned;
    for (let i = 0; i < queueIds.length; i++) {
      const queueId = queueIds[i]!;
      const queue = state.queues.get(queueId);
      assert(queue !== undefined, "a route leads to existing queues");
      const lane = queue.lanes[0]!;
      const sequence = lane.next;
      if (!owned || !queue.settings.durable) {
        lane.applyEnqueue(sequence, TRANSIENT | SPILLED, position, offset, size);
      } else {
        if (named) journal.addReference(queueId, 0, sequence, { state: 0, position, offset, size });
        else journal.nameRecord(recordAt, queueId, 0, sequence);
        named = true;
        lane.applyEnqueue(sequence, 0, position, offset, size);
      }
      if (queue.wanted) this.serving.mark(queue);
    }
    if (owned) {
      journal.urgent = true;
      journal.openMessages++;
    }
    if (!this.congested && journal.backlogBytes > this.options.parameters.commitBacklogHighBytes) {
      this.congested = true;
      this.options.events.onFlow();
    }
    this.schedule();
    return owned ? position : 0;
  }

  atomically(bytes: number, work: () => void): void {
    if (this.isOver || bytes > this.options.maxEntryBytes) work();
    else this.journal.atomically(bytes, work);
    this.schedule();
  }

  consume(queueId: number, sink: DeliverySink, options: ConsumeOptions): Consumer {
    const consumer = this.queue(queueId).addConsumer(sink, options, this.wake);
    consumer.resume();
    return consumer;
  }

  take(queueId: number, noAck: boolean, sink: DeliverySink, done: (found: boolean) => void): void {
    const queue = this.queue(queueId);
    if (queue.damage !== undefined) {
      throw new BrokerError("unavailable", `a message cannot be read back: ${queue.damage.message}`);
    }
    queue.takes.push({ noAck, sink, done });
    this.wake(queue);
  }

  settle(queueId: number, laneIndex: number, first: number, last: number, reason: SettleReason): void {
    const queue = this.state.queues.get(queueId);
    if (queue === undefined) return; // deleted meanwhile, and its messages with it
    const lane = queue.lanes[laneIndex]!;
    for (let sequence = first; sequence <= last; sequence++) this.settleRow(queue, lane, sequence, reason, IN_FLIGHT);
    this.counters.acked += last - first + 1;
    this.schedule();
  }

  private settleRow(queue: Queue, lane: Lane, sequence: number, reason: SettleReason, expected?: number): void {
    const state = lane.applySettle(sequence);
    assert(state >= 0, "a settled message is there");
    assert(expected === undefined || (state & STATE_MASK) === expected, "an acked message is in flight");
    if ((state & TRANSIENT) === 0) this.journal.noteSettled(queue, lane, sequence, reason);
  }

  requeue(queueId: number, laneIndex: number, sequence: number, _cause: ReturnCause): void {
    const queue = this.state.queues.get(queueId);
    if (queue === undefined) return;
    const lane = queue.lanes[laneIndex]!;
    this.journal.flushLane(queue, lane);
    const page = lane.page(Math.floor(sequence / this.state.pageRows));
    assert(page !== undefined, "a requeued message is there");
    const deliveries = page.deliveries(lane.rowOf(sequence)) + 1;
    const state = lane.applyReturn(sequence, deliveries);
    assert(state >= 0, "a requeued message is in flight");
    if ((state & TRANSIENT) === 0) this.journal.writeReturn(queueId, laneIndex, sequence, deliveries);
    this.counters.requeued++;
    if (queue.wanted) this.serving.mark(queue);
    this.schedule();
  }

  whenCommitted(done: () => void): void {
    this.journal.flush();
    const position = this.journal.lastPosition;
    if (position <= this.journal.committed) {
      done();
      return;
    }
    this.waiters.push({ position, done });
    this.journal.urgent = true;
    this.schedule();
  }

  /** Runs `work` once at the end of this turn, after the deliveries. */
  atTurnEnd(work: () => void): void {
    this.turnEnd.push(work);
    this.schedule();
  }

  /** Adds work that is done in slices between turns; it is asked again after `schedule`. */
  addSlicedWork(work: SlicedWork): void {
    this.slicedWork.push(work);
    this.schedule();
  }

  schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    this.turn.schedule(this.run);
  }

  /** Nothing can be logged any more, so nothing is delivered either. */
  private get isOver(): boolean {
    return this.failure !== undefined || this.isReleased;
  }

  private runTurn(): void {
    this.scheduled = false;
    if (!this.isOver) {
      this.journal.flush();
      this.sealWhenDue();
      this.serving.serve();
      this.journal.flush();
    }
    this.runTurnEnd();
    if (this.isOver) return;
    let more = this.serving.busy;
    const deadline = this.clock.monotonicMs() + this.options.parameters.sliceBudgetMs;
    for (const work of this.slicedWork) if (work.slice(deadline)) more = true;
    this.sealWhenDue();
    if (more) this.schedule();
    if (this.journal.slabs.openBytes > 0) this.armLazyCommit();
  }

  private runTurnEnd(): void {
    const works = this.turnEnd;
    this.turnEnd = this.turnEndRunning;
    for (let i = 0; i < works.length; i++) works[i]!();
    works.length = 0;
    this.turnEndRunning = works;
  }

  /** Seals now, or when the commit under way is done: what arrives meanwhile is the next group. */
  private sealWhenDue(): void {
    if (this.isReleased || !this.journal.urgent || this.journal.commitUnderWay || this.pacing !== undefined) return;
    if (!this.pacer.shouldWait(this.journal.openMessages)) {
      this.seal();
      return;
    }
    this.pacing = this.clock.after(this.options.parameters.commitDelayMs, () => {
      this.pacing = undefined;
      this.pacer.waited(this.journal.openMessages);
      if (this.failure === undefined) this.seal();
    });
  }

  /** Hands everything applied so far to the log. */
  seal(): void {
    this.journal.flush();
    this.journal.seal();
  }

  /** Settles and deliveries alone start a commit after at most this long. */
  private armLazyCommit(): void {
    if (this.lazyTimer !== undefined) return;
    this.lazyTimer = this.clock.after(this.options.parameters.lazyCommitMs, () => {
      this.lazyTimer = undefined;
      if (this.failure === undefined) this.seal();
    });
  }

  /** The log's watermark rose (WriterEvents.onCommitted). */
  onCommitted(position: number): void {
    const { journal } = this;
    journal.committed = position;
    this.commits++;
    this.sealWhenDue();
    this.serving.committed();
    if (this.serving.busy) this.schedule();
    if (this.congested && journal.backlogBytes < this.options.parameters.commitBacklogLowBytes) {
      this.congested = false;
      this.options.events.onFlow();
    }
    let done = 0;
    while (done < this.waiters.length && this.waiters[done]!.position <= position) done++;
    for (const waiter of this.waiters.splice(0, done)) waiter.done();
    this.options.events.onCommitted();
    this.collectExtents();
    for (const work of this.options.onCommit) work();
  }

  /** A new extent of the main log starts (WriterEvents.onExtent). */
  onExtent(first: number): void {
    this.state.main.open(first);
  }

  /** Frees what is empty by committed decisions and lies before the newest snapshot. */
  collectExtents(): void {
    this.state.main.collect(this.journal.committed, this.snapshotStart, (first, end) => this.writer.free(first, end));
  }

  private queue(queueId: number): Queue {
    const queue = this.state.queues.get(queueId);
    assert(queue !== undefined, "the broker names existing queues");
    return queue;
  }

  private damaged(queue: Queue, error: Error): void {
    queue.damage = error;
    for (const take of queue.takes.splice(0)) take.done(false);
    this.logger.error("A message could not be read back; its queue delivers nothing more until a purge or a restart.", {
      queueId: queue.id,
      reason: error.message,
    });
  }

  private fail(error: StorageError): void {
    if (this.failure !== undefined) return;
    if (this.isReleased && error.kind === "closed") return; // a door that lingers still settles
    this.failure = error;
    this.lazyTimer?.cancel();
    this.pacing?.cancel();
    for (const work of this.slicedWork) work.abandon?.(error);
    this.options.events.onFailed(error);
  }

  /** Commits what was applied, then lets go of the log. */
  async release(): Promise<void> {
    if (this.failure === undefined) this.seal();
    this.isReleased = true;
    this.lazyTimer?.cancel();
    this.pacing?.cancel();
    await this.writer.release();
  }
}
