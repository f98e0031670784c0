// Leases of queues under a clock that only the test moves.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../src/ports/clock.ts";
import { QueueExpiry } from "../../src/broker/queue-expiry.ts";
import { Queue } from "../../src/broker/topology.ts";

class HandClock implements Clock {
  #nowMs = 0;
  #timers: { readonly atMs: number; readonly run: () => void }[] = [];

  wallMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, run: () => void) {
    const timer = { atMs: this.#nowMs + delayMs, run };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  /** Lets time pass, timers in their order. */
  pass(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const next = this.#timers.filter(({ atMs }) => atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = endMs;
  }
}

function someQueue(id: number): Queue {
  const record = { id, vhost: "/", name: `q${id}`, durable: true, autoDelete: false, ownerId: 0, quorum: false };
  return new Queue({ ...record, arguments: new Map() });
}

test("a queue that nobody uses is deleted when its time is over, one that is used is not", () => {
  const clock = new HandClock();
  const gone: number[] = [];
  const expiry = new QueueExpiry(clock, ({ record }) => gone.push(record.id));
  const [unused, used, consumed, kept] = [someQueue(1), someQueue(2), someQueue(3), someQueue(4)];
  for (const queue of [unused, used, consumed]) expiry.configure(queue, 1000);
  expiry.configure(kept, 1000);
  expiry.configure(kept, undefined);
  consumed.consumers = 1;
  clock.pass(900);
  expiry.used(used);
  clock.pass(150);
  assert.deepEqual(gone, [1]);
  clock.pass(800);
  assert.deepEqual(gone, [1]);
  clock.pass(100);
  assert.deepEqual(gone, [1, 2]);
  consumed.consumers = 0;
  expiry.used(consumed);
  clock.pass(999);
  assert.deepEqual(gone, [1, 2]);
  clock.pass(50);
  assert.deepEqual(gone, [1, 2, 3]);
  clock.pass(1_000_000);
  assert.deepEqual(gone, [1, 2, 3]);
});

test("a queue that is deleted otherwise does not expire, and nothing happens after the stop", () => {
  const clock = new HandClock();
  const gone: number[] = [];
  const expiry = new QueueExpiry(clock, ({ record }) => gone.push(record.id));
  const [deleted, left] = [someQueue(1), someQueue(2)];
  expiry.configure(deleted, 50);
  deleted.deleted = true;
  clock.pass(100);
  expiry.configure(left, 50);
  expiry.stop();
  clock.pass(1000);
  assert.deepEqual(gone, []);
});
