// The arguments of a queue declaration: which values are taken, and which a second declaration must
// repeat. What they do is in queue-settings.ts. The words of the refusals are RabbitMQ's; an argument
// that nobody knows is accepted, since clients tag queues with their own.

import type { FieldTable, FieldValue } from "../model/field-table.ts";
import { sameFieldValue } from "../model/field-table-json.ts";
import type { QueueRecord } from "./effects.ts";
import type { QueueDeclaration } from "./facade.ts";
import { argumentsDiffer, assertEquivalent, locked, notYet, preconditionFailed, resource } from "./refusals.ts";
import { wireType } from "../model/wire-type.ts";

const TYPE = "x-queue-type";
const DEAD_LETTER_EXCHANGE = "x-dead-letter-exchange";
const DEAD_LETTER_KEY = "x-dead-letter-routing-key";

type Check = (value: FieldValue) => string | undefined;

/** Timers of RabbitMQ have 32 bits. */
const TIMER_MAX_MS = 0xffff_ffff;

const integer: Check = (value) =>
  (typeof value === "number" && Number.isInteger(value)) || typeof value === "bigint"
    ? undefined
    : `"expected integer, got ${wireType(value)}"`;
const text: Check = (value) => (typeof value === "string" ? undefined : badType(value));
const flag: Check = (value) => (typeof value === "boolean" ? undefined : badType(value));
const notNegative: Check = (value) =>
  integer(value) ?? (Number(value) < 0 ? `{value_negative,${String(value)}}` : undefined);
const timer: Check = (value) =>
  notNegative(value) ?? (Number(value) > TIMER_MAX_MS ? `{value_too_large,${String(value)}}` : undefined);
const positiveTimer: Check = (value) => timer(value) ?? (Number(value) === 0 ? "{value_zero,0}" : undefined);
const priority: Check = (value) =>
  notNegative(value) ?? (Number(value) > 255 ? `{max_value_exceeded,${String(value)}}` : undefined);
const ratio =
  (min: number, max: number): Check =>
  (value) => {
    const number = ratioOf(value);
    if (number === undefined) return badType(value);
    return number < min || number > max ? `{value_out_of_range,${number}}` : undefined;
  };
const oneOf =
  (fault: string, ...words: readonly string[]): Check =>
  (value) =>
    text(value) ?? (words.includes(String(value)) ? undefined : fault);

function badType(value: FieldValue): string {
  return `{unacceptable_type,${wireType(value)}}`;
}

/** A number with a fraction: AMQP has several types for it, and some clients send text. */
function ratioOf(value: FieldValue): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  return undefined;
}

const CHECKS: ReadonlyMap<string, Check> = new Map([
  ["x-message-ttl", timer],
  ["x-expires", positiveTimer],
  ["x-max-length", notNegative],
  ["x-max-length-bytes", notNegative],
  ["x-overflow", oneOf("invalid_overflow", "drop-head", "reject-publish", "reject-publish-dlx")],
  ["x-dead-letter-exchange", text],
  ["x-dead-letter-routing-key", text],
  ["x-dead-letter-strategy", oneOf("invalid_dlx_strategy", "at-most-once", "at-least-once")],
  ["x-max-priority", priority],
  ["x-delivery-limit", integer],
  ["x-single-active-consumer", flag],
  ["x-consumer-timeout", notNegative],
  ["x-delayed-retry-type", oneOf("invalid_delayed_retry_type", "all", "failed", "returned", "disabled")],
  ["x-delayed-retry-min", timer],
  ["x-delayed-retry-max", timer],
  ["x-delayed-retry-multiplier", ratio(0, 100)],
  ["x-delayed-retry-jitter", ratio(0, 1)],
  ["x-delayed-retry-rejects", flag],
  ["x-message-deduplication", flag],
  ["x-deduplication-header", text],
  ["x-cache-size", notNegative],
  ["x-cache-ttl", timer],
  ["x-message-group", flag],
  ["x-queue-mode", oneOf("invalid_queue_mode", "default", "lazy")],
]);

/** Arguments that queues of type quorum do not have (streams' arguments included). */
const NOT_FOR_QUORUM = ["x-max-priority", "x-max-age", "x-stream-max-segment-size-bytes"];

