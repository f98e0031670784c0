// The metrics page. rabbitmq_* names mean what RabbitMQ's own exporter means by them.

import { MetricsPage } from "../observe/metrics.ts";
import { RABBITMQ_VERSION, VERSION } from "../version.ts";
import type { Admin } from "./admin.ts";
import type { Answer, Route } from "./route.ts";
import { totalsOf } from "./totals.ts";

const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export const METRICS_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/metrics",
    summary: "Totals for Prometheus.",
    role: "local",
    handler: ({ admin }) => page(totalsPage(admin)),
  },
];

function page(metrics: MetricsPage): Answer {
  return { status: 200, contentType: CONTENT_TYPE, body: metrics.toString() };
}

function totalsPage(admin: Admin): MetricsPage {
  const metrics = new MetricsPage();
  const version = { product_name: "Quayside", product_version: VERSION, rabbitmq_version: RABBITMQ_VERSION };
  metrics.gauge("rabbitmq_build_info", "Version of this broker.", 1, version);
  const totals = totalsOf(admin);
  addObjects(metrics, admin, totals);
  addQueue(metrics, { ready: totals.messagesReady, inFlight: totals.messagesUnacked, ...totals });
  addCounters(metrics, admin);
  addProcess(metrics, admin);
  return metrics;
}

function addObjects(metrics: MetricsPage, admin: Admin, totals: ReturnType<typeof totalsOf>): void {
  const uptimeSeconds = Math.max(0, (admin.clock.wallMs() - admin.broker.startedAtMs) / 1000);
  metrics.gauge("rabbitmq_connections", "Open client connections.", totals.connections);
  metrics.gauge("rabbitmq_channels", "Open channels.", totals.channels);
  metrics.gauge("rabbitmq_queues", "Queues.", totals.queues);
  metrics.gauge("rabbitmq_consumers", "Consumers.", totals.consumers);
  metrics.gauge("quayside_exchanges", "Exchanges.", totals.exchanges);
  metrics.gauge("quayside_bindings", "Bindings.", totals.bindings);
  metrics.gauge("quayside_failed", "1 when storage has failed and nothing is confirmed.", admin.failed() ? 1 : 0);
  metrics.gauge("quayside_uptime_seconds", "Time since the broker became ready.", uptimeSeconds);
}

interface QueueSample {
  readonly ready: number;
  readonly inFlight: number;
  readonly consumers: number;
  readonly bytes: number;
}

function addQueue(
  metrics: MetricsPage,
  { ready, inFlight, consumers, bytes }: QueueSample,
  labels: Readonly<Record<string, string>> = {},
): void {
  metrics.gauge("rabbitmq_queue_messages_ready", "Messages ready to be delivered.", ready, labels);
  metrics.gauge("rabbitmq_queue_messages_unacked", "Messages delivered and not acknowledged yet.", inFlight, labels);
  metrics.gauge("rabbitmq_queue_messages", "Ready and unacknowledged messages.", ready + inFlight, labels);
  metrics.gauge("rabbitmq_queue_consumers", "Consumers of queues.", consumers, labels);
  metrics.gauge("rabbitmq_queue_messages_bytes", "Stored size of the messages of queues.", bytes, labels);
}

function addCounters(metrics: MetricsPage, { broker: { counters }, commits }: Admin): void {
  const protocol = { protocol: "amqp091" };
  const name = (what: string) => `rabbitmq_global_messages_${what}_total`;
  metrics.counter(name("received"), "Messages received from publishers.", counters.published, protocol);
  metrics.counter(name("delivered"), "Messages delivered to consumers.", counters.delivered, protocol);
  metrics.counter(name("redelivered"), "Messages delivered again.", counters.redelivered, protocol);
  metrics.counter(name("acknowledged"), "Messages acknowledged by consumers.", counters.acked, protocol);
  metrics.counter("quayside_messages_requeued_total", "Messages put back to their queue.", counters.requeued);
  metrics.counter("quayside_messages_purged_total", "Messages dropped by purge.", counters.purged);
  metrics.counter(
    "quayside_messages_dropped_total",
    "Messages dropped with their queue or rejected.",
    counters.dropped,
  );
  metrics.counter("quayside_log_commits_total", "Group commits of the log.", commits());
}

function addProcess(metrics: MetricsPage, { broker, machine, monitor, loopWatch }: Admin): void {
  const { alarms } = broker;
  const alarm = (kind: "memory" | "disk") => (alarms.includes(kind) ? 1 : 0);
  const residentBytes = machine.residentBytes();
  const blocks = "blocks publishers.";
  metrics.gauge("rabbitmq_alarms_memory_used_watermark", `1 while memory ${blocks}`, alarm("memory"));
  metrics.gauge("rabbitmq_alarms_free_disk_space_watermark", `1 while disk ${blocks}`, alarm("disk"));
  metrics.gauge("rabbitmq_process_resident_memory_bytes", "Resident memory.", residentBytes);
  metrics.gauge("rabbitmq_resident_memory_limit_bytes", `Memory that ${blocks}`, monitor.memoryLimitBytes);
  if (monitor.diskFreeBytes !== undefined) {
    metrics.gauge("rabbitmq_disk_space_available_bytes", "Free space for data.", monitor.diskFreeBytes);
    metrics.gauge("rabbitmq_disk_space_available_limit_bytes", `Free space that ${blocks}`, monitor.diskLimitBytes);
  }
  metrics.gauge("process_resident_memory_bytes", "Resident memory.", residentBytes);
  metrics.counter("process_cpu_seconds_total", "CPU time used.", machine.cpuSeconds());
  const head = {
    name: "quayside_event_loop_delay_seconds",
    type: "gauge",
    help: "How late the event loop runs.",
  } as const;
  for (const [quantile, seconds] of loopWatch.read().quantiles)
    metrics.add(head, seconds, { quantile: String(quantile) });
}
