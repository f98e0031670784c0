import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../src/limits.ts";
import { type Rated, Rates } from "../../src/observe/rates.ts";
import { SimClock } from "../sim/sim-clock.ts";

const NOTHING: Rated = { published: 0, delivered: 0, redelivered: 0, acked: 0, ready: 0, unacked: 0 };

test("a rate is what the last period brought, per second; a new queue has none until it was seen twice", async () => {
  const clock = new SimClock();
  let totals = NOTHING;
  const queues = new Map<number, Rated>();
  const rates = new Rates(clock, { totals: () => totals, queues: () => queues });
  const period = (): Promise<void> => clock.advance(LIMITS.ratesPeriodMs);
  totals = { ...NOTHING, published: 50, ready: 10 };
  queues.set(1, { ...NOTHING, published: 5 });
  await period();
  assert.deepEqual([rates.totals.published, rates.totals.ready], [10, 2]);
  assert.equal(rates.queue(1).published, 0);
  queues.set(1, { ...NOTHING, published: 30 });
  totals = { ...totals, ready: 0 };
  await period();
  assert.deepEqual([rates.totals.published, rates.totals.ready], [0, -2]);
  assert.equal(rates.queue(1).published, 5);
  queues.delete(1);
  await period();
  assert.equal(rates.queue(1).published, 0);
  rates.stop();
});

test("a limited number of queues is sampled", async () => {
  const clock = new SimClock();
  let looked = 0;
  function* queues(): Generator<readonly [number, Rated]> {
    for (let id = 0; id < LIMITS.ratedQueuesMax * 2; id++) {
      looked++;
      yield [id, NOTHING];
    }
  }
  const rates = new Rates(clock, { totals: () => NOTHING, queues });
  await clock.advance(LIMITS.ratesPeriodMs);
  rates.stop();
  assert.equal(looked, LIMITS.ratedQueuesMax + 1);
});
