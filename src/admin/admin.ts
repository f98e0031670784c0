// The HTTP side: the admin listener and the metrics listener.

import type { Broker } from "../broker/broker.ts";
import type { Rates } from "../observe/rates.ts";
import type { ResourceMonitor } from "../observe/resource-monitor.ts";
import type { Clock } from "../ports/clock.ts";
import type { Http } from "../ports/http.ts";
import type { LoopWatch, Machine } from "../ports/machine.ts";
import type { Listener } from "../ports/net.ts";
import { routeHandler } from "./router.ts";
import { ADMIN_ROUTES, METRICS_ROUTES } from "./routes.ts";

/** What handlers work with. */
export interface Admin {
  readonly broker: Broker;
  readonly monitor: ResourceMonitor;
  readonly machine: Machine;
  readonly clock: Clock;
  readonly loopWatch: LoopWatch;
  readonly rates: Rates;
  /** Group commits since start. */
  readonly commits: () => number;
  /** Open client connections. */
  readonly connections: () => number;
  /** Where the broker listens. */
  readonly listeners: () => readonly ListenerView[];
  /** Storage failed: nothing is confirmed any more. */
  readonly failed: () => boolean;
  /** The broker is about to stop. */
  readonly draining: () => boolean;
  /** Copies everything that is durable into a folder of this machine. */
  readonly backUp: (folder: string) => Promise<{ readonly files: number; readonly bytes: number }>;
}

export interface ListenerView {
  readonly protocol: "amqp" | "amqps" | "http" | "metrics";
  readonly host: string;
  readonly port: number;
}

export interface AdminOptions {
  readonly http: Http;
  readonly admin: Admin;
  readonly host: string;
  readonly port: number;
}

/** Serves the admin interface on one address. Rejects with the system's error. */
export function listenAdmin({ http, admin, host, port }: AdminOptions): Promise<Listener> {
  return http.listen({ host, port }, routeHandler(ADMIN_ROUTES, admin));
}

/** Serves the metrics on one address. Rejects with the system's error. */
export function listenMetrics({ http, admin, host, port }: AdminOptions): Promise<Listener> {
  return http.listen({ host, port }, routeHandler(METRICS_ROUTES, admin));
}
