// The state of a shard, and how effects change it during replay. Live code (shard.ts) calls the same
// apply functions of Queue and Lane. What the log says is kept here; what only this process knows
// (consumers, open entry, caches) is in shard.ts.

import { assert, InvariantError } from "../assert.ts";
import { type Attempts, type EffectHandler, QUEUE_DELIVER_AFTER_COMMIT, REF_COLD } from "./effects.ts";
import { Extents } from "./extents.ts";
import type { Lane, References } from "./lane.ts";
import { COLD, SPILLED, TRANSIENT } from "./page.ts";
import { Queue } from "./queue.ts";
import { PLAIN_SETTINGS, type QueueSettings } from "./shard-port.ts";
import { TransientStore } from "./transient-store.ts";

export interface ShardParameters {
  readonly pageRows: number;
  readonly pageRowsFirst: number;
  readonly transientSlabBytes: number;
  readonly transientBytesMax: number;
}

/** Cold-log positions and main-log positions share maps under this key. */
export function locationKey(position: number, cold: boolean): number {
  return position * 2 + (cold ? 1 : 0);
}

export function settingsToFlags(settings: QueueSettings): number {
  return settings.deliverAfterCommit ? QUEUE_DELIVER_AFTER_COMMIT : 0;
}

export class ShardState implements References, EffectHandler {
  readonly queues = new Map<number, Queue>();
  readonly main = new Extents();
  readonly cold = new Extents();
  readonly transient: TransientStore;
  readonly pageRows: number;
  readonly pageRowsFirst: number;
  /** Position of the entry whose effects are being applied: live, the open entry. */
  applying = 0;
  /** References made by the open entry, whose extent is known only when it is sealed. */
  openReferences = 0;
  openLiveBytes = 0;

  /** During replay nothing is counted; `finishReplay` recounts. */
  private replaying = true;
  /** Effects at or below it may speak of what the snapshot has forgotten already. */
  private snapshotEnd = 0;

  constructor(parameters: ShardParameters) {
    this.pageRows = parameters.pageRows;
    this.pageRowsFirst = parameters.pageRowsFirst;
    this.transient = new TransientStore(parameters.transientSlabBytes, parameters.transientBytesMax);
  }

  retain(state: number, position: number, size: number): void {
    if (this.replaying) return;
    if ((state & (TRANSIENT | SPILLED)) === TRANSIENT) {
      this.transient.retain(position);
    } else if ((state & COLD) !== 0) {
      this.cold.retain(position, size);
    } else if (position === this.applying) {
      this.openReferences++;
      this.openLiveBytes += size;
    } else {
      this.main.retain(position, size);
    }
  }

  release(state: number, position: number, size: number): void {
    if (this.replaying) return;
    if ((state & (TRANSIENT | SPILLED)) === TRANSIENT) {
      this.transient.release(position);
    } else if ((state & COLD) !== 0) {
      this.cold.release(position, size);
    } else if (position === this.applying) {
      this.openReferences--;
      this.openLiveBytes -= size;
    } else {
      this.main.release(position, size);
    }
  }

  /** Live bytes of bodies in both logs. */
  get liveBytes(): number {
    return this.main.liveBytes + this.cold.liveBytes + this.openLiveBytes;
  }

  lane(queueId: number, index: number): Lane | undefined {
    return this.queues.get(queueId)?.lanes[index];
  }

  /** The queue saw a message of this name. */
  remember(queueId: number, name: string, timeMs: number): void {
    const queue = this.queues.get(queueId);
    if (queue === undefined) this.expect(false, "a name for an unknown queue", queueId, 0);
    else queue.remembered().add(name, timeMs, 0);
  }

  addQueue(queueId: number, settings: QueueSettings): Queue {
    assert(!this.queues.has(queueId), "a queue id is used once");
    const queue = new Queue(queueId, settings, this);
    this.queues.set(queueId, queue);
    return queue;
  }

  /** Replay begins behind a snapshot whose highest stamp is `snapshotEnd` (0: none). */
  startReplay(snapshotEnd: number): void {
    this.replaying = true;
    this.snapshotEnd = snapshotEnd;
  }

  /** Replay is over: counts references, extents and totals again. The extents are known by now. */
  finishReplay(): void {
    this.replaying = false;
    this.applying = Number.MAX_SAFE_INTEGER;
    for (const queue of this.queues.values()) for (const lane of queue.lanes) lane.recount();
  }

  // EffectHandler: replay.

  enqueue(queueId: number, lane: number, sequence: number, offset: number, size: number): void {
    this.laneToFill(queueId, lane)?.applyEnqueue(sequence, 0, this.applying, offset, size);
  }

