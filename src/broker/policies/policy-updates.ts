// Brings queues and exchanges in line with the policies of their vhost after a change: in slices, since a
// policy may concern a million queues and nobody else must wait for that.

import { LIMITS } from "../../limits.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Exchange, Queue, Topology } from "../topology.ts";
import { type Policies, samePolicy } from "./effective-policy.ts";

/** Things that are looked at before the time is. */
const SLICE_THINGS = 64;

export interface PolicyUpdatesOptions {
  readonly topology: Topology;
  readonly policies: Policies;
  readonly clock: Clock;
  /** The queue's policy is another one now. */
  readonly queueChanged: (queue: Queue) => void;
}

export class PolicyUpdates {
  readonly #options: PolicyUpdatesOptions;
  /** Vhosts to go through, with how far each has come. */
  readonly #pending = new Map<string, Iterator<Queue | Exchange>>();
  #scheduled = false;

  constructor(options: PolicyUpdatesOptions) {
    this.#options = options;
  }

  /** True while some queue or exchange may still have its old policy. */
  get isBusy(): boolean {
    return this.#pending.size > 0;
  }

  /** A policy of the vhost changed. The first slice is done before this returns. */
  vhostChanged(vhost: string): void {
    this.#add(vhost);
    if (!this.#scheduled) this.#slice(LIMITS.sliceBudgetMs);
  }

  /** Goes through all vhosts at once: nobody is served yet. */
  start(): void {
    for (const vhost of this.#options.topology.vhosts.keys()) this.#add(vhost);
    this.#slice(Number.POSITIVE_INFINITY);
  }

  #add(vhost: string): void {
    this.#options.policies.forget(vhost);
    this.#pending.delete(vhost);
    this.#pending.set(vhost, thingsOf(this.#options.topology, vhost));
  }

  #slice(budgetMs: number): void {
    this.#scheduled = false;
    const { clock } = this.#options;
    const endMs = clock.monotonicMs() + budgetMs;
    let looked = 0;
    for (const [vhost, things] of this.#pending) {
      for (let next = things.next(); next.done !== true; next = things.next()) {
        this.#update(next.value);
        if (++looked % SLICE_THINGS !== 0 || clock.monotonicMs() < endMs) continue;
        this.#scheduled = true;
        clock.after(0, () => this.#slice(LIMITS.sliceBudgetMs));
        return;
      }
      this.#pending.delete(vhost);
    }
  }

  #update(thing: Queue | Exchange): void {
    const { policies, topology, queueChanged } = this.#options;
    const isQueue = "record" in thing;
    const policy = isQueue ? policies.ofQueue(thing.record) : policies.ofExchange(thing.settings);
    if (samePolicy(thing.policy, policy)) return;
    thing.policy = policy;
    if (isQueue && !thing.deleted) queueChanged(thing);
    // An exchange routes otherwise with another alternate exchange: doors ask again.
    if (!isQueue) topology.version++;
  }
}

/** What is added while this is walked comes too; what was deleted does not. */
function* thingsOf(topology: Topology, vhost: string): Generator<Queue | Exchange> {
  const place = topology.vhosts.get(vhost);
  if (place === undefined) return;
  yield* place.exchanges.values();
  yield* place.queues.values();
}
