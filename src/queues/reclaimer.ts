// Takes purged and deleted messages out of the index, in slices: their effect is in the log and
// nobody can reach them any more, but their references still hold extents.

import type { Lane } from "./lane.ts";
import type { Queue } from "./queue.ts";
import type { ShardState } from "./shard-state.ts";
import type { Clock } from "../ports/clock.ts";

interface Purge {
  readonly lane: Lane;
  next: number;
  readonly to: number;
}

export class Reclaimer {
  private readonly clock: Clock;
  private readonly state: ShardState;
  private readonly purges: Purge[] = [];
  private readonly lanes: Lane[] = [];

  constructor(state: ShardState, clock: Clock) {
    this.state = state;
    this.clock = clock;
  }

  /** Rows [from, to) of the lane that were never delivered are purged. */
  addPurge(lane: Lane, from: number, to: number): void {
    this.purges.push({ lane, next: from, to });
  }

  /** The queue is deleted. */
  addQueue(queue: Queue): void {
    for (const lane of queue.lanes) if (lane.pages.size > 0) this.lanes.push(lane);
  }

  /** Finishes the purges of one page now: a snapshot is about to copy it. */
  finishPage(lane: Lane, pageNumber: number): void {
    const rows = this.state.pageRows;
    for (const purge of this.purges) {
      if (purge.lane !== lane) continue;
      const from = Math.max(purge.next, pageNumber * rows);
      const to = Math.min(purge.to, (pageNumber + 1) * rows);
      if (from < to) purgeRange(lane, from, to);
    }
  }

  slice(deadlineMs: number): boolean {
    const rows = this.state.pageRows;
    let purge = this.purges[0];
    while (purge !== undefined) {
      const to = Math.min(purge.to, (Math.floor(purge.next / rows) + 1) * rows);
      purgeRange(purge.lane, purge.next, to);
      purge.next = to;
      if (to === purge.to) {
        this.purges.shift();
        purge = this.purges[0];
      }
      if (this.clock.monotonicMs() >= deadlineMs) return this.purges.length > 0 || this.lanes.length > 0;
    }
    for (let lane = this.lanes[0]; lane !== undefined; lane = this.lanes[0]) {
      for (const number of lane.pages.keys()) {
        lane.dropPage(number);
        if (this.clock.monotonicMs() >= deadlineMs) return true;
      }
      this.lanes.shift();
    }
    return false;
  }
}

function purgeRange(lane: Lane, from: number, to: number): void {
  const { ready, readyBytes } = lane;
  lane.applyPurge(from, to);
  lane.purging -= ready - lane.ready;
  lane.purgingBytes -= readyBytes - lane.readyBytes;
}
