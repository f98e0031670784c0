// The metrics page. rabbitmq_* names mean what RabbitMQ's own exporter means by them.

import { MetricsPage } from "../observe/metrics.ts";
import type { OverviewView, QueueView } from "./source.ts";

/** The page for one scrape. Without `queues` the queue metrics are totals without labels. */
export function metricsText(overview: OverviewView, queues: readonly QueueView[]): string {
  const page = new MetricsPage();
  page.gauge("rabbitmq_build_info", "Version of this broker.", 1, {
    product_name: "Quayside",
    product_version: overview.version,
  });
  addTotals(page, overview);
  if (queues.length === 0) {
    addQueue(page, overview.messagesReady, overview.messagesUnacked, overview.consumers, {});
  } else {
    for (const queue of queues) {
      const labels = { vhost: queue.vhost, queue: queue.name };
      addQueue(page, queue.messagesReady, queue.messagesUnacked, queue.consumers, labels);
      page.gauge("rabbitmq_queue_message_bytes", "Stored size of the messages of queues.", queue.bytes, labels);
    }
  }
  addCounters(page, overview);
  addProcess(page, overview);
  return page.toString();
}

function addTotals(page: MetricsPage, overview: OverviewView): void {
  page.gauge("rabbitmq_connections", "Open client connections.", overview.connections);
  page.gauge("rabbitmq_queues", "Queues.", overview.queues);
  page.gauge("rabbitmq_consumers", "Consumers.", overview.consumers);
  page.gauge("quayside_exchanges", "Exchanges.", overview.exchanges);
  page.gauge("quayside_bindings", "Bindings.", overview.bindings);
  page.gauge("quayside_failed", "1 when storage has failed and nothing is confirmed.", overview.failed ? 1 : 0);
  page.gauge("quayside_uptime_seconds", "Time since the broker became ready.", overview.uptimeSeconds);
}

function addQueue(
  page: MetricsPage,
  ready: number,
  unacked: number,
  consumers: number,
  labels: Readonly<Record<string, string>>,
): void {
  page.gauge("rabbitmq_queue_messages_ready", "Messages ready to be delivered.", ready, labels);
  page.gauge("rabbitmq_queue_messages_unacked", "Messages delivered and not acknowledged yet.", unacked, labels);
  page.gauge("rabbitmq_queue_messages", "Ready and unacknowledged messages.", ready + unacked, labels);
  page.gauge("rabbitmq_queue_consumers", "Consumers of queues.", consumers, labels);
}

function addCounters(page: MetricsPage, { counters }: OverviewView): void {
  const protocol = { protocol: "amqp091" };
  const name = (what: string) => `rabbitmq_global_messages_${what}_total`;
  page.counter(name("received"), "Messages received from publishers.", counters.published, protocol);
  page.counter(name("delivered"), "Messages delivered to consumers.", counters.delivered, protocol);
  page.counter(name("redelivered"), "Messages delivered again.", counters.redelivered, protocol);
  page.counter(name("acknowledged"), "Messages acknowledged by consumers.", counters.acked, protocol);
  page.counter("quayside_messages_requeued_total", "Messages put back to their queue.", counters.requeued);
  page.counter("quayside_messages_purged_total", "Messages dropped by purge.", counters.purged);
  page.counter("quayside_messages_dropped_total", "Messages dropped with their queue or rejected.", counters.dropped);
  page.counter("quayside_log_commits_total", "Group commits of the log.", counters.commits);
}

function addProcess(page: MetricsPage, overview: OverviewView): void {
  const alarm = (on: boolean) => (on ? 1 : 0);
  page.gauge(
    "rabbitmq_alarms_memory_used_watermark",
    "1 while memory blocks publishers.",
    alarm(overview.alarms.memory),
  );
  page.gauge(
    "rabbitmq_alarms_free_disk_space_watermark",
    "1 while disk blocks publishers.",
    alarm(overview.alarms.disk),
  );
  page.gauge("rabbitmq_process_resident_memory_bytes", "Resident memory.", overview.residentBytes);
  page.gauge("rabbitmq_resident_memory_limit_bytes", "Memory that blocks publishers.", overview.memoryLimitBytes);
  if (overview.diskFreeBytes !== undefined) {
    page.gauge("rabbitmq_disk_space_available_bytes", "Free space for data.", overview.diskFreeBytes);
    page.gauge(
      "rabbitmq_disk_space_available_limit_bytes",
      "Free space that blocks publishers.",
      overview.diskLimitBytes,
    );
  }
  page.gauge("process_resident_memory_bytes", "Resident memory.", overview.residentBytes);
  page.counter("process_cpu_seconds_total", "CPU time used.", overview.cpuSeconds);
  for (const [quantile, seconds] of overview.loopDelay) {
    const head = {
      name: "quayside_event_loop_delay_seconds",
      type: "gauge",
      help: "How late the event loop runs.",
    } as const;
    page.add(head, seconds, { quantile: String(quantile) });
  }
}
