// What rates are taken of: the queues of the broker, and all of them together.

import type { Broker } from "../broker/broker.ts";
import type { QueueView } from "../broker/management/topology.ts";
import { LIMITS } from "../limits.ts";
import { type Rated, Rates } from "../observe/rates.ts";
import type { Clock } from "../ports/clock.ts";

export function createRates(clock: Clock, { counters, management: { topology } }: Broker): Rates {
  return new Rates(clock, {
    totals: () => {
      let [ready, unacked] = [0, 0];
      // Adding up a million queues every few seconds would be felt: the depths of so many have no rate.
      const isFew = topology.sizes().queues <= LIMITS.ratedQueuesMax;
      for (const { counts } of isFew ? topology.queues() : []) {
        ready += counts.ready;
        unacked += counts.inFlight;
      }
      const { published, delivered, redelivered, acked } = counters;
      return { published, delivered, redelivered, acked, ready, unacked };
    },
    *queues() {
      for (const { record, counts } of topology.queues()) yield [record.id, ratedOf(counts)];
    },
  });
}

function ratedOf({ counters, ready, inFlight }: QueueView["counts"]): Rated {
  const { published, delivered, redelivered, acked } = counters;
  return { published, delivered, redelivered, acked, ready, unacked: inFlight };
}
