// A queue: lanes of messages, the consumers that compete for them, and what its settings ask for.

import type { DeliverySink } from "../model/delivery.ts";
import { Lane, type References } from "./lane.ts";
import { Groups } from "./groups.ts";
import { QueueConsumers } from "./queue-consumers.ts";
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
  readonly consumers = new QueueConsumers();
  /** Message groups, when the queue has them. */
  groups: Groups | undefined = undefined;
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
  /** Sequence of a message without lifetime that is being delivered at once; -1: none. */
  atOnce = -1;
  /** Nothing special is done with its messages as they come in. */
  isPlain = true;

  private readonly references: References;
  constructor(id: number, settings: QueueSettings, references: References) {
    this.id = id;
    this.settings = settings;
    this.references = references;
    this.lanes = [new Lane(0, references)];
    this.configure(settings);
  }

  configure(settings: QueueSettings): void {
    this.settings = settings;
    if (settings.groups) this.groups ??= new Groups();
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
    // Parked messages are ready: only their group keeps them back.
    const parked = this.groups?.parkedCount ?? 0;
    ready += parked;
    delayed -= parked;
    return { ready, inFlight, delayed, consumers: this.consumers.size, bytes, readyBytes, counters };
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
    return this.consumers.canTake || this.takes.length > 0;
  }
}
