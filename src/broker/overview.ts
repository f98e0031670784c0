// The broker's state as plain data, for the HTTP interface and the metrics. A copy: reading it changes
// nothing, and it does not change afterwards.

import { tableToJson, type JsonValue } from "../model/field-table-json.ts";
import type { ShardCounters, ShardPort } from "../queues/shard-port.ts";
import type { AlarmKind } from "./flow.ts";
import { VHOST, type Topology } from "./topology.ts";

export interface QueueOverview {
  readonly vhost: string;
  readonly name: string;
  readonly type: "classic" | "quorum";
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly exclusive: boolean;
  readonly arguments: JsonValue;
  readonly messagesReady: number;
  readonly messagesUnacknowledged: number;
  readonly messageBytes: number;
  readonly consumers: number;
}

export interface ExchangeOverview {
  readonly vhost: string;
  readonly name: string;
  readonly type: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly internal: boolean;
  readonly arguments: JsonValue;
}

export interface BindingOverview {
  readonly vhost: string;
  readonly source: string;
  readonly destination: string;
  readonly routingKey: string;
  readonly arguments: JsonValue;
}

export interface BrokerOverview {
  /** Unix time at which the broker was ready, ms. */
  readonly startedAtMs: number;
  readonly sessions: number;
  readonly alarms: readonly AlarmKind[];
  readonly congested: boolean;
  readonly counters: Readonly<ShardCounters>;
  readonly queues: readonly QueueOverview[];
  readonly exchanges: readonly ExchangeOverview[];
  readonly bindings: readonly BindingOverview[];
}

export function queueOverviews(topology: Topology, shard: ShardPort): readonly QueueOverview[] {
  return [...topology.queues.values()].map(({ record, consumers }) => {
    const counts = shard.counts(record.id);
    return {
      vhost: VHOST,
      name: record.name,
      type: record.quorum ? "quorum" : "classic",
      durable: record.durable,
      autoDelete: record.autoDelete,
      exclusive: record.ownerId !== 0,
      arguments: tableToJson(record.arguments),
      messagesReady: counts.ready,
      messagesUnacknowledged: counts.inFlight,
      messageBytes: counts.bytes,
      consumers,
    };
  });
}

export function exchangeOverviews(topology: Topology): readonly ExchangeOverview[] {
  return [...topology.exchanges.values()].map(({ settings }) => ({
    ...settings,
    vhost: VHOST,
    arguments: tableToJson(settings.arguments),
  }));
}

/** With the implied bindings of the default exchange to every queue left out. */
export function bindingOverviews(topology: Topology): readonly BindingOverview[] {
  const bindings: BindingOverview[] = [];
  for (const exchange of topology.exchanges.values()) {
    for (const binding of exchange.bindings.values()) {
      const { routingKey, to } = binding;
      const args = tableToJson(binding.arguments);
      bindings.push({
        vhost: VHOST,
        source: exchange.settings.name,
        destination: to.record.name,
        routingKey,
        arguments: args,
      });
    }
  }
  return bindings;
}
