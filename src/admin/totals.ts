// Sums over all queues. They cost time in proportion to the number of queues, so a page asks once.

import type { Admin } from "./admin.ts";

export interface Totals {
  readonly queues: number;
  readonly exchanges: number;
  readonly bindings: number;
  readonly connections: number;
  readonly channels: number;
  readonly consumers: number;
  readonly messagesReady: number;
  readonly messagesUnacked: number;
  /** Stored size of all messages, bytes. */
  readonly bytes: number;
  readonly readyBytes: number;
}

export function totalsOf({ broker, connections }: Admin): Totals {
  const { topology, sessions } = broker.management;
  let [messagesReady, messagesUnacked, consumers, bytes, readyBytes, channels] = [0, 0, 0, 0, 0, 0];
  for (const { counts } of topology.queues()) {
    messagesReady += counts.ready;
    messagesUnacked += counts.inFlight;
    consumers += counts.consumers;
    bytes += counts.bytes;
    readyBytes += counts.readyBytes;
  }
  for (const { client } of sessions.list()) channels += client?.channels().length ?? 0;
  return {
    ...topology.sizes(),
    connections: connections(),
    channels,
    consumers,
    messagesReady,
    messagesUnacked,
    bytes,
    readyBytes,
  };
}
