// What connection.start says about this server. Clients decide by it: some parse `version`, some
// compare `product`, and all look at the capabilities, which therefore list only what works.

import type { FieldTable, FieldValue } from "../../model/field-table.ts";

export interface ServerIdentity {
  /** The RabbitMQ version whose behaviour clients should expect. */
  readonly rabbitmqVersion: string;
  readonly quaysideVersion: string;
}

const CAPABILITIES: readonly (readonly [string, boolean])[] = [
  ["publisher_confirms", true],
  ["exchange_exchange_bindings", true],
  ["basic.nack", true],
  ["consumer_cancel_notify", true],
  ["connection.blocked", true],
  ["consumer_priorities", true],
  ["authentication_failure_close", true],
  ["per_consumer_qos", true],
  ["direct_reply_to", true],
];

export function serverProperties(identity: ServerIdentity): FieldTable {
  return new Map<string, FieldValue>([
    ["capabilities", new Map<string, FieldValue>(CAPABILITIES)],
    ["product", "RabbitMQ"],
    ["version", identity.rabbitmqVersion],
    ["platform", "Quayside"],
    ["quayside_version", identity.quaysideVersion],
    ["information", "Quayside speaks AMQP 0-9-1 with RabbitMQ's extensions."],
  ]);
}
