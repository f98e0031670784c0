// /api: what RabbitMQ's management interface answers.

import type { Route } from "../route.ts";
import { BINDING_ROUTES } from "./bindings.ts";
import { CONNECTION_ROUTES } from "./connections.ts";
import { DEFINITION_ROUTES } from "./definitions.ts";
import { EXCHANGE_ROUTES } from "./exchanges.ts";
import { HEALTH_CHECK_ROUTES } from "./health-checks.ts";
import { NODE_ROUTES } from "./node.ts";
import { PERMISSION_ROUTES } from "./permissions.ts";
import { POLICY_ROUTES } from "./policies.ts";
import { QUEUE_ROUTES } from "./queues.ts";
import { USER_ROUTES } from "./users.ts";
import { VHOST_ROUTES } from "./vhosts.ts";

export const RABBITMQ_ROUTES: readonly Route[] = [
  ...NODE_ROUTES,
  ...QUEUE_ROUTES,
  ...EXCHANGE_ROUTES,
  ...BINDING_ROUTES,
  ...CONNECTION_ROUTES,
  ...VHOST_ROUTES,
  ...USER_ROUTES,
  ...PERMISSION_ROUTES,
  ...POLICY_ROUTES,
  ...DEFINITION_ROUTES,
  ...HEALTH_CHECK_ROUTES,
];
