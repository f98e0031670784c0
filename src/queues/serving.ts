// Deliveries: queues with ready messages and somebody who wants them are served in a ring, a quantum
// each, until the turn's budget is used up. Consumers take turns message by message.

import type { Clock } from "../ports/clock.ts";
import type { Bodies } from "./bodies.ts";
import type { Journal } from "./journal.ts";
import type { Lane } from "./lane.ts";
import { COLD, TRANSIENT } from "./page.ts";
import { type Groups, readGroupKey } from "./groups.ts";
import type { Queue } from "./queue.ts";
import { SETTLE_ACKED } from "../model/delivery.ts";
import type { ShardCounters } from "./shard-port.ts";

export interface ServingParameters {
  readonly queueQuantumBytes: number;
  readonly queueQuantumMessages: number;
  readonly turnBudgetMs: number;
}

export class Serving {
  private readonly clock: Clock;
  private readonly journal: Journal;
  private readonly bodies: Bodies;
  private readonly counters: ShardCounters;
  private readonly parameters: ServingParameters;
  /** Takes the head of a lane out when it has expired; false when it has not. */
  onExpired: (queue: Queue, lane: Lane) => boolean = () => false;
  /** A message is gone for good. */
  onGone: (queue: Queue, lane: Lane, sequence: number) => void = () => undefined;
  /** Queues to serve, first come first served: those before `served` had their turn. */
  private readonly dirty: Queue[] = [];
  private served = 0;
  /** Queues whose next message may be delivered only when it is durable. */
  private awaitingCommit: Queue[] = [];

  constructor(options: {
    readonly clock: Clock;
    readonly journal: Journal;
    readonly bodies: Bodies;
    readonly counters: ShardCounters;
    readonly parameters: ServingParameters;
  }) {
    this.clock = options.clock;
    this.journal = options.journal;
    this.bodies = options.bodies;
    this.counters = options.counters;
    this.parameters = options.parameters;
  }

  get busy(): boolean {
    return this.served < this.dirty.length;
  }

  mark(queue: Queue): void {
    if (queue.dirty) return;
    queue.dirty = true;
    this.dirty.push(queue);
  }

  /** Commits went on: queues that waited for them may be served. */
  committed(): void {
    const waiting = this.awaitingCommit;
    if (waiting.length === 0) return;
    this.awaitingCommit = [];
    for (const queue of waiting) this.mark(queue);
  }

  /** Serves dirty queues, a quantum each in turn, until none is dirty or the budget is used up. */
  serve(): void {
    const deadline = this.clock.monotonicMs() + this.parameters.turnBudgetMs;
    while (this.served < this.dirty.length) {
      const queue = this.dirty[this.served++]!;
      queue.dirty = false;
      // A queue with more to do goes behind all that still wait, also when the budget ends here.
      if (!queue.deleted && queue.damage === undefined && this.serveQueue(queue)) this.mark(queue);
      if (this.clock.monotonicMs() >= deadline) break;
    }
    this.forgetServed();
  }

  /** Drops what was served from the list, at a cost that the queues served have paid for. */
  private forgetServed(): void {
    if (this.served * 2 < this.dirty.length) return;
    this.dirty.splice(0, this.served);
    this.served = 0;
  }

  /** Serves one queue out of turn, a quantum. */
  serveNow(queue: Queue): void {
    if (!queue.deleted && queue.damage === undefined && this.serveQueue(queue)) this.mark(queue);
  }

  /** Delivers up to a quantum; true when there is more to do now. */
  private serveQueue(queue: Queue): boolean {
    let messages = this.parameters.queueQuantumMessages;
    let bytes = this.parameters.queueQuantumBytes;
    while (messages > 0 && bytes > 0) {
      if (!queue.wanted) return false;
      const lane = headLane(queue);
      if (lane === undefined) {
        this.bodies.release(queue);
        for (const take of queue.takes.splice(0)) take.done(false);
        return false;
      }
      const page = lane.headPage!;
      const row = lane.headRow;
      const state = page.state(row);
      if (page.expiryMin !== Number.POSITIVE_INFINITY && this.onExpired(queue, lane)) {
        messages--;
        continue;
      }
      if (queue.groups?.isFull === true) return false;
      if (!this.bodies.locate(queue, page, row, state)) {
        this.bodies.fetch(queue, lane);
        return false;
      }
      if (
        queue.settings.deliverAfterCommit &&
        (state & (COLD | TRANSIENT)) === 0 &&
        page.position(row) > this.journal.committed
      ) {
        this.awaitingCommit.push(queue);
        return false;
      }
      if (queue.groups !== undefined && !this.admits(queue, queue.groups, lane)) {
        messages--;
        continue;
      }
      const size = page.size(row);
      this.deliver(queue, lane, size);
      messages--;
      bytes -= size;
    }
    return queue.wanted && queue.hasReady;
  }

  /** False: the head was parked, since another message of its group is at work. */
  private admits(queue: Queue, groups: Groups, lane: Lane): boolean {
    const { headSequence: sequence, headPage: page, headRow: row } = lane;
    const { bytes, start } = this.bodies;
    if (groups.admits(lane, sequence, readGroupKey(bytes, start))) return true;
    const isLogged = (page!.state(row) & TRANSIENT) === 0;
    this.journal.flushLane(queue, lane);
    if (isLogged) this.journal.writePark(queue.id, lane.index, sequence);
    lane.park(page!, row);
    return false;
  }

  private deliver(queue: Queue, lane: Lane, size: number): void {
    const sequence = lane.headSequence;
    const deliveries = lane.takeHead();
    this.journal.notePending(queue, lane);
    this.counters.delivered++;
    queue.counters.delivered++;
    if (deliveries > 0) {
      this.counters.redelivered++;
      queue.counters.redelivered++;
    }
    const { bytes, start } = this.bodies;
    const take = queue.takes.shift();
    if (take !== undefined) {
      if (take.noAck) this.settleSent(queue, lane, sequence);
      take.sink.deliver(bytes, start, size, queue.id, lane.index, sequence, deliveries);
      take.done(true);
      return;
    }
    const consumer = queue.consumers.next()!;
    if (consumer.noAck) this.settleSent(queue, lane, sequence);
    if (!consumer.sink.deliver(bytes, start, size, queue.id, lane.index, sequence, deliveries)) consumer.pause();
  }

  /** No-ack: settled as it is sent. */
  private settleSent(queue: Queue, lane: Lane, sequence: number): void {
    const state = lane.applySettle(sequence);
    if ((state & TRANSIENT) === 0) this.journal.noteSettled(queue, lane, sequence, SETTLE_ACKED);
    this.counters.acked++;
    queue.counters.acked++;
    this.onGone(queue, lane, sequence);
  }
}

/** The lane with the next message; higher priorities first. */
function headLane(queue: Queue): Lane | undefined {
  for (let i = queue.lanes.length - 1; i >= 0; i--) {
    const lane = queue.lanes[i]!;
    if (lane.ready > lane.purging && lane.head()) return lane;
  }
  return undefined;
}
