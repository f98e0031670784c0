// The HTTP side: the admin listener and the metrics listener.

import type { Http } from "../ports/http.ts";
import type { Listener } from "../ports/net.ts";
import { ADMIN_ROUTES, METRICS_ROUTES, routeHandler } from "./routes.ts";
import type { AdminSource } from "./source.ts";

export interface AdminOptions {
  readonly http: Http;
  readonly source: AdminSource;
  readonly host: string;
  readonly port: number;
}

/** Serves the admin pages on one address. Rejects with the system's error. */
export function listenAdmin({ http, source, host, port }: AdminOptions): Promise<Listener> {
  return http.listen({ host, port }, routeHandler(ADMIN_ROUTES, source));
}

/** Serves the metrics on one address. Rejects with the system's error. */
export function listenMetrics({ http, source, host, port }: AdminOptions): Promise<Listener> {
  return http.listen({ host, port }, routeHandler(METRICS_ROUTES, source));
}
