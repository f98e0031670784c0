// /v1/overview: the broker in numbers.

import { RABBITMQ_VERSION, VERSION } from "../../version.ts";
import type { Admin } from "../admin.ts";
import { json } from "../answers.ts";
import { unreadiness } from "../health.ts";
import type { Route } from "../route.ts";
import { totalsOf } from "../totals.ts";

export const OVERVIEW_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/v1/overview",
    summary: "Totals, counters, alarms, memory, disk and listeners.",
    role: "viewer",
    handler: ({ admin }) => json(overviewOf(admin)),
  },
];

function overviewOf(admin: Admin): unknown {
  const { broker, monitor, machine, clock } = admin;
  const { alarms } = broker;
  const unready = unreadiness(admin);
  return {
    version: VERSION,
    rabbitmqVersion: RABBITMQ_VERSION,
    status: unready === undefined ? "ok" : "unready",
    reason: unready,
    uptimeSeconds: Math.max(0, (clock.wallMs() - broker.startedAtMs) / 1000),
    totals: totalsOf(admin),
    counters: { ...broker.counters, commits: admin.commits() },
    alarms: { memory: alarms.includes("memory"), disk: alarms.includes("disk") },
    memory: { residentBytes: machine.residentBytes(), limitBytes: monitor.memoryLimitBytes },
    disk: { freeBytes: monitor.diskFreeBytes, limitBytes: monitor.diskLimitBytes },
    cpuSeconds: machine.cpuSeconds(),
    loopDelay: Array.from(admin.loopWatch.read().quantiles, ([quantile, seconds]) => ({ quantile, seconds })),
    listeners: admin.listeners().map(({ protocol, host, port }) => ({ protocol, host, port })),
  };
}
