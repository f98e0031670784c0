// The metrics pages. rabbitmq_* names mean what RabbitMQ's own exporter means by them; the rest begins
// with quayside_ or process_.

import { MetricsPage } from "../observe/metrics.ts";
import { RABBITMQ_VERSION, VERSION } from "../version.ts";
import type { Admin } from "./admin.ts";
import { addFamilies, addQueueDepth, addQueueDetails, FAMILIES } from "./metrics-objects.ts";
import type { Answer, Route } from "./route.ts";
import { totalsOf } from "./totals.ts";

const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export const METRICS_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/metrics",
    summary: "Totals for Prometheus.",
    role: "local",
    handler: ({ admin }) => {
      const page = new MetricsPage();
      addBroker(page, admin);
      addTotals(page, admin);
      return answer(page);
    },
  },
  {
    method: "GET",
    path: "/metrics/per-object",
    summary: "The same with a sample for each queue, connection and channel, at most 10,000 of each.",
    role: "local",
    handler: (call) => {
      const page = new MetricsPage();
      addBroker(page, call.admin);
      addFamilies(page, { call, prefix: "rabbitmq_", vhosts: undefined }, new Set(FAMILIES));
      return answer(page);
    },
  },
  {
    method: "GET",
    path: "/metrics/detailed",
    summary: `Only what is asked for. Query: family (${FAMILIES.join(", ")}) and vhost, each as often as wanted.`,
    role: "local",
    handler: (call) => {
      const page = new MetricsPage();
      addBuild(page);
      const vhosts = call.query.getAll("vhost");
      const chosen = { call, prefix: "rabbitmq_detailed_", vhosts: vhosts.length === 0 ? undefined : new Set(vhosts) };
      addFamilies(page, chosen, new Set(call.query.getAll("family")));
      return answer(page);
    },
  },
];

function answer(page: MetricsPage): Answer {
  return { status: 200, contentType: CONTENT_TYPE, body: page.toString() };
}

function addBuild(page: MetricsPage): void {
  const version = { product_name: "Quayside", product_version: VERSION, rabbitmq_version: RABBITMQ_VERSION };
  page.gauge("rabbitmq_build_info", "Version of this broker.", 1, version);
}

/** What is said of the broker as a whole. */
function addBroker(page: MetricsPage, admin: Admin): void {
  addBuild(page);
  const totals = totalsOf(admin);
  const uptimeSeconds = Math.max(0, (admin.clock.wallMs() - admin.broker.startedAtMs) / 1000);
  page.gauge("rabbitmq_connections", "Open client connections.", totals.connections);
  page.gauge("rabbitmq_channels", "Open channels.", totals.channels);
  page.gauge("rabbitmq_queues", "Queues.", totals.queues);
  page.gauge("rabbitmq_consumers", "Consumers.", totals.consumers);
  page.gauge("rabbitmq_global_consumers", "Consumers.", totals.consumers, PROTOCOL);
  page.gauge("quayside_exchanges", "Exchanges.", totals.exchanges);
  page.gauge("quayside_bindings", "Bindings.", totals.bindings);
  page.gauge("quayside_failed", "1 when storage has failed and nothing is confirmed.", admin.failed() ? 1 : 0);
  page.gauge("quayside_uptime_seconds", "Time since the broker became ready.", uptimeSeconds);
  addCounters(page, admin);
  addProcess(page, admin);
}

/** All queues, connections and channels together, under the names that they have one by one. */
function addTotals(page: MetricsPage, admin: Admin): void {
  const totals = totalsOf(admin);
  const sample = { ...totals, ready: totals.messagesReady, inFlight: totals.messagesUnacked };
  addQueueDepth(page, "rabbitmq_", sample);
  addQueueDetails(page, "rabbitmq_", sample);
  page.gauge("rabbitmq_channel_messages_unacked", "Deliveries without an acknowledgement.", totals.messagesUnacked);
}

const PROTOCOL = { protocol: "amqp091" };

function addCounters(page: MetricsPage, { broker: { counters }, commits }: Admin): void {
  const name = (what: string) => `rabbitmq_global_messages_${what}_total`;
  page.counter(name("received"), "Messages received from publishers.", counters.published, PROTOCOL);
  page.counter(name("delivered"), "Messages delivered to consumers.", counters.delivered, PROTOCOL);
  page.counter(name("redelivered"), "Messages delivered again.", counters.redelivered, PROTOCOL);
  page.counter(name("acknowledged"), "Messages acknowledged by consumers.", counters.acked, PROTOCOL);
  page.counter("quayside_messages_requeued_total", "Messages put back to their queue.", counters.requeued);
  page.counter("quayside_messages_purged_total", "Messages dropped by purge.", counters.purged);
  page.counter("quayside_messages_dropped_total", "Messages dropped with their queue or rejected.", counters.dropped);
  page.counter("quayside_messages_expired_total", "Messages that were too old.", counters.expired);
  page.counter("quayside_messages_dead_lettered_total", "Messages that became dead letters.", counters.deadLettered);
  page.counter("quayside_messages_refused_total", "Publishes that a full queue refused.", counters.refused);
  page.counter("quayside_messages_deduplicated_total", "Publishes that were duplicates.", counters.deduplicated);
  page.counter("quayside_log_commits_total", "Group commits of the log.", commits());
}

function addProcess(page: MetricsPage, { broker, machine, monitor, loopWatch }: Admin): void {
  const { alarms } = broker;
  const alarm = (kind: "memory" | "disk") => (alarms.includes(kind) ? 1 : 0);
  const residentBytes = machine.residentBytes();
  const blocks = "blocks publishers.";
  page.gauge("rabbitmq_alarms_memory_used_watermark", `1 while memory ${blocks}`, alarm("memory"));
  page.gauge("rabbitmq_alarms_free_disk_space_watermark", `1 while disk ${blocks}`, alarm("disk"));
  page.gauge("rabbitmq_process_resident_memory_bytes", "Resident memory.", residentBytes);
  page.gauge("rabbitmq_resident_memory_limit_bytes", `Memory that ${blocks}`, monitor.memoryLimitBytes);
  if (monitor.diskFreeBytes !== undefined) {
    page.gauge("rabbitmq_disk_space_available_bytes", "Free space for data.", monitor.diskFreeBytes);
    page.gauge("rabbitmq_disk_space_available_limit_bytes", `Free space that ${blocks}`, monitor.diskLimitBytes);
  }
  page.gauge("process_resident_memory_bytes", "Resident memory.", residentBytes);
  page.counter("process_cpu_seconds_total", "CPU time used.", machine.cpuSeconds());
  const head = {
    name: "quayside_event_loop_delay_seconds",
    type: "gauge",
    help: "How late the event loop runs.",
  } as const;
  for (const [quantile, seconds] of loopWatch.read().quantiles) page.add(head, seconds, { quantile: String(quantile) });
}
