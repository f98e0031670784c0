// The sentences with which the broker refuses. Clients and their tests know them by heart, so the
// wording of names, codes and details is the one that AMQP clients meet elsewhere.

import type { FieldValue } from "../model/field-table.ts";
import { BrokerError } from "../model/errors.ts";
import { wireType } from "../model/wire-type.ts";

export type ResourceKind = "queue" | "exchange";

/** `queue 'orders' in vhost '/'` */
export function resource(kind: ResourceKind, name: string, vhost: string): string {
  return `${kind} '${name}' in vhost '${vhost}'`;
}

export function notFound(kind: ResourceKind, name: string, vhost: string): BrokerError {
  return new BrokerError("not-found", `no ${resource(kind, name, vhost)}`);
}

export function preconditionFailed(message: string): BrokerError {
  return new BrokerError("precondition-failed", message);
}

export function accessRefused(message: string): BrokerError {
  return new BrokerError("access-refused", message);
}

export function reservedName(kind: ResourceKind, name: string): BrokerError {
  return accessRefused(`${kind} name '${name}' contains reserved prefix 'amq.*'`);
}

export function defaultExchangeRefused(): BrokerError {
  return accessRefused("operation not permitted on the default exchange");
}

export function locked(queue: string, vhost: string): BrokerError {
  return new BrokerError(
    "resource-locked",
    `cannot obtain exclusive access to locked ${resource("queue", queue, vhost)}. It could be originally declared on ` +
      "another connection or the exclusive property value does not match that of the original declaration.",
  );
}

export function notYet(what: string, where: string): BrokerError {
  return preconditionFailed(`${what} for ${where} is not available in this version of Quayside`);
}

/** `thing`: what `resource` says of it. */
export function limitReached(thing: string, limit: number, counted: string): BrokerError {
  return new BrokerError("resource-limit", `cannot declare ${thing}: the limit of ${limit} ${counted} is reached`);
}

/** Refuses a declaration that asks for `received` where the existing thing has `current`. */
export function assertEquivalent(
  property: string,
  thing: string,
  values: { readonly received: string | boolean; readonly current: string | boolean },
): void {
  if (values.received === values.current) return;
  throw preconditionFailed(
    `inequivalent arg '${property}' for ${thing}: received '${values.received}' but current is '${values.current}'`,
  );
}

/** Like `assertEquivalent` for an argument, which may be absent. */
export function argumentsDiffer(
  property: string,
  thing: string,
  received: FieldValue | undefined,
  current: FieldValue | undefined,
): BrokerError {
  const bothThere = received !== undefined && current !== undefined && typeof received === typeof current;
  const shown = bothThere ? quoted : described;
  return preconditionFailed(
    `inequivalent arg '${property}' for ${thing}: received ${shown(received)} but current is ${shown(current)}`,
  );
}

function quoted(value: FieldValue | undefined): string {
  return `'${shownValue(value)}'`;
}

function described(value: FieldValue | undefined): string {
  if (value === undefined) return "none";
  return `the value ${quoted(value)} of type '${wireType(value)}'`;
}

function shownValue(value: FieldValue | undefined): string {
  if (typeof value === "object")
    return JSON.stringify(value, (_key, part: unknown) => (typeof part === "bigint" ? part.toString() : part));
  return String(value);
}
