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
import { SETTLE_DELIVERY_LIMIT, SETTLE_EXPIRED, SETTLE_PURGED, SETTLE_REJECTED } from "../model/delivery.ts";
import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import { BrokerError, type StorageError } from "../model/errors.ts";
import type { IncomingMessage } from "../model/message.ts";
import type { Clock, Timer, Turn } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import { Bodies } from "./bodies.ts";
import { CommitPacer } from "./commit-pacer.ts";
import { Departures } from "./departures.ts";
import { Enqueuing } from "./enqueuing.ts";
import { Journal } from "./journal.ts";
import type { Lane } from "./lane.ts";
import { IN_FLIGHT, STATE_MASK, TRANSIENT } from "./page.ts";
import { peek } from "./peek.ts";
import type { Queue } from "./queue.ts";
import { QueueConsumer } from "./queue-consumers.ts";
import { Reclaimer } from "./reclaimer.ts";
import { Serving } from "./serving.ts";
import type { ShardOptions } from "./shard-options.ts";
import type {
  DeadLetterRouter,
  Peeked,
  PeekOptions,
  QueueCounts,
  QueueSettings,
  RetrySettings,
  ReturnCause,
  SettleReason,
  ShardCounters,
  ShardPort,
} from "./shard-port.ts";
import { settingsToFlags, type ShardState } from "./shard-state.ts";
import { ShardTime } from "./shard-time.ts";
import { Wakes } from "./wakes.ts";

