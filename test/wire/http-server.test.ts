// The HTTP listener over real sockets: who is let in, and what is refused.

import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { after, before, test, type TestContext } from "node:test";
import { openApi } from "../../src/admin/openapi.ts";
import { routeHandler } from "../../src/admin/router.ts";
import { ADMIN_ROUTES } from "../../src/admin/routes.ts";
import type { Admin } from "../../src/admin/admin.ts";
import type { Route } from "../../src/admin/route.ts";
import { LIMITS } from "../../src/limits.ts";
import type { HttpRequest, HttpResponse } from "../../src/ports/http.ts";
import { createSilentLogger } from "../../src/runtime/console-logger.ts";
import { createNodeHttp, type HttpLimits } from "../../src/runtime/node-http.ts";
import { ask, type HttpAsk, type HttpWorld, startHttpWorld } from "./http-world.ts";

let world: HttpWorld;
before(async () => {
  world = await startHttpWorld();
});
after(() => world.close());

const status = async (path: string, what?: HttpAsk): Promise<number> => (await world.ask(path, what)).status;

test("over loopback only requests that name this machine in Host are answered", async () => {
  for (const host of ["localhost", `localhost:${world.port}`, "127.0.0.1", `127.0.0.1:${world.port}`, "[::1]:1"]) {
    assert.equal(await status("/v1/health", { headers: { host } }), 200, host);
  }
  for (const host of [
    "attacker.example",
    "localhost.attacker.example",
    "127.0.0.1.example",
    "10.0.0.1",
    "a@localhost",
  ]) {
    assert.equal(await status("/v1/health", { headers: { host } }), 421, host);
  }
});

test("a change that a web page of another origin sends is refused; one of our own page is not", async () => {
  const put = (origin: string): Promise<number> => status("/api/vhosts/x", { method: "PUT", headers: { origin } });
  for (const origin of ["http://attacker.example", "null", "http://127.0.0.1:1", `http://localhost:${world.port}`]) {
    assert.equal(await put(origin), 403, origin);
  }
  assert.notEqual(await put(`http://127.0.0.1:${world.port}`), 403);
});

test("the content types that a form can send are refused with 415", async () => {
  const types = [
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain;charset=UTF-8",
    "TEXT/PLAIN",
  ];
  for (const type of types) {
    const answer = await world.ask("/v1/queues", { method: "POST", body: "{}", headers: { "content-type": type } });
    assert.equal(answer.status, 415, type);
  }
});

test("every answer forbids scripts, frames and guessing of types, and none allows other origins", async () => {
  for (const path of ["/", "/v1/health", "/nothing", "/v1/overview", "/metrics"]) {
    for (const method of ["GET", "OPTIONS"]) {
      const { headers } = await world.ask(path, { method, headers: { origin: "http://attacker.example" } });
      assert.match(String(headers["content-security-policy"]), /default-src 'none'.*frame-ancestors 'none'/);
      assert.equal(headers["x-content-type-options"], "nosniff");
      assert.equal(headers["x-frame-options"], "DENY");
      const cors = Object.keys(headers).filter((name) => name.startsWith("access-control-"));
      assert.deepEqual(cors, []);
    }
  }
});

test("without a login, and with a wrong one, the answer is 401 with a challenge", async () => {
  for (const login of [null, "guest:wrong", "nobody:guest", "guest:"]) {
    const answer = await world.ask("/v1/overview", { login });
    assert.equal(answer.status, 401, String(login));
    assert.match(String(answer.headers["www-authenticate"]), /^Basic realm=/);
  }
  for (const authorization of ["Basic", "Basic ====", "Bearer x", "Basic bm9jb2xvbg=="]) {
    assert.equal(await status("/v1/overview", { login: null, headers: { authorization } }), 401, authorization);
  }
  assert.equal(await status("/v1/overview"), 200);
});

test("health and metrics need no login on loopback", async () => {
  for (const path of ["/health/live", "/health/ready", "/v1/health", "/metrics"]) {
    assert.equal(await status(path, { login: null }), 200, path);
  }
  assert.equal((await ask(world.metricsPort, "/metrics", { login: null })).status, 200);
});

test("HEAD answers as GET does, without the body; an unknown method is 405 with what is allowed", async () => {
  const [head, get] = [await world.ask("/v1/openapi.json", { method: "HEAD" }), await world.get("/v1/openapi.json")];
  assert.equal(head.status, 200);
  assert.equal(head.text, "");
  assert.equal(head.headers["content-length"], get.headers["content-length"]);
  const answer = await world.ask("/v1/overview", { method: "DELETE" });
  assert.equal(answer.status, 405);
  assert.equal(answer.headers["allow"], "HEAD, GET");
  assert.equal(await status("/v1/overview", { method: "PROPFIND" }), 405);
});

