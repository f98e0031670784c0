// Every route that changes the namespace answers only when the change is durable.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Admin } from "../../src/admin/admin.ts";
import { routeHandler } from "../../src/admin/router.ts";
import { ADMIN_ROUTES } from "../../src/admin/routes.ts";
import type { Route } from "../../src/admin/route.ts";
import type { HttpRequest } from "../../src/ports/http.ts";

/** Anything: every property and every answer of a call is one too. */
function anything(own: Readonly<Record<string, unknown>> = {}): never {
  const call = (): unknown => anything();
  return new Proxy(call, {
    get: (_, name) => {
      if (typeof name === "symbol") return name === Symbol.iterator ? () => [].values() : undefined;
      if (name === "then") return undefined;
      return Object.hasOwn(own, name) ? own[name] : anything();
    },
  }) as never;
}

/** What all bodies together need to have. */
const BODY = {
  ...{ pattern: ".", definition: {}, value: 1, tags: "", configure: "", write: "", read: "", exchange: "x" },
  ...{ routing_key: "", users: ["u"], action: "sync" },
};

/** Changes that are nobody's declarations: messages, connections, copies, and what does nothing here. */
const OTHERS = [/\/publish$/, /\/get$/, /connections/, /\/actions$/, /\/start\//, /\/backup$/];

function changes({ method, path }: Route): boolean {
  return method !== "GET" && !OTHERS.some((other) => other.test(path));
}

for (const route of ADMIN_ROUTES.filter(changes)) {
  test(`${route.method} ${route.path} is answered when the change is durable`, async () => {
    let release: () => void = () => assert.fail("the route does not wait");
    let isWaiting: () => void = () => undefined;
    const waiting = new Promise<void>((resolve) => (isWaiting = resolve));
    const committed = (): Promise<void> => {
      isWaiting();
      return new Promise((resolve) => (release = resolve));
    };
    const definitions = { import: () => Promise.resolve({ done: 0, failures: [] }) };
    const management = anything({
      committed,
      definitions: anything(definitions),
      topology: anything({
        bindingsTo: () => [{ source: "x", propertiesKey: "x" }],
        bind: () => "k",
        purgeQueue: () => 1,
      }),
      policies: anything({
        globalParameters: () => [],
        putSafeDefaults: () => ({ definition: new Map() }),
      }),
      users: anything({ topicPermissions: () => [] }),
    });
    const authenticate = () => Promise.resolve({ name: "guest", tags: ["administrator"] });
    const admin = { broker: { authenticate, management } } as unknown as Admin;
    const request: HttpRequest = {
      method: route.method,
      target: route.path
        .replace("{limit}", route.path.includes("user") ? "max-channels" : "max-queues")
        .replaceAll(/\{\w+\}/g, "x"),
      header: (name) => ({ host: "localhost", authorization: "Basic Z3Vlc3Q6Z3Vlc3Q=" })[name],
      peerHost: "127.0.0.1",
      isLocal: true,
      body: () => Promise.resolve(Buffer.from(JSON.stringify(BODY))),
    };
    let status = 0;
    const answered = routeHandler(
      ADMIN_ROUTES,
      admin,
    )(request).then((answer) => {
      status = answer.status;
      if (status >= 300) assert.fail(answer.body);
    });
    await Promise.race([waiting, answered]);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(status, 0);
    release();
    await answered;
    assert(status >= 200 && status < 300, String(status));
  });
}
