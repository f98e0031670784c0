// The table of HTTP routes. /v1/* is Quayside's own interface: JSON, read only in this version.

import type { HttpRequest, HttpResponse } from "../ports/http.ts";
import type { AdminSource } from "./source.ts";
import { metricsText } from "./metrics.ts";
import { startPage } from "./page.ts";

/** One answer lists at most this many queues; `total` tells how many there are. */
const QUEUES_LISTED_MAX = 10_000;

export interface Route {
  readonly path: string;
  readonly summary: string;
  readonly answer: (source: AdminSource) => HttpResponse;
}

/** Routes of the HTTP listener. */
export const ADMIN_ROUTES: readonly Route[] = [
  { path: "/", summary: "This page.", answer: (source) => html(startPage(source.overview(), ADMIN_ROUTES)) },
  {
    path: "/v1/health",
    summary: "200 while messages can be confirmed, 503 when storage has failed or it stops.",
    answer: health,
  },
  { path: "/v1/overview", summary: "Totals, counters, alarms, memory and disk.", answer: overview },
  { path: "/v1/queues", summary: "Queues with their depth and consumers.", answer: queues },
];

/** Routes of the metrics listener. */
export const METRICS_ROUTES: readonly Route[] = [
  { path: "/metrics", summary: "Totals for Prometheus.", answer: (source) => metricsPage(source, false) },
  { path: "/metrics/per-object", summary: "The same with one sample a queue.", answer: (s) => metricsPage(s, true) },
];

/** The handler of a listener that offers `routes`. */
export function routeHandler(routes: readonly Route[], source: AdminSource): (request: HttpRequest) => HttpResponse {
  const table = new Map(routes.map((route) => [route.path, route]));
  return ({ method, path }) => {
    const route = table.get(path);
    if (route === undefined) return json(404, { error: "not-found", message: `there is nothing at ${path}` });
    if (method !== "GET" && method !== "HEAD") {
      return json(405, { error: "method-not-allowed", message: `${path} can only be read` });
    }
    return route.answer(source);
  };
}

function health(source: AdminSource): HttpResponse {
  const { failed, draining, alarms } = source.overview();
  const status = failed ? "failed" : draining ? "draining" : "ok";
  return json(status === "ok" ? 200 : 503, { status, alarms });
}

function overview(source: AdminSource): HttpResponse {
  const { loopDelay, ...rest } = source.overview();
  const delays = [...loopDelay].map(([quantile, seconds]) => ({ quantile, seconds }));
  return json(200, { ...rest, loopDelay: delays });
}

function queues(source: AdminSource): HttpResponse {
  const all = source.queues();
  return json(200, { total: all.length, queues: all.slice(0, QUEUES_LISTED_MAX) });
}

function metricsPage(source: AdminSource, perObject: boolean): HttpResponse {
  const body = metricsText(source.overview(), perObject ? source.queues().slice(0, QUEUES_LISTED_MAX) : []);
  return { status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8", body };
}

function html(body: string): HttpResponse {
  return { status: 200, contentType: "text/html; charset=utf-8", body };
}

function json(status: number, value: unknown): HttpResponse {
  return { status, contentType: "application/json", body: `${JSON.stringify(value)}\n` };
}
