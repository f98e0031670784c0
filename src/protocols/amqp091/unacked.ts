// Deliveries of one channel that wait for an ack: delivery tag -> queue, lane, sequence, consumer.
//
// An entry also has the tick of its delivery, so that overdue ones are found.
//
//   entries [head, tail), ascending by tag;   lane == FREE: already settled, skipped
//                                             lane & HELD: acked in a transaction that is not committed
//
// Tags are usually dense, so an entry is found by subtraction; deliveries without ack leave gaps, and
// then by bisection. Typed arrays, because a channel may hold a million. When the end of the arrays
// is reached and half of the entries are settled, they are compacted in place, so one message that is
// never acked does not make the window grow.

import { assert } from "../../assert.ts";

const FREE = 0xffff;
const HELD = 0x8000;
const LANE_MASK = 0x7fff;
const FIRST_CAPACITY = 16;
// Shared by all channels that hold nothing, since most channels only publish.
const NO_DOUBLES = new Float64Array(0);
const NO_IDS = new Uint32Array(0);
const NO_LANES = new Uint16Array(0);
const NO_CONSUMERS = new Int32Array(0);

/** Called for each settled run of sequences: first..last of one queue and lane, in order. */
export type RunVisitor = (queueId: number, lane: number, first: number, last: number) => void;

export class Unacked {
  /** Deliveries that wait. */
  count = 0;
  private head = 0;
  private tail = 0;
  private tags = NO_DOUBLES;
  private sequences = NO_DOUBLES;
  private queueIds = NO_IDS;
  private lanes = NO_LANES;
  private consumers = NO_CONSUMERS;
  private ticks = NO_IDS;
  private readonly onSettled: (consumer: number) => void;

  /** `onSettled` hears the consumer number of each delivery that leaves. */
  constructor(onSettled: (consumer: number) => void) {
    this.onSettled = onSettled;
  }

  /** Adds a delivery; tags rise, and so do ticks. */
  add(tag: number, queueId: number, lane: number, sequence: number, consumer: number, tick: number): void {
    assert(lane < HELD, "a lane number fits");
    if (this.tail === this.tags.length) this.makeRoom();
    const at = this.tail++;
    this.tags[at] = tag;
    this.queueIds[at] = queueId;
    this.lanes[at] = lane;
    this.sequences[at] = sequence;
    this.consumers[at] = consumer;
    this.ticks[at] = tick;
    this.count++;
  }

  /** Tick of the oldest delivery; call only when there is one. */
  get oldestTick(): number {
    return this.ticks[this.head]!;
  }

  /** True for the first delivery of which `isOverdue` says so; asks from the oldest on, up to `tick`. */
  someOverdue(tick: number, isOverdue: (queueId: number, consumer: number, tick: number) => boolean): boolean {
    for (let at = this.head; at < this.tail && this.ticks[at]! <= tick; at++) {
      if ((this.lanes[at]! & HELD) !== 0) continue;
      if (isOverdue(this.queueIds[at]!, this.consumers[at]!, this.ticks[at]!)) return true;
    }
    return false;
  }

  /** True when `tag` waits for an ack. */
  has(tag: number): boolean {
    return this.find(tag) >= 0;
  }

  /** Takes out one delivery. False when the tag is unknown. */
  takeOne(tag: number, visit: RunVisitor): boolean {
    const at = this.find(tag);
    if (at < 0) return false;
    this.takeAt(at, visit);
    return true;
  }

  /** Takes out one delivery that `hold` has held. */
  takeHeld(tag: number, visit: RunVisitor): void {
    const at = this.locate(tag);
    assert(at >= 0 && this.lanes[at] !== FREE, "a held delivery stays until its transaction ends");
    this.takeAt(at, visit);
  }

  /**
   * Marks deliveries as acked in a transaction: to the client they are unknown from now on. Calls
   * `visit` with each tag. `multiple` and tag 0 as in `takeUpTo`. False when the tag is unknown.
   */
  hold(tag: number, multiple: boolean, visit: (tag: number) => void): boolean {
    const at = tag === 0 && multiple ? this.tail - 1 : this.find(tag);
    if (at < 0 && !(tag === 0 && multiple)) return false;
    for (let i = multiple ? this.head : at; i <= at; i++) {
      if ((this.lanes[i]! & HELD) !== 0) continue;
      this.lanes[i] = this.lanes[i]! | HELD;
      visit(this.tags[i]!);
    }
    return true;
  }

