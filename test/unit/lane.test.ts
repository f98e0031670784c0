// A lane against a plain array: whatever is enqueued, delivered, settled, returned, purged, moved and
// restarted, in pages that grow, become sparse and vanish, the lane knows what the array knows.

import { PLAIN_SETTINGS } from "../../src/queues/shard-port.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Lane } from "../../src/queues/lane.ts";
import { ABSENT, COLD, IN_FLIGHT, READY, RETURNED, SPILLED, STATE_MASK, TRANSIENT } from "../../src/queues/page.ts";
import { ShardState } from "../../src/queues/shard-state.ts";
import { encodeEnd, encodePage, encodeQueue, encodeStart, SnapshotLoad } from "../../src/queues/snapshot-format.ts";

interface Message {
  readonly size: number;
  readonly isDurable: boolean;
  state: number;
  deliveries: number;
  position: number;
  offset: number;
  cold: boolean;
}

const QUEUE_ID = 5;
/** Above every position in use: no message belongs to the open entry. */
const APPLYING = 2 ** 39;

class LaneWorld {
  readonly messages: Message[] = [];
  readonly #pageRows: number;
  #state: ShardState;

  constructor(pageRows: number) {
    this.#pageRows = pageRows;
    this.#state = this.#newState();
    this.#state.finishReplay();
    this.#state.applying = APPLYING;
    this.#state.addQueue(QUEUE_ID, { ...PLAIN_SETTINGS, durable: true, deliverAfterCommit: false });
  }