  enqueueRef(
    queueId: number,
    lane: number,
    sequence: number,
    position: number,
    offset: number,
    size: number,
    cold: boolean,
  ): void {
    this.laneToFill(queueId, lane)?.applyEnqueue(sequence, cold ? COLD : 0, position, offset, size);
  }

  delivered(queueId: number, lane: number, from: number, to: number): void {
    this.laneOrForgotten(queueId, lane)?.applyDelivered(from, to);
  }

  deliveredOne(queueId: number, lane: number, sequence: number): void {
    const found = this.laneOrForgotten(queueId, lane)?.applyDeliveredOne(sequence) ?? true;
    this.expect(found, "a delivered row that is not returned", queueId, sequence);
  }

  settle(queueId: number, lane: number, first: number, count: number): void {
    const target = this.laneOrForgotten(queueId, lane);
    if (target === undefined) return;
    for (let sequence = first; sequence < first + count; sequence++) {
      this.expect(target.applySettle(sequence) >= 0, "a settled row that is absent", queueId, sequence);
    }
  }

  returned(queueId: number, lane: number, sequence: number, deliveries: number): void {
    const state = this.laneOrForgotten(queueId, lane)?.applyReturn(sequence, deliveries) ?? 0;
    this.expect(state >= 0, "a returned row that is not in flight", queueId, sequence);
  }

  relocate(queueId: number, lane: number, sequence: number, position: number, offset: number): void {
    this.laneOrForgotten(queueId, lane)?.applyRelocate(sequence, position, offset);
  }

  purge(queueId: number, lane: number, from: number, to: number): void {
    this.laneOrForgotten(queueId, lane)?.applyPurge(from, to);
  }

  queueCreate(queueId: number, flags: number): void {
    if (this.queues.has(queueId)) {
      this.expect(false, "a queue that is created twice", queueId, 0);
      return;
    }
    const deliverAfterCommit = (flags & QUEUE_DELIVER_AFTER_COMMIT) !== 0;
    this.addQueue(queueId, { ...PLAIN_SETTINGS, deliverAfterCommit });
  }

  queueDelete(queueId: number): void {
    this.expect(this.queues.delete(queueId), "a deleted queue that is unknown", queueId, 0);
  }

  restart(): void {
    for (const queue of this.queues.values()) for (const lane of queue.lanes) lane.applyRestart();
  }

  held(queueId: number, lane: number, sequence: number, dueMs: number): void {
    const isThere = this.laneOrForgotten(queueId, lane)?.applyHold(sequence, dueMs) ?? true;
    this.expect(isThere, "a held row that is not ready", queueId, sequence);
  }

  parked(queueId: number, lane: number, sequence: number): void {
    const isThere = this.laneOrForgotten(queueId, lane)?.applyPark(sequence) ?? true;
    this.expect(isThere, "a parked row that is not ready", queueId, sequence);
  }

  expires(queueId: number, lane: number, sequence: number, expiryMs: number): void {
    this.laneOrForgotten(queueId, lane)?.applyExpiry(sequence, expiryMs);
  }

  retried(queueId: number, lane: number, sequence: number, attempts: Attempts): void {
    const state = this.laneOrForgotten(queueId, lane)?.applyRetry(sequence, attempts) ?? 0;
    this.expect(state >= 0, "a retried row that is not in flight", queueId, sequence);
  }

  named(queueId: number, name: string, timeMs: number): void {
    this.remember(queueId, name, timeMs);
  }

  /** The lane of a message that comes in; a priority that is new to the queue makes its lane. */
  private laneToFill(queueId: number, lane: number): Lane | undefined {
    return this.laneOrForgotten(queueId, lane, true);
  }

  private laneOrForgotten(queueId: number, lane: number, makes = false): Lane | undefined {
    const found = makes ? this.queues.get(queueId)?.lane(lane) : this.lane(queueId, lane);
    if (found === undefined) this.expect(false, "an effect for an unknown queue", queueId, 0);
    return found;
  }

  /** Behind the snapshot's end a missing row is a bug: recovery must not guess. */
  private expect(holds: boolean, what: string, queueId: number, sequence: number): void {
    if (holds || this.applying <= this.snapshotEnd) return;
    throw new InvariantError(`replay found ${what}`, { queueId, sequence, position: this.applying });
  }
}

/** Flag of an ENQUEUE_REF effect for a row in the cold log. */
export function refFlags(state: number): number {
  return (state & COLD) !== 0 ? REF_COLD : 0;
}
