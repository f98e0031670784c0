// Headers exchange: a binding's arguments are compared with the message's headers.
//
//   x-match         a message is routed when
//   all (default)   every argument is met, names that start with "x-" left out
//   any             at least one is met, names that start with "x-" left out
//   all-with-x      every argument except x-match itself is met
//   any-with-x      at least one except x-match itself is met
//
// An argument without a value (void) is met by the header's presence, any other by an equal value.
// With nothing to compare, "all" matches every message and "any" matches none.

import { assert } from "../assert.ts";
import type { FieldTable, FieldValue } from "../model/field-table.ts";
import { sameFieldValue, tableIdentity } from "../model/field-table-json.ts";
import { wireType } from "../model/wire-type.ts";
import type { ExchangeRouter, RoutedBinding } from "./exchange-router.ts";
import type { RoutedMessage } from "./routed-message.ts";

interface HeaderCondition {
  readonly name: string;
  readonly value: FieldValue;
}

interface HeaderBinding {
  readonly queueId: number;
  readonly every: boolean;
  readonly conditions: readonly HeaderCondition[];
}

const X_MATCH = new Set(["all", "any", "all-with-x", "any-with-x"]);

/** Why these arguments cannot be bound to a headers exchange; undefined when they can. */
export function invalidHeadersBinding(args: FieldTable): string | undefined {
  const match = args.get("x-match");
  if (match === undefined) return undefined;
  if (typeof match !== "string") {
    return `Invalid x-match field type ${wireType(match)} (value ${String(match)}); expected longstr`;
  }
  if (X_MATCH.has(match)) return undefined;
  return `Invalid x-match field value <<"${match}">>; expected all, any, all-with-x, or any-with-x`;
}

export class HeadersRouter implements ExchangeRouter {
  readonly perMessage = true;
  readonly #bindings = new Map<string, HeaderBinding>();

  bind(binding: RoutedBinding): void {
    const match = binding.arguments.get("x-match") ?? "all";
    const withX = match === "all-with-x" || match === "any-with-x";
    const conditions: HeaderCondition[] = [];
    for (const [name, value] of binding.arguments) {
      if (name !== "x-match" && (withX || !name.startsWith("x-"))) conditions.push({ name, value });
    }
    const every = match !== "any" && match !== "any-with-x";
    this.#bindings.set(keyOf(binding), { queueId: binding.queueId, every, conditions });
  }

  unbind(binding: RoutedBinding): void {
    const removed = this.#bindings.delete(keyOf(binding));
    assert(removed, "an unbound headers binding was bound");
  }

  route(message: RoutedMessage, into: Set<number>): void {
    const { headers } = message;
    for (const binding of this.#bindings.values()) {
      if (!into.has(binding.queueId) && matches(binding, headers)) into.add(binding.queueId);
    }
  }
}

function matches(binding: HeaderBinding, headers: FieldTable): boolean {
  for (const condition of binding.conditions) {
    if (isMet(condition, headers) !== binding.every) return !binding.every;
  }
  return binding.every;
}

function isMet(condition: HeaderCondition, headers: FieldTable): boolean {
  const value = headers.get(condition.name);
  if (value === undefined) return false;
  return condition.value === null || sameFieldValue(condition.value, value);
}

function keyOf(binding: RoutedBinding): string {
  return JSON.stringify([binding.queueId, binding.routingKey, tableIdentity(binding.arguments)]);
}