/** A message that was delivered so often is slowed, by a millisecond more each time, up to the other one. */
const HOT_DELIVERIES = 32;
const HOT_DELAY_MAX_MS = 50;

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
  private readonly time: ShardTime;
  private readonly wakes: Wakes;
  private readonly enqueuing: Enqueuing;
  private readonly departures: Departures;
  private readonly slicedWork: SlicedWork[] = [];
  private turnEnd: (() => void)[] = [];
  private turnEndRunning: (() => void)[] = [];
  private readonly waiters: { readonly position: number; readonly done: () => void }[] = [];
  private scheduled = false;
  private isReleased = false;
  /** The broker has told what its queues do: until then nothing expires that might be a dead letter. */
  private isConfigured = false;
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
    this.time = new ShardTime(this.clock);
    this.wakes = new Wakes(this.clock, this.time, () => this.schedule());
    this.enqueuing = new Enqueuing({
      journal: this.journal,
      state: this.state,
      serving: this.serving,
      counters: this.counters,
      time: this.time,
      wakes: this.wakes,
      maxEntryBytes: options.maxEntryBytes,
      appended: () => this.appended(),
    });
    this.departures = new Departures({
      clock: this.clock,
      logger: this.logger,
      journal: this.journal,
      state: this.state,
      bodies: this.bodies,
      enqueuing: this.enqueuing,
      counters: this.counters,
      time: this.time,
      readers: this.readers,
      gone: (queue, lane, sequence) => this.gone(queue, lane, sequence),
      schedule: () => this.schedule(),
    });
    this.serving.onGone = (queue, lane, sequence) => this.gone(queue, lane, sequence);
    this.serving.onExpired = (queue, lane) => this.expireHead(queue, lane);
    for (const queue of this.state.queues.values()) this.wakes.add(queue, nextWake(queue));
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
    queue.configure({ ...settings, durable, deliverAfterCommit });
    this.enqueuing.overfull.add(queue);
    this.schedule();
    if (queue.wanted) this.wake(queue);
  }

  /** Dead letters are on their way: they are in nobody's hands, and still where they were for the log. */
  get isDeparting(): boolean {
    return this.departures.isPending;
  }

  setDeadLetterRouter(router: DeadLetterRouter | undefined): void {
    this.departures.router = router;
    this.isConfigured = true;
    this.schedule();
  }

  deleteQueue(queueId: number): number {
    const queue = this.queue(queueId);
    const { ready } = queue.counts();
    for (const lane of queue.lanes) this.journal.flushLane(queue, lane);
    queue.deleted = true;
    this.state.queues.delete(queueId);
    if (queue.settings.durable) this.journal.writeQueueDelete(queueId);
    this.bodies.release(queue);
    for (const consumer of [...queue.consumers.all()]) {
      queue.consumers.remove(consumer);
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
    for (const { lane, sequence } of queue.groups?.takeParked() ?? []) {
      this.settleRow(queue, lane, sequence, SETTLE_PURGED);
      purged++;
    }
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
    return this.enqueuing.publish(message, queueIds);
  }

  private appended(): void {
    if (!this.congested && this.journal.backlogBytes > this.options.parameters.commitBacklogHighBytes) {
      this.congested = true;
      this.options.events.onFlow();
    }
    this.schedule();
  }

  private expireHead(queue: Queue, lane: Lane): boolean {
    const expiryMs = lane.headPage!.expiry(lane.headRow);
    if (queue.atOnce === lane.headSequence) return false;
    if (expiryMs === 0 || expiryMs > this.time.nowMs()) return false;
    this.departures.leaveReady(queue, lane, lane.headSequence, SETTLE_EXPIRED);
    return true;
  }

  atomically(bytes: number, work: () => void): void {
    if (this.isOver || bytes > this.options.maxEntryBytes) work();
    else this.journal.atomically(bytes, work);
    this.schedule();
  }

  consume(queueId: number, sink: DeliverySink, options: ConsumeOptions): Consumer {
    const queue = this.queue(queueId);
    const consumer = new QueueConsumer(queue, sink, options, this.wake);
    queue.consumers.add(consumer);
    consumer.resume();
    return consumer;
  }

  take(queueId: number, noAck: boolean, sink: DeliverySink, done: (found: boolean) => void): void {
    const queue = this.queue(queueId);
    if (queue.damage !== undefined) {
      throw new BrokerError("unavailable", `a message cannot be read back: ${queue.damage.message}`);
    }
    // What came before is for the consumers that wait, and what is then too much is gone.
    if (queue.consumers.canTake && queue.hasReady) this.serving.serveNow(queue);
    if (this.enqueuing.overfull.has(queue)) this.departures.trim(queue);
    queue.takes.push({ noAck, sink, done });
    this.wake(queue);
  }

  peek(queueId: number, options: PeekOptions): Promise<readonly Peeked[]> {
    return peek(this.queue(queueId), { state: this.state, slabs: this.journal.slabs, readers: this.readers }, options);
  }

  settle(queueId: number, laneIndex: number, first: number, last: number, reason: SettleReason): void {
    const queue = this.state.queues.get(queueId);
    if (queue === undefined) return; // deleted meanwhile, and its messages with it
    const lane = queue.lanes[laneIndex]!;
    if (reason === SETTLE_REJECTED) {
      for (let sequence = first; sequence <= last; sequence++) this.reject(queue, lane, sequence);
    } else {
      for (let sequence = first; sequence <= last; sequence++) this.settleRow(queue, lane, sequence, reason, IN_FLIGHT);
      this.counters.acked += last - first + 1;
      queue.counters.acked += last - first + 1;
    }
    this.schedule();
  }

  private settleRow(queue: Queue, lane: Lane, sequence: number, reason: SettleReason, expected?: number): void {
    const state = lane.applySettle(sequence);
    assert(state >= 0, "a settled message is there");
    assert(expected === undefined || (state & STATE_MASK) === expected, "an acked message is in flight");
    if ((state & TRANSIENT) === 0) this.journal.noteSettled(queue, lane, sequence, reason);
    if (queue.groups !== undefined) this.gone(queue, lane, sequence);
  }

  /** A message is gone for good: the next one of its group takes its place. */
  private gone(queue: Queue, lane: Lane, sequence: number): void {
    const { groups } = queue;
    if (groups === undefined) return;
    const next = groups.release(lane, sequence);
    next?.lane.unpark(next.sequence);
    if (queue.wanted) this.serving.mark(queue);
  }

  /** A message that a consumer does not want back: an attempt that failed where the queue says so, else a dead letter. */
  private reject(queue: Queue, lane: Lane, sequence: number): void {
    if (queue.settings.retry?.rejectsToo === true) this.comeBack(queue, lane, sequence, true);
    else this.departures.leave(queue, lane, sequence, SETTLE_REJECTED);
  }

  requeue(queueId: number, laneIndex: number, sequence: number, cause: ReturnCause): void {
    const queue = this.state.queues.get(queueId);
    if (queue === undefined) return;
    const { retry } = queue.settings;
    const isDelayed =
      retry !== undefined && (retry.when === "all" || (retry.when === "returned") === (cause === "client"));
    this.comeBack(queue, queue.lanes[laneIndex]!, sequence, isDelayed, cause !== "client" || retry !== undefined);
  }

  /** Puts a message in flight back, at once or `isDelayed`, or lets it go when it has come back too often. */
  private comeBack(queue: Queue, lane: Lane, sequence: number, isDelayed: boolean, isFailure = true): void {
    this.journal.flushLane(queue, lane);
    const page = lane.page(Math.floor(sequence / this.state.pageRows));
    assert(page !== undefined, "a requeued message is there");
    const row = lane.rowOf(sequence);
    const failures = page.failures(row) + (isFailure ? 1 : 0);
    const { deliveryLimit, retry } = queue.settings;
    if (deliveryLimit !== undefined && failures > deliveryLimit) {
      this.departures.leave(queue, lane, sequence, SETTLE_DELIVERY_LIMIT);
      return;
    }
    const deliveries = page.deliveries(row) + 1;
    const delayMs = isDelayed && retry !== undefined ? this.retryDelay(retry, failures) : hotDelay(deliveries);
    const dueMs = delayMs > 0 ? this.time.nowMs() + delayMs : 0;
    const attempts = { deliveries, failures, dueMs };
    const state = lane.applyRetry(sequence, attempts);
    assert(state >= 0, "a requeued message is in flight");
    if ((state & TRANSIENT) === 0) {
      if (failures === 0 && dueMs === 0) this.journal.writeReturn(queue.id, lane.index, sequence, attempts.deliveries);
      else this.journal.writeRetry(queue.id, lane.index, sequence, attempts);
    }
    this.counters.requeued++;
    queue.counters.returned++;
    this.wakes.add(queue, dueMs > 0 ? dueMs : page.expiryMin);
    const { lengthMax, bytesMax } = queue.settings;
    if (lengthMax !== undefined || bytesMax !== undefined) this.enqueuing.overfull.add(queue);
    if (queue.wanted) this.serving.mark(queue);
    this.schedule();
  }

  private retryDelay({ minMs, maxMs, multiplier, jitter }: RetrySettings, attempt: number): number {
    const delayMs = multiplier > 0 ? minMs * multiplier ** (attempt - 1) : minMs * attempt;
    const share = 1 + jitter * (2 * this.options.random() - 1);
    return Math.max(1, Math.round(Math.min(delayMs, maxMs) * share));
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
      this.trimOverfull();
      this.journal.flush();
    }
    this.runTurnEnd();
    if (this.isOver) return;
    let more = this.serving.busy;
    const deadline = this.clock.monotonicMs() + this.options.parameters.sliceBudgetMs;
    this.wakeQueues(deadline);
    if (!this.congested && this.isConfigured && this.departures.slice(deadline)) more = true;
    for (const work of this.slicedWork) if (work.slice(deadline)) more = true;
    this.sealWhenDue();
    if (more) this.schedule();
    if (this.journal.slabs.openBytes > 0) this.armLazyCommit();
  }

  private trimOverfull(): void {
    for (const queue of this.enqueuing.overfull) {
      if (this.departures.trim(queue)) this.schedule();
      else this.enqueuing.overfull.delete(queue);
    }
  }

  /** Looks after queues with messages that have expired or are due. */
  private wakeQueues(deadlineMs: number): void {
    if (!this.isConfigured) return;
    const nowMs = this.time.nowMs();
    for (let queue = this.wakes.take(nowMs); queue !== undefined; queue = this.wakes.take(nowMs)) {
      let nextMs = this.departures.expire(queue, nowMs, deadlineMs);
      for (const lane of queue.lanes) nextMs = Math.min(nextMs, this.releaseDue(queue, lane, nowMs, deadlineMs));
      this.wakes.add(queue, nextMs);
      if (queue.wanted) this.wake(queue);
      if (this.clock.monotonicMs() >= deadlineMs) break;
    }
    this.wakes.arm();
  }

  /** Lets delayed messages go whose time has come; returns when the next one is due. */
  private releaseDue(queue: Queue, lane: Lane, nowMs: number, deadlineMs: number): number {
    for (let dueMs = lane.nextDue(); ; dueMs = lane.nextDue()) {
      if (dueMs > nowMs) return dueMs;
      if (this.clock.monotonicMs() >= deadlineMs) return nowMs + 1;
      const { sequence } = lane.dues!;
      const page = lane.page(Math.floor(sequence / this.state.pageRows))!;
      if (page.deliveries(lane.rowOf(sequence)) > 0) lane.releaseDue();
      else this.enqueuing.joinEnd(queue, lane, sequence);
      const { lengthMax, bytesMax } = queue.settings;
      if (lengthMax !== undefined || bytesMax !== undefined) this.enqueuing.overfull.add(queue);
    }
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
    if (this.serving.busy || this.departures.isPending) this.schedule();
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
    this.wakes.stop();
    for (const work of this.slicedWork) work.abandon?.(error);
    this.options.events.onFailed(error);
  }

  /** Commits what was applied, then lets go of the log. */
  async release(): Promise<void> {
    if (this.failure === undefined) {
      this.departures.slice(Number.POSITIVE_INFINITY);
      this.seal();
    }
    this.isReleased = true;
    this.wakes.stop();
    this.lazyTimer?.cancel();
    this.pacing?.cancel();
    await this.writer.release();
  }
}

/** A message that comes back again and again is slowed, so that a loop of requeues does not use up the broker. */
function hotDelay(deliveries: number): number {
  return Math.min(Math.max(0, deliveries - HOT_DELIVERIES), HOT_DELAY_MAX_MS);
}

/** When the messages of a queue want to be looked after first, ms. */
function nextWake(queue: Queue): number {
  let next = Number.POSITIVE_INFINITY;
  for (const lane of queue.lanes) {
    next = Math.min(next, lane.nextDue());
    for (const page of lane.pages.values()) next = Math.min(next, page.expiryMin);
  }
  return next;
}