test("an unknown path is 404, and one that is no percent-encoding 400, both in words", async () => {
  const unknown = await world.get("/v2/nothing");
  assert.equal(unknown.status, 404);
  assert.deepEqual(Object.keys(unknown.json as object), ["error", "message"]);
  const api = await world.get("/api/nothing");
  assert.deepEqual([api.status, Object.keys(api.json as object)], [404, ["error", "reason"]]);
  for (const path of ["/v1/queues/%zz/a", "/v1/queues/%ff/a", "/%"]) {
    assert.equal(await status(path), 400, path);
  }
});

/** A listener with one route that echoes what it understood. */
async function startEcho(t: TestContext, limits: Partial<HttpLimits> = {}) {
  const echo: Route = {
    method: "POST",
    path: "/api/echo/{vhost}/{name}",
    summary: "Echo.",
    role: "everybody",
    handler: async (call) => {
      const body = await call.json(100_000);
      return {
        status: 200,
        body: { vhost: call.parameter("vhost"), name: call.parameter("name"), body: body ?? null },
      };
    },
  };
  const boom: Route = { ...echo, method: "GET", path: "/v1/boom", handler: () => Promise.reject(new Error("secret")) };
  const http = createNodeHttp(createSilentLogger(), limits);
  const listener = await http.listen({ host: "127.0.0.1", port: 0 }, routeHandler([echo, boom], {} as Admin));
  t.after(() => listener.close());
  return listener;
}

test("%2F is a character of a name, not a separator: any name comes through as it was encoded", async (t) => {
  const listener = await startEcho(t);
  const names = [
    "/",
    "//",
    "a/b",
    "%2F",
    "%",
    "%25",
    "a b",
    "ä",
    "💥",
    "?",
    "#",
    ";",
    "..",
    "a%2Fb",
    ":name",
    "*",
    "+",
    "a".repeat(255),
  ];
  for (const vhost of names) {
    for (const name of names) {
      const path = `/api/echo/${encodeURIComponent(vhost)}/${encodeURIComponent(name)}`;
      const answer = await ask(listener.port, path, { method: "POST" });
      assert.equal(answer.status, 200, path);
      assert.deepEqual(answer.json, { vhost, name, body: null }, path);
    }
  }
});

test("a body that is no JSON, too deep or too large is refused with a sentence", async (t) => {
  const listener = await startEcho(t);
  const post = (body: string) => ask(listener.port, "/api/echo/a/b", { method: "POST", body });
  for (const body of ["{", "nonsense", "{'a':1}", '{"a":1}}', "\u0000", '"\\']) {
    const answer = await post(body);
    assert.deepEqual(
      [answer.status, answer.json],
      [400, { error: "bad_request", reason: "the body is not JSON" }],
      body,
    );
  }
  const deep = (levels: number): string => "[".repeat(levels) + "]".repeat(levels);
  assert.equal((await post(deep(LIMITS.jsonDepthMax))).status, 200);
  assert.equal((await post(deep(LIMITS.jsonDepthMax + 1))).status, 400);
  assert.equal((await post(deep(40_000))).status, 400);
  assert.equal((await post(JSON.stringify('["\\'.repeat(1000)))).status, 200);
  assert.equal((await post(`"${"x".repeat(200_000)}"`)).status, 413);
});

test("a chunked body that grows beyond its limit is refused, and so is one beyond what all may take", async (t) => {
  const listener = await startEcho(t, { bodiesTotalBytesMax: 50_000 });
  const chunked = { "content-type": "application/json", "transfer-encoding": "chunked" };
  const post = (size: number, headers = chunked) => {
    const body = `"${"x".repeat(size)}"`;
    return ask(listener.port, "/api/echo/a/b", { method: "POST", body, headers });
  };
  assert.equal((await post(40_000)).status, 200);
  assert.equal((await post(60_000)).status, 503);
  assert.equal((await post(40_000)).status, 200);
});

test("a request that does not arrive in time is cut off", async (t) => {
  const listener = await startEcho(t, { requestTimeoutMs: 100 });
  const socket = connect(listener.port, "127.0.0.1");
  let text = "";
  socket.on("data", (chunk: Buffer) => (text += chunk.toString()));
  socket.on("error", (error) => (text += error.message));
  socket.write("POST /api/echo/a/b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{");
  await once(socket, "close");
  assert.match(text, /^HTTP\/1\.1 408 /);
});

test("a bug in a handler is 500 and tells nothing of the inside", async (t) => {
  const listener = await startEcho(t);
  const answer = await ask(listener.port, "/v1/boom");
  assert.deepEqual([answer.status, answer.text], [500, "internal error\n"]);
});

