// What a run needs besides Node: RabbitMQ and pika. A missing one is told, and fails a run of everything.

import { existsSync } from "node:fs";
import type { TestContext } from "node:test";
import { findPika, findRabbitmq } from "./brokers.ts";

/** Set by the run of everything: a missing peer is a failure, not a skip. */
export const ALL = process.env["QUAYSIDE_TEST_ALL"] === "1";

export const RABBITMQ = findRabbitmq();
export const PIKA = findPika();
export const AMQP_TOOLS = existsSync("/usr/bin/amqp-publish");

const HOW = {
  "rabbitmq-server": "apt-get install rabbitmq-server",
  "python3-pika": "apt-get install python3-pika",
  openssl: "apt-get install openssl",
  "amqp-tools": "apt-get install amqp-tools",
} as const;

/** Skips the test with the reason, or fails it when everything must run. */
export function missing(t: TestContext, peer: keyof typeof HOW): void {
  const reason = `needs ${peer} (${HOW[peer]})`;
  if (ALL) throw new Error(reason);
  console.log(`skipped: ${reason}`);
  t.skip(reason);
}