/** Arguments of which a second declaration must repeat the value. */
const COMPARED = [...CHECKS.keys()];
const COMPARED_CLASSIC = [...COMPARED, "x-queue-version", "x-queue-leader-locator", "x-queue-master-locator"];
const COMPARED_QUORUM = [
  ...COMPARED,
  "x-quorum-initial-group-size",
  "x-max-in-memory-length",
  "x-max-in-memory-bytes",
  "x-queue-leader-locator",
];

/** Settings of a queue that follow from its declaration, once the declaration is found valid. */
export interface QueueTraits {
  readonly durable: boolean;
  readonly quorum: boolean;
}

/** Checks the arguments of a declaration. Throws "precondition-failed". */
export function checkQueueArguments(declaration: QueueDeclaration, name: string, vhost: string): QueueTraits {
  const thing = resource("queue", name, vhost);
  for (const [argument, value] of declaration.arguments) {
    const fault = CHECKS.get(argument)?.(value);
    if (fault !== undefined) throw preconditionFailed(`invalid arg '${argument}' for ${thing}: ${fault}`);
  }
  if (declaration.arguments.has(DEAD_LETTER_KEY) && !declaration.arguments.has(DEAD_LETTER_EXCHANGE)) {
    throw preconditionFailed(`invalid arg '${DEAD_LETTER_KEY}' for ${thing}: routing_key_but_no_dlx_defined`);
  }
  // An exclusive queue dies with its connection, so durability means nothing to it (RabbitMQ drops the flag).
  const durable = declaration.durable && !declaration.exclusive;
  const quorum = queueType(declaration.arguments, thing) === "quorum";
  if (quorum) {
    const refused = NOT_FOR_QUORUM.find((argument) => declaration.arguments.has(argument));
    if (refused !== undefined) throw preconditionFailed(`invalid arg '${refused}' for ${thing}`);
    if (declaration.name === "")
      throw preconditionFailed("Cannot declare a server-named queue for type rabbit_quorum_queue");
    if (declaration.autoDelete) throw preconditionFailed(`invalid property 'auto-delete' for ${thing}`);
    if (declaration.exclusive) throw preconditionFailed(`invalid property 'exclusive-owner' for ${thing}`);
    if (!durable) throw preconditionFailed(`invalid property 'non-durable' for ${thing}`);
  }
  return { durable, quorum };
}

/**
 * Checks that a second declaration asks for what the queue is. `ownerId` is the declaring session's id
 * when it asks for an exclusive queue, else 0. Throws "resource-locked" or "precondition-failed".
 */
export function checkSameQueue(record: QueueRecord, declaration: QueueDeclaration, ownerId: number): void {
  if (record.ownerId !== ownerId) throw locked(record.name, record.vhost);
  const thing = resource("queue", record.name, record.vhost);
  const durable = declaration.durable && !declaration.exclusive;
  assertEquivalent("durable", thing, { received: durable, current: record.durable });
  assertEquivalent("auto_delete", thing, { received: declaration.autoDelete, current: record.autoDelete });
  const received = declaration.arguments;
  assertEquivalent(TYPE, thing, { received: queueType(received, thing), current: queueType(record.arguments, thing) });
  for (const argument of record.quorum ? COMPARED_QUORUM : COMPARED_CLASSIC) {
    const now = received.get(argument);
    const then = record.arguments.get(argument);
    if (now === undefined && then === undefined) continue;
    if (now !== undefined && then !== undefined && sameFieldValue(now, then)) continue;
    throw argumentsDiffer(argument, thing, now, then);
  }
}

function queueType(args: FieldTable, thing: string): "classic" | "quorum" {
  const type = args.get(TYPE);
  if (type === undefined || type === "classic") return "classic";
  if (type === "quorum") return "quorum";
  if (type === "stream") throw notYet(`queue type 'stream'`, thing);
  const reason =
    typeof type === "string" ? `"unsupported queue type '${type}'"` : `{unacceptable_type,${wireType(type)}}`;
  throw preconditionFailed(`invalid arg '${TYPE}' for ${thing}: ${reason}`);
}
