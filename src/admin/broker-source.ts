// Gathers what the admin pages show from the broker, the resource monitor and the machine.

import type { Broker } from "../broker/broker.ts";
import type { QueueOverview } from "../broker/overview.ts";
import type { ResourceMonitor } from "../observe/resource-monitor.ts";
import type { Clock } from "../ports/clock.ts";
import type { LoopWatch, Machine } from "../ports/machine.ts";
import { VERSION } from "../version.ts";
import type { AdminSource, OverviewView, QueueView } from "./source.ts";

export interface AdminParts {
  readonly broker: Broker;
  readonly monitor: ResourceMonitor;
  readonly machine: Machine;
  readonly clock: Clock;
  readonly loopWatch: LoopWatch;
  /** Group commits since start. */
  readonly commits: () => number;
  /** Open client connections. */
  readonly connections: () => number;
  readonly failed: () => boolean;
  /** The broker is about to stop. */
  readonly draining: () => boolean;
}

export function createAdminSource(parts: AdminParts): AdminSource {
  return {
    overview: () => overviewOf(parts),
    queues: () => parts.broker.snapshotOverview().queues.map(queueView).sort(byVhostAndName),
  };
}

function overviewOf(parts: AdminParts): OverviewView {
  const { broker, monitor, machine, clock } = parts;
  const state = broker.snapshotOverview();
  const total = (count: (queue: QueueOverview) => number): number => {
    return state.queues.reduce((sum, queue) => sum + count(queue), 0);
  };
  return {
    version: VERSION,
    uptimeSeconds: Math.max(0, (clock.wallMs() - state.startedAtMs) / 1000),
    connections: parts.connections(),
    queues: state.queues.length,
    exchanges: state.exchanges.length,
    bindings: state.bindings.length,
    consumers: total((queue) => queue.consumers),
    messagesReady: total((queue) => queue.messagesReady),
    messagesUnacked: total((queue) => queue.messagesUnacknowledged),
    counters: { ...state.counters, commits: parts.commits() },
    alarms: { memory: state.alarms.includes("memory"), disk: state.alarms.includes("disk") },
    failed: parts.failed(),
    draining: parts.draining(),
    residentBytes: machine.residentBytes(),
    memoryLimitBytes: monitor.memoryLimitBytes,
    diskFreeBytes: monitor.diskFreeBytes,
    diskLimitBytes: monitor.diskLimitBytes,
    cpuSeconds: machine.cpuSeconds(),
    loopDelay: parts.loopWatch.read().quantiles,
  };
}

function queueView(queue: QueueOverview): QueueView {
  return {
    vhost: queue.vhost,
    name: queue.name,
    type: queue.type,
    durable: queue.durable,
    exclusive: queue.exclusive,
    autoDelete: queue.autoDelete,
    messagesReady: queue.messagesReady,
    messagesUnacked: queue.messagesUnacknowledged,
    consumers: queue.consumers,
    bytes: queue.messageBytes,
  };
}

/** By code units, so that the order is the same everywhere. */
function byVhostAndName(a: QueueView, b: QueueView): number {
  if (a.vhost !== b.vhost) return a.vhost < b.vhost ? -1 : 1;
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
