// A queue: lanes of messages and the consumers that compete for them. Consumers that can take
// messages stand in a ring, so those that are busy or idle cost nothing.

import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import { Lane, type References } from "./lane.ts";
import { RememberedNames } from "./remembered-names.ts";
import {
  newQueueCounters,
  type QueueCounters,
  type QueueCounts,
  type QueueSettings,
  type SettleReason,
} from "./shard-port.ts";

/** A message on its way out as a dead letter: it is in nobody's hands, and still here for the log. */
export interface DyingRow {
  readonly lane: Lane;
  readonly sequence: number;
  readonly reason: SettleReason;
}

/** A basic.get that waits for its turn. */
export interface Take {
  readonly noAck: boolean;
  readonly sink: DeliverySink;
  readonly done: (found: boolean) => void;
}

/** Entries read back from disk for deliveries of one queue, by `cacheKey`. */
export interface ReadAhead {
  readonly entries: Map<number, Buffer>;
  bytes: number;
  pending: boolean;
  /** Read and not looked at yet: not to be given up for another queue's window. */
  fresh: boolean;
  /** Reads in a row that failed. */
  failures: number;
}

export class Queue {
  readonly id: number;
  settings: QueueSettings;
  readonly counters: QueueCounters = newQueueCounters();
  /** One per priority in use; lane 0 always exists. */
  readonly lanes: Lane[];
  readonly takes: Take[] = [];
  /** True while the queue stands in the shard's list of queues to serve. */
  dirty = false;
  deleted = false;
  /** Set when a body could not be read: deliveries stop, the other queues go on. */
  damage: Error | undefined = undefined;
  readAhead: ReadAhead | undefined = undefined;
  /** Names of messages that came, when duplicates are left out. */
  names: RememberedNames | undefined = undefined;
  /** Rows that are to leave as dead letters, in order. */
  readonly dying: DyingRow[] = [];
  /** When the shard looks after expired and delayed messages next, ms; Infinity: there are none. */
  wakeAtMs = Number.POSITIVE_INFINITY;
  /** Nothing special is done with its messages as they come in. */
  isPlain = true;

  private readonly references: References;
  private readonly members = new Set<QueueConsumer>();
  /** The consumer whose turn it is; a ring of those that can take messages. */
  private turn: QueueConsumer | undefined = undefined;

  constructor(id: number, settings: QueueSettings, references: References) {
    this.id = id;
    this.settings = settings;
    this.references = references;
    this.lanes = [new Lane(0, references)];
    this.configure(settings);
  }

  configure(settings: QueueSettings): void {
    this.settings = settings;
    const { priorityMax, messageTtlMs, lengthMax, bytesMax, dedup } = settings;
    this.isPlain =
      priorityMax === 0 &&
      messageTtlMs === undefined &&
      lengthMax === undefined &&
      bytesMax === undefined &&
      dedup === undefined;
  }

  /** The lane of a priority, made when it is new. */
  lane(index: number): Lane {
    while (this.lanes.length <= index) this.lanes.push(new Lane(this.lanes.length, this.references));
    return this.lanes[index]!;
  }

  remembered(): RememberedNames {
    return (this.names ??= new RememberedNames());
  }

  counts(): QueueCounts {
    let ready = 0;
    let inFlight = 0;
    let delayed = 0;
    let bytes = 0;
    let readyBytes = 0;
    for (const lane of this.lanes) {
      ready += lane.ready - lane.purging;
      inFlight += lane.inFlight;
      delayed += lane.delayed;
      bytes += lane.bytes;
      readyBytes += lane.readyBytes - lane.purgingBytes;
    }
    const { counters } = this;
    return { ready, inFlight, delayed, consumers: this.members.size, bytes, readyBytes, counters };
  }

  /** Whatever could not be read is gone, except for messages in flight: deliveries may go on. */
  repaired(): void {
    this.damage = undefined;
    if (this.readAhead !== undefined) this.readAhead.failures = 0;
  }

  /** Ready messages. */
  get depth(): number {
    let ready = 0;
    for (const lane of this.lanes) ready += lane.ready - lane.purging;
    return ready;
  }

  get readyBytes(): number {
    let bytes = 0;
    for (const lane of this.lanes) bytes += lane.readyBytes - lane.purgingBytes;
    return bytes;
  }

  /** A further message would be too much. */
  get isFull(): boolean {
    const { lengthMax, bytesMax } = this.settings;
    return (
      (lengthMax !== undefined && this.depth >= lengthMax) || (bytesMax !== undefined && this.readyBytes >= bytesMax)
    );
  }

  /** There is more in it than allowed. */
  get isTooLong(): boolean {
    const { lengthMax, bytesMax } = this.settings;
    return (
      (lengthMax !== undefined && this.depth > lengthMax) || (bytesMax !== undefined && this.readyBytes > bytesMax)
    );
  }

  get hasReady(): boolean {
    for (const lane of this.lanes) if (lane.ready > lane.purging) return true;
    return false;
  }

  /** True when somebody waits for messages of this queue. */
  get wanted(): boolean {
    return this.turn !== undefined || this.takes.length > 0;
  }

  addConsumer(sink: DeliverySink, options: ConsumeOptions, wake: (queue: Queue) => void): QueueConsumer {
    const consumer = new QueueConsumer(this, sink, options, wake);
    this.members.add(consumer);
    return consumer;
  }

  removeConsumer(consumer: QueueConsumer): void {
    this.rest(consumer);
    this.members.delete(consumer);
  }

  consumers(): IterableIterator<QueueConsumer> {
    return this.members.values();
  }

  /** The next consumer in the ring, which then moves on. */
  nextConsumer(): QueueConsumer | undefined {
    const consumer = this.turn;
    if (consumer !== undefined) this.turn = consumer.next;
    return consumer;
  }

  /** Puts a consumer into the ring, behind the others. */
  enlist(consumer: QueueConsumer): void {
    if (consumer.next !== undefined || !this.members.has(consumer)) return;
    const turn = this.turn;
    if (turn === undefined) {
      consumer.next = consumer;
      consumer.previous = consumer;
      this.turn = consumer;
      return;
    }
    consumer.next = turn;
    consumer.previous = turn.previous;
    turn.previous!.next = consumer;
    turn.previous = consumer;
  }

  /** Takes a consumer out of the ring. */
  rest(consumer: QueueConsumer): void {
    if (consumer.next === undefined) return;
    if (consumer.next === consumer) {
      this.turn = undefined;
    } else {
      consumer.previous!.next = consumer.next;
      consumer.next.previous = consumer.previous;
      if (this.turn === consumer) this.turn = consumer.next;
    }
    consumer.next = undefined;
    consumer.previous = undefined;
  }
}

export class QueueConsumer implements Consumer {
  readonly queue: Queue;
  readonly sink: DeliverySink;
  readonly noAck: boolean;
  next: QueueConsumer | undefined = undefined;
  previous: QueueConsumer | undefined = undefined;
  private readonly wake: (queue: Queue) => void;

  constructor(queue: Queue, sink: DeliverySink, options: ConsumeOptions, wake: (queue: Queue) => void) {
    this.queue = queue;
    this.sink = sink;
    this.noAck = options.noAck;
    this.wake = wake;
  }

  get queueId(): number {
    return this.queue.id;
  }

  resume(): void {
    if (this.next !== undefined) return;
    this.queue.enlist(this);
    if (this.queue.hasReady) this.wake(this.queue);
  }

  pause(): void {
    this.queue.rest(this);
  }

  cancel(): void {
    this.queue.removeConsumer(this);
  }
}
