// The queues behind one routing key. A queue stays as long as at least one binding leads to it: the
// same queue may be bound twice with the same key and different arguments.

import { assert } from "../assert.ts";

export class Destinations {
  readonly #bindings = new Map<number, number>();

  get isEmpty(): boolean {
    return this.#bindings.size === 0;
  }

  add(queueId: number): void {
    this.#bindings.set(queueId, (this.#bindings.get(queueId) ?? 0) + 1);
  }

  remove(queueId: number): void {
    const count = this.#bindings.get(queueId);
    assert(count !== undefined, "an unbound queue was bound");
    if (count === 1) this.#bindings.delete(queueId);
    else this.#bindings.set(queueId, count - 1);
  }

  addTo(into: Set<number>): void {
    for (const queueId of this.#bindings.keys()) into.add(queueId);
  }
}
