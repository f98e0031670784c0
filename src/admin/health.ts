// Is it alive, is it ready? Nothing listens before recovery is done, so "ready" has only to tell when
// the broker cannot serve any more, and why.

import type { Admin } from "./admin.ts";
import { json } from "./answers.ts";
import type { Route } from "./route.ts";

export const HEALTH_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/health/live",
    summary: "200 while the process answers; 503 when storage has failed and it has to be started anew.",
    role: "everybody",
    handler: ({ admin }) => (admin.failed() ? json({ status: "failed" }, 503) : json({ status: "ok" })),
  },
  {
    method: "GET",
    path: "/health/ready",
    summary: "200 while clients are served; 503 with the reason when not.",
    role: "everybody",
    handler: ({ admin }) => {
      const reason = unreadiness(admin);
      return reason === undefined ? json({ status: "ok" }) : json({ status: "unready", reason }, 503);
    },
  },
  {
    method: "GET",
    path: "/v1/health",
    summary: "As /health/ready, with the alarms that block publishers.",
    role: "everybody",
    handler: ({ admin }) => {
      const { alarms } = admin.broker;
      const body = { alarms: { memory: alarms.includes("memory"), disk: alarms.includes("disk") } };
      const reason = unreadiness(admin);
      if (reason === undefined) return json({ status: "ok", ...body });
      return json({ status: admin.failed() ? "failed" : "draining", reason, ...body }, 503);
    },
  },
];

/** Why clients are not served; undefined when they are. */
export function unreadiness(admin: Admin): string | undefined {
  if (admin.failed()) return "storage has failed: nothing is confirmed";
  return admin.draining() ? "the broker is about to stop" : undefined;
}