  /** The transaction is rolled back: what was held waits for an ack again. */
  releaseHeld(): void {
    for (let at = this.head; at < this.tail; at++) {
      if (this.lanes[at] !== FREE) this.lanes[at] = this.lanes[at]! & LANE_MASK;
    }
  }

  private takeAt(at: number, visit: RunVisitor): void {
    const sequence = this.sequences[at]!;
    visit(this.queueIds[at]!, this.lanes[at]! & LANE_MASK, sequence, sequence);
    this.release(at);
    this.skipFree();
  }

  /**
   * Takes out all deliveries up to `tag`; 0 means all there are (AMQP 0-9-1 basic.ack: multiple with
   * tag zero). Contiguous sequences of a queue arrive as one run. False when the tag is unknown.
   */
  takeUpTo(tag: number, visit: RunVisitor): boolean {
    let end = this.tail;
    if (tag !== 0) {
      const at = this.find(tag);
      if (at < 0) return false;
      end = at + 1;
    }
    let queueId = -1;
    let lane = 0;
    let first = 0;
    let last = 0;
    for (let at = this.head; at < end; at++) {
      // Settled, or held by a transaction.
      if ((this.lanes[at]! & HELD) !== 0) continue;
      const sequence = this.sequences[at]!;
      if (this.queueIds[at] === queueId && this.lanes[at] === lane && sequence === last + 1) {
        last = sequence;
      } else {
        if (queueId >= 0) visit(queueId, lane, first, last);
        queueId = this.queueIds[at]!;
        lane = this.lanes[at]!;
        first = sequence;
        last = sequence;
      }
      this.release(at);
    }
    if (queueId >= 0) visit(queueId, lane, first, last);
    this.skipFree();
    return true;
  }

  private release(at: number): void {
    this.lanes[at] = FREE;
    this.count--;
    this.onSettled(this.consumers[at]!);
  }

  private skipFree(): void {
    while (this.head < this.tail && this.lanes[this.head] === FREE) this.head++;
    if (this.head === this.tail) {
      this.head = 0;
      this.tail = 0;
    }
  }

  /** The place of a tag that the client may settle; -1 when there is none. */
  private find(tag: number): number {
    const at = this.locate(tag);
    return at < 0 || (this.lanes[at]! & HELD) !== 0 ? -1 : at;
  }

  private locate(tag: number): number {
    if (this.head === this.tail) return -1;
    const guess = this.head + (tag - this.tags[this.head]!);
    if (guess >= this.head && guess < this.tail && this.tags[guess] === tag) return guess;
    let low = this.head;
    let high = this.tail - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.tags[middle]!;
      if (found === tag) return middle;
      if (found < tag) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** At the end of the arrays: compacts when at least half is free, else doubles. */
  private makeRoom(): void {
    const capacity = this.tags.length;
    const grow = this.count * 2 > capacity || capacity === 0;
    const size = grow ? Math.max(FIRST_CAPACITY, capacity * 2) : capacity;
    const { tags, sequences, queueIds, lanes, consumers, ticks } = this;
    if (grow) {
      this.tags = new Float64Array(size);
      this.sequences = new Float64Array(size);
      this.queueIds = new Uint32Array(size);
      this.lanes = new Uint16Array(size);
      this.consumers = new Int32Array(size);
      this.ticks = new Uint32Array(size);
    }
    let to = 0;
    for (let from = this.head; from < this.tail; from++) {
      if (lanes[from] === FREE) continue;
      this.tags[to] = tags[from]!;
      this.sequences[to] = sequences[from]!;
      this.queueIds[to] = queueIds[from]!;
      this.lanes[to] = lanes[from]!;
      this.consumers[to] = consumers[from]!;
      this.ticks[to] = ticks[from]!;
      to++;
    }
    this.head = 0;
    this.tail = to;
    assert(to === this.count, "the count of unacked deliveries agrees with the entries");
  }
}
