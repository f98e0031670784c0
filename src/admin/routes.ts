// The one table of HTTP routes: what is answered, documented and described is made from it.

import { json } from "./answers.ts";
import { HEALTH_ROUTES } from "./health.ts";
import { METRICS_ROUTES } from "./metrics.ts";
import { openApi } from "./openapi.ts";
import { startPage } from "./page.ts";
import { RABBITMQ_ROUTES } from "./rabbitmq/routes.ts";
import type { Route } from "./route.ts";
import { CONNECTION_ROUTES } from "./v1/connections.ts";
import { EXCHANGE_ROUTES } from "./v1/exchanges.ts";
import { BACKUP_ROUTES } from "./v1/backup.ts";
import { OVERVIEW_ROUTES } from "./v1/overview.ts";
import { QUEUE_ROUTES } from "./v1/queues.ts";
import { SAFE_DEFAULT_ROUTES } from "./v1/safe-defaults.ts";

export { METRICS_ROUTES } from "./metrics.ts";

/** Routes of the HTTP listener. */
export const ADMIN_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/",
    summary: "A page that tells what is here.",
    role: "everybody",
    handler: () => ({ status: 200, contentType: "text/html; charset=utf-8", body: startPage() }),
  },
  ...HEALTH_ROUTES,
  ...METRICS_ROUTES,
  ...OVERVIEW_ROUTES,
  ...QUEUE_ROUTES,
  ...EXCHANGE_ROUTES,
  ...CONNECTION_ROUTES,
  ...SAFE_DEFAULT_ROUTES,
  ...BACKUP_ROUTES,
  {
    method: "GET",
    path: "/v1/openapi.json",
    summary: "This interface as OpenAPI 3.1.",
    role: "everybody",
    handler: () => json(openApi(ADMIN_ROUTES)),
  },
  ...RABBITMQ_ROUTES,
];
