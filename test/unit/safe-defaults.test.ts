// Safe defaults on a whole broker: the real shard over the memory log, with time that the test moves.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createBroker } from "../../src/broker/broker.ts";
import { createMemoryLogStore } from "../../src/log/memory.ts";
import type { Consumer, DeliverySink } from "../../src/model/delivery.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { openShard } from "../../src/queues/open-shard.ts";
import { message, NO_PROPERTIES, queue, silentLogger, testHashing, testRandom } from "./broker-fixtures.ts";

const ADMIN = { user: "guest", tags: ["administrator"] };

class MovedClock implements Clock {
  nowMs = 1_700_000_000_000;
  #timers: { readonly atMs: number; readonly run: () => void }[] = [];
  wallMs = () => this.nowMs;
  monotonicMs = () => this.nowMs;

  after(delayMs: number, run: () => void) {
    const timer = { atMs: this.nowMs + delayMs, run };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((each) => each !== timer)) };
  }

  /** Moves time on in steps, with what is due and the turns that follow it. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    const stepMs = Math.max(1, ms / 20);
    while (this.nowMs < endMs) {
      this.nowMs = Math.min(endMs, this.nowMs + stepMs);
      const due = this.#timers.filter(({ atMs }) => atMs <= this.nowMs);
      this.#timers = this.#timers.filter(({ atMs }) => atMs > this.nowMs);
      for (const { run } of due) run();
      for (let turn = 0; turn < 4; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

/** Gives every message back, one at a time, and notes when it came. */
class Failing implements DeliverySink {
  readonly atMs: number[] = [];
  consumer: Consumer | undefined;
  readonly #clock: MovedClock;
  readonly #giveBack: (queueId: number, lane: number, sequence: number) => void;

  constructor(clock: MovedClock, giveBack: (queueId: number, lane: number, sequence: number) => void) {
    this.#clock = clock;
    this.#giveBack = giveBack;
  }

  deliver(_bytes: Buffer, _start: number, _size: number, queueId: number, lane: number, sequence: number): boolean {
    this.atMs.push(this.#clock.nowMs);
    setImmediate(() => this.#giveBack(queueId, lane, sequence));
    return true;
  }

  cancelled(): void {
    throw new Error("the queue stays");
  }
}

async function openWorld(clock: MovedClock) {
  const turn = { schedule: (run: () => void) => void setImmediate(run) };
  const store = createMemoryLogStore({ clock, turn });
  const random = testRandom();
  let committed: () => void = () => undefined;
  const { shard } = await openShard({
    store,
    clock,
    turn,
    logger: silentLogger,
    events: {
      onCommitted: () => committed(),
      onFlow: () => undefined,
      onSpace: () => undefined,
      onFailed: (error) => {
        throw error;
      },
    },
  });
  const atTurnEnd = (work: () => void): void => shard.atTurnEnd(work);
  const parts = { store, shard, clock, random, hashing: testHashing, logger: silentLogger, atTurnEnd };
  const broker = await createBroker(parts);
  committed = () => broker.committedChanged();
  return { broker, session: broker.openSession("guest", "/") };
}

for (const type of ["classic", "quorum"]) {
  test(`under safe defaults a message that always fails is tried later and later, then rests beside its ${type} queue`, async () => {
    const clock = new MovedClock();
    const { broker, session } = await openWorld(clock);
    broker.declareQueue(session, queue("q", { arguments: new Map([["x-queue-type", type]]) }));
    broker.management.policies.putSafeDefaults(ADMIN, "/", "^q");
    await clock.pass(50);
    const sink = new Failing(clock, (id, lane, sequence) => broker.requeue(id, lane, sequence, "client"));
    broker.consume(session, "q", sink, { noAck: false, exclusive: false });
    broker.publish(message("poison"), broker.route(session, "", "q", NO_PROPERTIES));
    await clock.pass(50);
    assert.equal(sink.atMs.length, 1, "it comes at once, and then not in a hot loop");
    for (let minute = 0; minute < 12; minute++) await clock.pass(60_000);
    const gapsS = sink.atMs.slice(1).map((atMs, index) => (atMs - (sink.atMs[index] ?? 0)) / 1000);
    const { topology, messages } = broker.management;
    const dead = topology.queue("/", "q.dlq")?.counts.ready;
    assert.deepEqual([sink.atMs.length, dead, topology.queue("/", "q")?.counts.ready], [6, 1, 0], gapsS.join(" "));
    // Steps of three seconds blur the first ones.
    for (const [index, expected] of [1, 4, 16, 64, 256].entries()) {
      const gap = gapsS[index] ?? 0;
      assert(gap >= expected * 0.79 && gap <= expected * 1.21 + 3.1, `${index}: ${gap}`);
    }
    for (let look = 0; look < 30; look++) {
      const [taken] = await messages.take(ADMIN, "/", "q.dlq", { count: 1, fate: "requeue" });
      assert.equal(taken?.body.toString(), "poison");
    }
    assert.equal(topology.queue("/", "q.dlq")?.counts.ready, 1, "looking at it thirty times leaves it there");
  });
}
