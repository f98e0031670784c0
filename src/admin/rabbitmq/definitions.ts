// /api/definitions: everything that is declared, out and in.

import { LIMITS } from "../../limits.ts";
import { BrokerError } from "../../model/errors.ts";
import { json, NO_CONTENT } from "../answers.ts";
import type { Answer, Call, Route } from "../route.ts";

/** Failures of an import that are told; there may be as many as there are definitions. */
const FAILURES_TOLD = 10;

export const DEFINITION_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/definitions",
    summary: "The definitions of the whole broker, hashes of passwords included.",
    role: "admin",
    handler: (call) => json(call.admin.broker.management.definitions.export(call.actor)),
  },
  {
    method: "POST",
    path: "/api/definitions",
    summary: "Imports definitions. Queues and exchanges that exist stay; what fails is told, the rest is done.",
    role: "admin",
    handler: (call) => importInto(call),
  },
  {
    method: "GET",
    path: "/api/definitions/{vhost}",
    summary: "The definitions of a vhost.",
    role: "admin",
    handler: (call) => json(call.admin.broker.management.definitions.export(call.actor, call.vhost())),
  },
  {
    method: "POST",
    path: "/api/definitions/{vhost}",
    summary: "Imports definitions into a vhost.",
    role: "admin",
    handler: (call) => importInto(call, call.vhost()),
  },
];

async function importInto(call: Call, vhost?: string): Promise<Answer> {
  const definitions = await call.json(LIMITS.httpLargeBodyBytesMax);
  const { management } = call.admin.broker;
  const { failures } = await management.definitions.import(call.actor, definitions, vhost);
  await management.committed();
  if (failures.length === 0) return NO_CONTENT;
  const told = failures.slice(0, FAILURES_TOLD).map(({ what, reason }) => `${what}: ${reason}`);
  if (failures.length > told.length) told.push(`and ${failures.length - told.length} more`);
  throw new BrokerError("precondition-failed", told.join("; "));
}
