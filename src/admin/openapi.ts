// The OpenAPI description, made from the table of routes.

import { VERSION } from "../version.ts";
import type { Route } from "./route.ts";

const SECURITY = [{ basic: [] }];

/** OpenAPI 3.1. */
export function openApi(routes: readonly Route[]): unknown {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const operations = (paths[route.path] ??= {});
    operations[route.method.toLowerCase()] = operationOf(route);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Quayside",
      version: VERSION,
      description: "/api follows RabbitMQ's management interface; /v1 is Quayside's own.",
    },
    paths,
    components: { securitySchemes: { basic: { type: "http", scheme: "basic" } } },
  };
}

function operationOf({ method, path, summary, role }: Route): unknown {
  const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const isFree = role === "everybody" || role === "local";
  const body = { content: { "application/json": { schema: { type: "object" } } } };
  return {
    summary,
    description: `For: ${role}.`,
    parameters: names.map((name) => ({ name, in: "path", required: true, schema: { type: "string" } })),
    ...(method === "PUT" || method === "POST" ? { requestBody: body } : {}),
    ...(isFree ? {} : { security: SECURITY }),
    responses: {
      "200": { description: "Done." },
      default: { description: "Refused: an object with the fields error and message (or, in /api, reason)." },
    },
  };
}
