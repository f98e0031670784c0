// The broker's state as plain data, for the HTTP interface and the metrics. A copy: reading it changes
// nothing, and it does not change afterwards.

import { tableToJson, type JsonValue } from "../model/field-table-json.ts";
import type { ShardCounters, ShardPort } from "../queues/shard-port.ts";
import type { AlarmKind } from "./flow.ts";
import { Queue, type Topology } from "./topology.ts";

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
  readonly destinationType: "queue" | "exchange";
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
  return [...topology.queuesById.values()].map(({ record, consumers }) => {
    const counts = shard.counts(record.id);
    return {
      vhost: record.vhost,
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
  return [...topology.exchangesById.values()].map(({ settings }) => ({
    ...settings,
    arguments: tableToJson(settings.arguments),
  }));
}

/** With the implied bindings of the default exchange to every queue left out. */
export function bindingOverviews(topology: Topology): readonly BindingOverview[] {
  const bindings: BindingOverview[] = [];
  for (const exchange of topology.exchangesById.values()) {
    for (const binding of exchange.bindings.values()) {
      const { vhost, routingKey, to } = binding;
      const isQueue = to instanceof Queue;
      bindings.push({
        vhost,
        source: exchange.settings.name,
        destination: isQueue ? to.record.name : to.settings.name,
        destinationType: isQueue ? "queue" : "exchange",
        routingKey,
        arguments: tableToJson(binding.arguments),
      });
    }
  }
  return bindings;
}
