// Metrics of single objects: queues, connections, channels. A page holds a limited number of each, so that
// neither the broker nor who scrapes it is drowned; what is left out is counted.

import type { QueueView } from "../broker/management/topology.ts";
import { LIMITS } from "../limits.ts";
import type { MetricsPage } from "../observe/metrics.ts";
import { channelName, channelsOf, connectionName, isConnected } from "./rabbitmq/connections.ts";
import type { Call } from "./route.ts";

type Labels = Readonly<Record<string, string>>;

/** Which objects a page shows, and how its metrics are called. */
export interface Chosen {
  readonly call: Call;
  /** "rabbitmq_" or "rabbitmq_detailed_". */
  readonly prefix: string;
  readonly vhosts: ReadonlySet<string> | undefined;
}

export interface QueueSample {
  readonly ready: number;
  readonly inFlight: number;
  readonly consumers: number;
  readonly bytes: number;
  readonly readyBytes: number;
}

export function addQueueDepth(
  page: MetricsPage,
  prefix: string,
  { ready, inFlight }: QueueSample,
  labels: Labels = {},
): void {
  page.gauge(`${prefix}queue_messages_ready`, "Messages ready to be delivered.", ready, labels);
  page.gauge(`${prefix}queue_messages_unacked`, "Messages delivered and not acknowledged yet.", inFlight, labels);
  page.gauge(`${prefix}queue_messages`, "Ready and unacknowledged messages.", ready + inFlight, labels);
}

export function addQueueDetails(page: MetricsPage, prefix: string, sample: QueueSample, labels: Labels = {}): void {
  const { consumers, bytes, readyBytes } = sample;
  page.gauge(`${prefix}queue_consumers`, "Consumers of queues.", consumers, labels);
  page.gauge(`${prefix}queue_messages_bytes`, "Stored size of the messages of queues.", bytes, labels);
  page.gauge(`${prefix}queue_messages_ready_bytes`, "Stored size of those that are ready.", readyBytes, labels);
}

const COUNTERS = [
  ["published", "published", "Messages that came to a queue."],
  ["delivered", "delivered", "Messages delivered from a queue."],
  ["redelivered", "redelivered", "Messages delivered again."],
  ["acked", "acknowledged", "Messages acknowledged."],
  ["returned", "returned", "Messages that came back."],
  ["expired", "expired", "Messages that were too old."],
  ["deadLettered", "dead_lettered", "Messages that became dead letters."],
  ["dropped", "dropped", "Messages that are gone for another reason."],
  ["refused", "refused", "Publishes that a full queue refused."],
  ["deduplicated", "deduplicated", "Publishes that were duplicates."],
] as const;

/** Families of metrics of queues: what each adds for one. */
const QUEUE_FAMILIES: Readonly<
  Record<string, (page: MetricsPage, prefix: string, queue: QueueView, labels: Labels) => void>
> = {
  queue_coarse_metrics: (page, prefix, { counts }, labels) => addQueueDepth(page, prefix, counts, labels),
  queue_consumer_count: (page, prefix, { counts }, labels) => {
    page.gauge(`${prefix}queue_consumers`, "Consumers of queues.", counts.consumers, labels);
  },
  queue_metrics: (page, prefix, { counts }, labels) => {
    addQueueDetails(page, prefix, counts, labels);
    for (const [field, word, help] of COUNTERS) {
      page.counter(`quayside_queue_messages_${word}_total`, help, counts.counters[field], labels);
    }
  },
};

const CONNECTION_FAMILIES = ["connection_coarse_metrics", "connection_metrics"] as const;

/** Families that RabbitMQ has too. An unknown one adds nothing, as there. */
export const FAMILIES: readonly string[] = [...Object.keys(QUEUE_FAMILIES), ...CONNECTION_FAMILIES, "channel_metrics"];

/** Adds the families that are asked for, each once. */
export function addFamilies(page: MetricsPage, chosen: Chosen, families: ReadonlySet<string>): void {
  const ofQueues = Object.entries(QUEUE_FAMILIES).filter(([family]) => families.has(family));
  if (ofQueues.length > 0)
    addQueues(
      page,
      chosen,
      ofQueues.map(([, add]) => add),
    );
  addConnections(page, chosen, families);
  if (families.has("channel_metrics")) addChannels(page, chosen);
}

function addQueues(page: MetricsPage, chosen: Chosen, adds: readonly (typeof QUEUE_FAMILIES)[string][]): void {
  const { call, prefix } = chosen;
  let [shown, left] = [0, 0];
  for (const queue of call.admin.broker.management.topology.queues()) {
    const { vhost, name } = queue.record;
    if (!isChosen(chosen, vhost)) continue;
    if (shown >= LIMITS.metricsObjectsMax) {
      left++;
      continue;
    }
    shown++;
    for (const add of adds) add(page, prefix, queue, { vhost, queue: name });
  }
  addLeftOut(page, "queue", left);
}

function addConnections(page: MetricsPage, chosen: Chosen, families: ReadonlySet<string>): void {
  if (!CONNECTION_FAMILIES.some((family) => families.has(family))) return;
  const { prefix } = chosen;
  const sessions = sessionsOf(chosen);
  for (const { client } of sessions.slice(0, LIMITS.metricsObjectsMax)) {
    const labels = { connection: connectionName(client) };
    if (families.has("connection_coarse_metrics")) {
      page.counter(`${prefix}connection_incoming_bytes_total`, "Bytes received.", client.receivedBytes, labels);
      page.counter(`${prefix}connection_outgoing_bytes_total`, "Bytes sent.", client.sentBytes, labels);
    }
    if (families.has("connection_metrics")) {
      page.gauge(`${prefix}connection_channels`, "Channels of a connection.", client.channels().length, labels);
    }
  }
  addLeftOut(page, "connection", sessions.length - LIMITS.metricsObjectsMax);
}

function addChannels(page: MetricsPage, chosen: Chosen): void {
  const { prefix } = chosen;
  const open = channelsOf(sessionsOf(chosen));
  for (const each of open.slice(0, LIMITS.metricsObjectsMax)) {
    const { channel } = each;
    const labels = { channel: channelName(each) };
    const gauge = (name: string, help: string, value: number) => page.gauge(`${prefix}${name}`, help, value, labels);
    gauge("channel_consumers", "Consumers of a channel.", channel.consumers.length);
    gauge("channel_messages_unacked", "Deliveries without an acknowledgement.", channel.unacked);
    gauge("channel_messages_unconfirmed", "Publishes without a confirm.", channel.unconfirmed);
    gauge("channel_prefetch", "Limit of unacknowledged deliveries of a channel.", channel.globalPrefetch);
    gauge("consumer_prefetch", "Limit for each new consumer.", channel.prefetch);
  }
  addLeftOut(page, "channel", open.length - LIMITS.metricsObjectsMax);
}

function sessionsOf(chosen: Chosen) {
  const sessions = Array.from(chosen.call.admin.broker.management.sessions.list()).filter(isConnected);
  return sessions.filter(({ vhost }) => isChosen(chosen, vhost));
}

function isChosen({ call, vhosts }: Chosen, vhost: string): boolean {
  return (vhosts === undefined || vhosts.has(vhost)) && (call.isAnonymous || call.sees(vhost));
}

function addLeftOut(page: MetricsPage, kind: string, count: number): void {
  page.gauge("quayside_metrics_left_out", "Objects beyond the limit of one page.", Math.max(0, count), { kind });
}
