// Which exchange types there are, the router of each, and what their arguments and bindings may be.

import { unreachable } from "../assert.ts";
import { EMPTY_TABLE, type FieldTable } from "../model/field-table.ts";
import { DirectRouter } from "./direct.ts";
import type { ExchangeRouter } from "./exchange-router.ts";
import { FanoutRouter } from "./fanout.ts";
import {
  ConsistentHashRouter,
  invalidHashArguments,
  invalidWeight,
  ModulusHashRouter,
  RandomRouter,
} from "./hashing.ts";
import { HeadersRouter, invalidHeadersBinding } from "./headers.ts";
import { TopicRouter } from "./topic.ts";

const ROUTED_TYPES = [
  "direct",
  "fanout",
  "topic",
  "headers",
  "x-consistent-hash",
  "x-modulus-hash",
  "x-random",
  "x-local-random",
] as const;

/** Types that route by themselves. */
export type RoutedExchangeType = (typeof ROUTED_TYPES)[number];

/** Delays what its messages ask it to (header x-delay), then routes as the type in this argument does. */
export const DELAYED_TYPE = "x-delayed-message";
const INNER_TYPE = "x-delayed-type";

export type ExchangeType = RoutedExchangeType | typeof DELAYED_TYPE;

const ROUTED: ReadonlySet<string> = new Set(ROUTED_TYPES);

export function isExchangeType(type: string): type is ExchangeType {
  return ROUTED.has(type) || type === DELAYED_TYPE;
}

function isRoutedType(type: unknown): type is RoutedExchangeType {
  return typeof type === "string" && ROUTED.has(type);
}

/** Why an exchange of this type cannot have these arguments; undefined when it can. */
export function invalidExchangeArguments(type: ExchangeType, args: FieldTable): string | undefined {
  if (type === "x-consistent-hash") return invalidHashArguments(args);
  if (type !== DELAYED_TYPE) return undefined;
  const inner = args.get(INNER_TYPE);
  if (inner === DELAYED_TYPE) return `Invalid argument, '${DELAYED_TYPE}' can't be used for '${INNER_TYPE}'`;
  if (typeof inner !== "string") return `Invalid argument, '${INNER_TYPE}' must be an existing exchange type`;
  return isRoutedType(inner) ? invalidExchangeArguments(inner, args) : `unknown exchange type '${inner}'`;
}

/** Why such an exchange cannot have this binding; undefined when it can. */
export function invalidBinding(
  exchange: { readonly type: ExchangeType; readonly arguments: FieldTable },
  binding: { readonly routingKey: string; readonly arguments: FieldTable },
): string | undefined {
  const type = routedType(exchange.type, exchange.arguments);
  if (type === "headers") return invalidHeadersBinding(binding.arguments);
  return type === "x-consistent-hash" ? invalidWeight(binding.routingKey) : undefined;
}

/** The router of an exchange whose arguments are valid. */
export function routerFor(type: ExchangeType, args: FieldTable = EMPTY_TABLE): ExchangeRouter {
  const routed = routedType(type, args);
  switch (routed) {
    case "direct":
      return new DirectRouter();
    case "fanout":
      return new FanoutRouter();
    case "topic":
      return new TopicRouter();
    case "headers":
      return new HeadersRouter();
    case "x-consistent-hash":
      return new ConsistentHashRouter(args);
    case "x-modulus-hash":
      return new ModulusHashRouter();
    case "x-random":
    case "x-local-random":
      return new RandomRouter();
    default:
      return unreachable(routed);
  }
}

function routedType(type: ExchangeType, args: FieldTable): RoutedExchangeType {
  if (type !== DELAYED_TYPE) return type;
  const inner = args.get(INNER_TYPE);
  return isRoutedType(inner) ? inner : "direct";
}
