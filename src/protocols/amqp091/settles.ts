// Acks of one connection on their way to the broker: neighbours are merged, so that a consumer which
// acks one by one costs one broker call per run of sequences and not one per message.

import type { BrokerFacade } from "../../broker/facade.ts";
import { SETTLE_ACKED } from "../../model/delivery.ts";

export class Settles {
  private readonly broker: BrokerFacade;
  private queueId = -1;
  private lane = 0;
  private first = 0;
  private last = 0;

  constructor(broker: BrokerFacade) {
    this.broker = broker;
  }

  /** Adds the acked run first..last; it reaches the broker with the next `flush` at the latest. */
  readonly add = (queueId: number, lane: number, first: number, last: number): void => {
    if (queueId === this.queueId && lane === this.lane) {
      if (first === this.last + 1) {
        this.last = last;
        return;
      }
      if (last === this.first - 1) {
        this.first = first;
        return;
      }
    }
    this.flush();
    this.queueId = queueId;
    this.lane = lane;
    this.first = first;
    this.last = last;
  };

  /** Hands over what is pending. Must run before any call whose result the acks may change. */
  flush(): void {
    if (this.queueId < 0) return;
    const queueId = this.queueId;
    this.queueId = -1;
    this.broker.settle(queueId, this.lane, this.first, this.last, SETTLE_ACKED);
  }
}
