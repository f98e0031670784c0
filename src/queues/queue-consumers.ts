// The consumers of one queue. Those that can take messages stand in rings, one for each consumer priority,
// so the others cost nothing however many there are. With a single active consumer only that one ever
// stands in a ring; the others wait for it to go.

import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import type { Queue } from "./queue.ts";

interface Ring {
  readonly priority: number;
  /** The consumer whose turn it is; undefined: nobody can take a message. */
  turn: QueueConsumer | undefined;
}

export class QueueConsumers {
  /** Consumers in the rings. */
  private enlisted = 0;
  private readonly members = new Set<QueueConsumer>();
  /** Higher priorities first. */
  private readonly rings: Ring[] = [];
  private active: QueueConsumer | undefined = undefined;

  get size(): number {
    return this.members.size;
  }

  /** Somebody can take a message. */
  get canTake(): boolean {
    return this.enlisted > 0;
  }

  all(): IterableIterator<QueueConsumer> {
    return this.members.values();
  }

  add(consumer: QueueConsumer): void {
    this.members.add(consumer);
    if (consumer.queue.settings.singleActiveConsumer) this.active ??= consumer;
  }

  remove(consumer: QueueConsumer): void {
    this.rest(consumer);
    this.members.delete(consumer);
    if (this.active !== consumer) return;
    this.active = this.successor();
    if (this.active?.wants === true) this.active.resume();
  }

  isActive(consumer: QueueConsumer): boolean {
    return this.active === undefined || this.active === consumer;
  }

  /** Of the highest priority the one that came first. */
  private successor(): QueueConsumer | undefined {
    let best: QueueConsumer | undefined;
    for (const member of this.members) if (best === undefined || member.priority > best.priority) best = member;
    return best;
  }

  /** The next consumer of the highest priority that can take a message; its ring then moves on. */
  next(): QueueConsumer | undefined {
    for (let i = 0; i < this.rings.length; i++) {
      const ring = this.rings[i]!;
      const consumer = ring.turn;
      if (consumer === undefined) continue;
      ring.turn = consumer.next;
      return consumer;
    }
    return undefined;
  }

  /** Puts a consumer into its ring, behind the others. */
  enlist(consumer: QueueConsumer): void {
    if (consumer.next !== undefined || !this.members.has(consumer) || !this.isActive(consumer)) return;
    this.enlisted++;
    const ring = this.ring(consumer.priority);
    const turn = ring.turn;
    if (turn === undefined) {
      consumer.next = consumer;
      consumer.previous = consumer;
      ring.turn = consumer;
      return;
    }
    consumer.next = turn;
    consumer.previous = turn.previous;
    turn.previous!.next = consumer;
    turn.previous = consumer;
  }

  /** Takes a consumer out of its ring. */
  rest(consumer: QueueConsumer): void {
    if (consumer.next === undefined) return;
    this.enlisted--;
    const ring = this.ring(consumer.priority);
    if (consumer.next === consumer) {
      ring.turn = undefined;
    } else {
      consumer.previous!.next = consumer.next;
      consumer.next.previous = consumer.previous;
      if (ring.turn === consumer) ring.turn = consumer.next;
    }
    consumer.next = undefined;
    consumer.previous = undefined;
  }

  private ring(priority: number): Ring {
    let at = 0;
    while (at < this.rings.length && this.rings[at]!.priority > priority) at++;
    const found = this.rings[at];
    if (found?.priority === priority) return found;
    const ring = { priority, turn: undefined };
    this.rings.splice(at, 0, ring);
    this.forgetEmpty(ring);
    return ring;
  }

  /** Clients may come up with any number of priorities; a ring that nobody stands in is given up. */
  private forgetEmpty(kept: Ring): void {
    if (this.rings.length <= RINGS_KEPT) return;
    const inUse = this.rings.filter((ring) => ring === kept || ring.turn !== undefined);
    this.rings.splice(0, this.rings.length, ...inUse);
  }
}

const RINGS_KEPT = 8;

export class QueueConsumer implements Consumer {
  readonly queue: Queue;
  readonly sink: DeliverySink;
  readonly noAck: boolean;
  readonly priority: number;
  /** Its neighbours while it stands in a ring. */
  next: QueueConsumer | undefined = undefined;
  previous: QueueConsumer | undefined = undefined;
  /** It could take a message; when another one is active, it waits with that. */
  wants = false;
  private readonly wake: (queue: Queue) => void;

  constructor(queue: Queue, sink: DeliverySink, options: ConsumeOptions, wake: (queue: Queue) => void) {
    this.queue = queue;
    this.sink = sink;
    this.noAck = options.noAck;
    this.priority = options.priority ?? 0;
    this.wake = wake;
  }

  get queueId(): number {
    return this.queue.id;
  }

  get isActive(): boolean {
    return this.queue.consumers.isActive(this);
  }

  resume(): void {
    this.wants = true;
    if (this.next !== undefined) return;
    this.queue.consumers.enlist(this);
    if (this.next !== undefined && this.queue.hasReady) this.wake(this.queue);
  }

  pause(): void {
    this.wants = false;
    this.queue.consumers.rest(this);
  }

  cancel(): void {
    this.wants = false;
    this.queue.consumers.remove(this);
  }
}
