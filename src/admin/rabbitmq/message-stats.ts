// message_stats and totals with their rates, as RabbitMQ names them.

import type { Rated } from "../../observe/rates.ts";
import type { Admin } from "../admin.ts";

interface Counted {
  readonly published: number;
  readonly delivered: number;
  readonly redelivered: number;
  readonly acked: number;
}

type Stats = Readonly<Record<string, unknown>>;

/** Deliveries to consumers and to basic.get are counted together. */
export function messageStats({ published, delivered, redelivered, acked }: Counted, perSecond: Rated): Stats {
  return {
    ...withRate("publish", published, perSecond.published),
    ...withRate("deliver", delivered, perSecond.delivered),
    ...withRate("deliver_get", delivered, perSecond.delivered),
    ...withRate("redeliver", redelivered, perSecond.redelivered),
    ...withRate("ack", acked, perSecond.acked),
  };
}

export function totalMessageStats({ broker, rates }: Admin): Stats {
  return messageStats(broker.counters, rates.totals);
}

export function queueTotals(
  { messagesReady, messagesUnacked }: { readonly messagesReady: number; readonly messagesUnacked: number },
  perSecond: Rated,
): Stats {
  return {
    ...withRate("messages", messagesReady + messagesUnacked, perSecond.ready + perSecond.unacked),
    ...withRate("messages_ready", messagesReady, perSecond.ready),
    ...withRate("messages_unacknowledged", messagesUnacked, perSecond.unacked),
  };
}

function withRate(name: string, value: number, rate: number): Stats {
  return { [name]: value, [`${name}_details`]: { rate } };
}