test("the OpenAPI description lists every route, with its parameters", async () => {
  const answer = await world.get("/v1/openapi.json");
  assert.deepEqual(answer.json, JSON.parse(JSON.stringify(openApi(ADMIN_ROUTES))));
  const { paths } = answer.json as { paths: Record<string, Record<string, { parameters: { name: string }[] }>> };
  for (const { method, path } of ADMIN_ROUTES) {
    const names = paths[path]?.[method.toLowerCase()]?.parameters.map(({ name }) => `{${name}}`);
    assert.deepEqual(names, path.match(/\{\w+\}/g) ?? [], path);
  }
});

test("metrics are Prometheus text with RabbitMQ's names", async () => {
  const { text, headers } = await ask(world.metricsPort, "/metrics");
  assert.match(String(headers["content-type"]), /version=0\.0\.4/);
  for (const name of ["rabbitmq_queue_messages_ready", "rabbitmq_connections", "rabbitmq_queue_consumers"]) {
    assert.match(text, new RegExp(`^${name} 0$`, "m"));
  }
  for (const line of text.trimEnd().split("\n")) assert.match(line, /^(# (HELP|TYPE) .+|[a-z_]+(\{.*\})? \S+)$/);
});

test("per-object and detailed metrics name queues and connections, with escaped names, for the families asked", async () => {
  const name = 'a"b\\c';
  await world.put(`/api/queues/%2F/${encodeURIComponent(name)}`, { durable: true });
  await world.put("/api/vhosts/m", {});
  await world.put("/api/queues/m/q", { durable: true });
  const perObject = (await ask(world.metricsPort, "/metrics/per-object")).text;
  assert.match(perObject, /^rabbitmq_queue_messages_unacked\{vhost="\/",queue="a\\"b\\\\c"\} 0$/m);
  assert.match(perObject, /^quayside_queue_messages_published_total\{vhost="m",queue="q"\} 0$/m);
  assert.match(perObject, /^quayside_metrics_left_out\{kind="queue"\} 0$/m);
  const detailed = (await ask(world.metricsPort, "/metrics/detailed?family=queue_coarse_metrics&vhost=m")).text;
  const names = detailed
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#") && !line.includes("build_info"));
  assert.deepEqual(names, [
    'rabbitmq_detailed_queue_messages_ready{vhost="m",queue="q"} 0',
    'rabbitmq_detailed_queue_messages_unacked{vhost="m",queue="q"} 0',
    'rabbitmq_detailed_queue_messages{vhost="m",queue="q"} 0',
    'quayside_metrics_left_out{kind="queue"} 0',
  ]);
  assert.equal((await ask(world.metricsPort, "/metrics/detailed?family=none")).status, 200);
  await world.delete("/api/vhosts/m");
  await world.delete(`/api/queues/%2F/${encodeURIComponent(name)}`);
});

test("while the broker drains it is alive and not ready, and says why", async () => {
  const own = await startHttpWorld();
  assert.equal((await own.get("/health/ready")).status, 200);
  const closing = own.broker.close(500);
  const ready = await own.ask("/health/ready", { login: null });
  assert.deepEqual([ready.status, ready.json], [503, { status: "unready", reason: "the broker is about to stop" }]);
  assert.equal((await own.get("/health/live")).status, 200);
  assert.equal((await own.get("/v1/health")).status, 503);
  assert.equal((await own.get("/api/health/checks/ready-to-serve-clients")).status, 503);
  await closing;
});

/** A handler asked directly, as if by a peer on another machine. */
function askedFromElsewhere(admin: Partial<Admin>, path: string): Promise<HttpResponse> {
  const request: HttpRequest = {
    method: "GET",
    target: path,
    header: (name) => (name === "host" ? "broker.example" : undefined),
    peerHost: "192.0.2.1",
    isLocal: false,
    body: () => Promise.resolve(Buffer.alloc(0)),
  };
  return routeHandler(ADMIN_ROUTES, admin as Admin)(request);
}

test("from another machine metrics need a login, health does not, and any name of the host will do", async () => {
  const admin = { failed: () => false, draining: () => false };
  for (const path of ["/metrics", "/metrics/per-object", "/metrics/detailed", "/v1/overview", "/api/overview"]) {
    assert.equal((await askedFromElsewhere(admin, path)).status, 401, path);
  }
  assert.equal((await askedFromElsewhere(admin, "/health/live")).status, 200);
  assert.equal((await askedFromElsewhere(admin, "/health/ready")).status, 200);
});

test("when storage has failed the broker is neither alive nor ready", async () => {
  const admin = { failed: () => true, draining: () => false };
  assert.equal((await askedFromElsewhere(admin, "/health/live")).status, 503);
  const ready = await askedFromElsewhere(admin, "/health/ready");
  assert.deepEqual(
    [ready.status, JSON.parse(ready.body)],
    [503, { status: "unready", reason: "storage has failed: nothing is confirmed" }],
  );
});
