import assert from "node:assert/strict";
import { request } from "node:http";
import { test } from "node:test";
import { ADMIN_ROUTES, METRICS_ROUTES, routeHandler } from "../../src/admin/routes.ts";
import type { AdminSource, OverviewView } from "../../src/admin/source.ts";
import { createSilentLogger } from "../../src/runtime/console-logger.ts";
import { createNodeHttp } from "../../src/runtime/node-http.ts";

const OVERVIEW: OverviewView = {
  version: "1.2.3",
  uptimeSeconds: 5,
  connections: 2,
  queues: 1,
  exchanges: 7,
  bindings: 3,
  consumers: 4,
  messagesReady: 10,
  messagesUnacked: 20,
  counters: { published: 1, delivered: 2, redelivered: 3, acked: 4, requeued: 5, purged: 6, dropped: 7, commits: 8 },
  alarms: { memory: false, disk: true },
  failed: false,
  draining: false,
  residentBytes: 100,
  memoryLimitBytes: 1000,
  diskFreeBytes: 50,
  diskLimitBytes: 60,
  cpuSeconds: 1.5,
  loopDelay: new Map([[0.999, 0.004]]),
};

function source(change: Partial<OverviewView> = {}): AdminSource {
  const queue = {
    vhost: "/",
    name: 'a"b\\c\nd',
    type: "classic",
    durable: true,
    exclusive: false,
    autoDelete: false,
    messagesReady: 10,
    messagesUnacked: 20,
    consumers: 4,
    bytes: 300,
  };
  return { overview: () => ({ ...OVERVIEW, ...change }), queues: () => [queue] };
}

test("health answers 200 while messages can be confirmed and 503 when storage has failed", () => {
  const healthy = routeHandler(ADMIN_ROUTES, source())({ method: "GET", path: "/v1/health" });
  assert.equal(healthy.status, 200);
  assert.deepEqual(JSON.parse(healthy.body), { status: "ok", alarms: { memory: false, disk: true } });
  assert.equal(routeHandler(ADMIN_ROUTES, source({ failed: true }))({ method: "GET", path: "/v1/health" }).status, 503);
});

test("an unknown path is 404 and a write is 405, both as JSON", () => {
  const handle = routeHandler(ADMIN_ROUTES, source());
  assert.equal(handle({ method: "GET", path: "/v2" }).status, 404);
  assert.equal(handle({ method: "DELETE", path: "/v1/queues" }).status, 405);
  assert.equal(JSON.parse(handle({ method: "GET", path: "/v2" }).body).error, "not-found");
});

test("every route is listed on the start page and answers", () => {
  const handle = routeHandler(ADMIN_ROUTES, source());
  const page = handle({ method: "GET", path: "/" }).body;
  for (const { path } of ADMIN_ROUTES) {
    assert.match(page, new RegExp(`href="${path}"`));
    assert.equal(handle({ method: "GET", path }).status, 200);
  }
});

test("metrics are Prometheus text with RabbitMQ's names; names of queues are escaped", () => {
  const handle = routeHandler(METRICS_ROUTES, source());
  const totals = handle({ method: "GET", path: "/metrics" });
  assert.match(totals.contentType, /version=0\.0\.4/);
  assert.match(totals.body, /^rabbitmq_queue_messages_ready 10$/m);
  assert.match(totals.body, /^quayside_log_commits_total 8$/m);
  assert.match(totals.body, /^quayside_event_loop_delay_seconds\{quantile="0\.999"\} 0\.004$/m);
  const perObject = handle({ method: "GET", path: "/metrics/per-object" }).body;
  assert.match(perObject, /^rabbitmq_queue_messages_unacked\{vhost="\/",queue="a\\"b\\\\c\\nd"\} 20$/m);
  for (const line of totals.body.trimEnd().split("\n")) assert.match(line, /^(# (HELP|TYPE) .+|[a-z_]+(\{.*\})? \S+)$/);
});

test("a loopback listener answers requests for this machine and refuses other names in Host", async () => {
  const http = createNodeHttp(createSilentLogger());
  const listener = await http.listen({ host: "127.0.0.1", port: 0 }, routeHandler(ADMIN_ROUTES, source()));
  const status = (host: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const options = { host: "127.0.0.1", port: listener.port, path: "/v1/health", headers: { host } };
      request(options, (response) => resolve(response.resume().statusCode))
        .on("error", reject)
        .end();
    });
  assert.equal(await status(`localhost:${listener.port}`), 200);
  assert.equal(await status(`127.0.0.1:${listener.port}`), 200);
  assert.equal(await status("attacker.example"), 403);
  await listener.close();
});