  #newState(): ShardState {
    const state = new ShardState({
      pageRows: this.#pageRows,
      pageRowsFirst: 2,
      transientSlabBytes: 1024,
      transientBytesMax: 0,
    });
    for (const extents of [state.main, state.cold]) for (const first of [1, 2 ** 20, 2 ** 34]) extents.open(first);
    return state;
  }

  get lane(): Lane {
    return this.#state.lane(QUEUE_ID, 0)!;
  }

  enqueue(count: number, seed: number): void {
    for (let i = 0; i < count; i++) {
      const sequence = this.messages.length;
      const isDurable = seed % 3 !== 0 && (seed + i) % 4 !== 0; // a third of the batches is transient
      const message: Message = {
        size: (seed * 31 + i) % 1000,
        isDurable,
        state: READY,
        deliveries: 0,
        position: 1 + (seed * 1000 + i) * 1_000_003, // up to 40 bits
        offset: (seed * 77 + i) % 2 ** 24,
        cold: false,
      };
      this.messages.push(message);
      assert.equal(this.lane.next, sequence);
      const state = isDurable ? 0 : TRANSIENT | SPILLED;
      this.lane.applyEnqueue(sequence, state, message.position, message.offset, message.size);
    }
  }

  deliver(count: number): void {
    for (let i = 0; i < count; i++) {
      const expected = this.#first((message) => message.state === READY || message.state === RETURNED);
      assert.equal(this.lane.head(), expected >= 0);
      if (expected < 0) return;
      assert.equal(this.lane.headSequence, expected);
      assert.equal(this.lane.takeHead(), this.messages[expected]!.deliveries);
      this.messages[expected]!.state = IN_FLIGHT;
    }
  }

  /** Settles the messages in flight, but for every `keep`-th. */
  settle(keep: number): void {
    this.messages.forEach((message, sequence) => {
      if (message.state !== IN_FLIGHT || sequence % keep === 0) return;
      assert.equal(this.lane.applySettle(sequence) & STATE_MASK, IN_FLIGHT);
      message.state = ABSENT;
    });
    assert.equal(this.lane.applySettle(this.messages.length), -1, "what was never there cannot be settled");
  }

  /** Returns every `share`-th message in flight. */
  giveBack(share: number): void {
    this.messages.forEach((message, sequence) => {
      if (message.state !== IN_FLIGHT || sequence % share !== 0) return;
      message.deliveries++;
      assert.equal(this.lane.applyReturn(sequence, message.deliveries) & STATE_MASK, IN_FLIGHT);
      message.state = RETURNED;
    });
  }

  purge(): void {
    const { lane } = this;
    lane.applyPurge(lane.cursor, lane.next);
    lane.cursor = lane.next;
    for (const message of this.messages) if (message.state === READY) message.state = ABSENT;
  }

  relocate(share: number): void {
    this.messages.forEach((message, sequence) => {
      const isThere = message.state !== ABSENT;
      if (isThere && sequence % share !== 0) return;
      assert.equal(this.lane.applyRelocate(sequence, 2 ** 33 + sequence, sequence), isThere);
      message.position = 2 ** 33 + sequence;
      message.offset = sequence;
      message.cold = true;
    });
  }

  /**
   * Through a snapshot into another process: transient messages are gone, the rest is redelivered. With
   * `forgets` even, nothing durable tells of the transient messages at the end: their sequences are used again.
   */
  restart(forgets: number): void {
    const queue = this.#state.queues.get(QUEUE_ID)!;
    const { lane } = this;
    lane.redelivered.length = 0;
    while (forgets % 2 === 0 && this.messages.at(-1)?.isDurable === false) this.messages.pop();
    lane.next = this.messages.length;
    lane.marked = Math.min(lane.cursor, lane.next);
    const parts = [encodeStart(1, this.#pageRows, 0), encodeQueue(queue)];
    for (const page of lane.pages.values()) parts.push(encodePage(QUEUE_ID, lane, page, 7)?.bytes ?? Buffer.alloc(0));
    parts.push(encodeEnd(7));
    this.#state = this.#newState();
    this.#state.startReplay(Number.MAX_SAFE_INTEGER);
    const load = new SnapshotLoad(this.#state, 1);
    for (const part of parts) load.take(part);
    this.#state.finishReplay();
    this.#state.applying = APPLYING;
    this.#state.restart();
    for (const message of this.messages) {
      if (!message.isDurable) message.state = ABSENT;
      if (message.state !== IN_FLIGHT) continue;
      message.state = RETURNED;
      message.deliveries++;
    }
  }

  check(): void {
    const { lane } = this;
    let ready = 0;
    let inFlight = 0;
    let bytes = 0;
    let readyBytes = 0;
    const livePages = new Set<number>();
    this.messages.forEach((message, sequence) => {
      const number = Math.floor(sequence / this.#pageRows);
      const row = lane.rowOf(sequence);
      const page = lane.page(number);
      assert.equal((page?.state(row) ?? ABSENT) & STATE_MASK, message.state, `state of ${sequence}`);
      if (message.state === ABSENT) return;
      livePages.add(number);
      if (message.state === IN_FLIGHT) inFlight++;
      else {
        ready++;
        readyBytes += message.size;
      }
      bytes += message.size;
      assert.deepEqual(
        [page!.position(row), page!.offset(row), page!.size(row), page!.deliveries(row)],
        [message.position, message.offset, message.size, message.deliveries],
      );
      assert.equal((page!.state(row) & COLD) !== 0, message.cold);
      if (!message.cold) assert.ok(page!.positionMin <= message.position && message.position <= page!.positionMax);
    });
    assert.deepEqual([lane.ready, lane.inFlight, lane.bytes, lane.readyBytes], [ready, inFlight, bytes, readyBytes]);
    assert.equal(this.#state.liveBytes, bytes);
    const tail = Math.floor(lane.next / this.#pageRows);
    for (const page of lane.pages.values()) {
      assert.ok(livePages.has(page.number) || page.number === tail, `page ${page.number} is empty and kept`);
    }
    const head = this.#first((message) => message.state === READY || message.state === RETURNED);
    assert.equal(lane.head() ? lane.headSequence : -1, head);
  }

  #first(matches: (message: Message) => boolean): number {
    return this.messages.findIndex(matches);
  }
}

type Step = readonly ["enqueue" | "deliver" | "settle" | "giveBack" | "purge" | "relocate" | "restart", number, number];

const amount = fc.integer({ min: 1, max: 60 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.tuple(fc.constant("enqueue" as const), amount, fc.nat(1000)) },
  { weight: 5, arbitrary: fc.tuple(fc.constant("deliver" as const), amount, fc.constant(0)) },
  { weight: 4, arbitrary: fc.tuple(fc.constant("settle" as const), amount, fc.constant(0)) },
  { weight: 2, arbitrary: fc.tuple(fc.constant("giveBack" as const), amount, fc.constant(0)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("purge" as const), fc.constant(0), fc.constant(0)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("relocate" as const), amount, fc.constant(0)) },
  { weight: 1, arbitrary: fc.tuple(fc.constant("restart" as const), amount, fc.constant(0)) },
);

for (const pageRows of [2, 8, 128]) {
  test(`a lane with pages of ${pageRows} rows holds what a plain array holds`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
        const world = new LaneWorld(pageRows);
        for (const [name, n, seed] of steps) {
          world[name](n, seed);
          world.check();
        }
      }),
      { numRuns: 150 },
    );
  });
}

test("a page with few live rows becomes sparse, and keeps them all", () => {
  const world = new LaneWorld(128);
  world.enqueue(400, 1);
  world.deliver(400);
  world.settle(50);
  world.check();
  const slots = [...world.lane.pages.values()].map((page) => page.copyDurable(0).states.length);
  assert.ok(Math.max(...slots.slice(0, -1)) <= 16, `pages of ${slots.join(", ")} slots`);
  world.restart(1);
  world.check();
  world.enqueue(200, 2);
  world.check();
});

test("a sparse page takes messages again when a crash has forgotten the transient ones that closed it", () => {
  const world = new LaneWorld(128);
  world.enqueue(100, 1);
  world.enqueue(60, 3);
  world.deliver(160);
  world.settle(50);
  world.restart(2);
  assert.equal(world.lane.next, 99);
  assert.ok(world.lane.page(0)!.copyDurable(0).rows !== undefined, "the page is sparse");
  world.enqueue(60, 4);
  world.check();
});

test("a sequence that is used again after a crash starts without the deliveries of the message before", () => {
  const world = new LaneWorld(128);
  world.enqueue(21, 940);
  world.deliver(21);
  world.giveBack(1);
  world.restart(2);
  world.enqueue(1, 1);
  world.check();
});
