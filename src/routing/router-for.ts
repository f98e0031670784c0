// Which exchange types there are, and the router of each.

import { unreachable } from "../assert.ts";
import { DirectRouter } from "./direct.ts";
import type { ExchangeRouter } from "./exchange-router.ts";
import { FanoutRouter } from "./fanout.ts";
import { HeadersRouter } from "./headers.ts";
import { TopicRouter } from "./topic.ts";

export type RoutedExchangeType = "direct" | "fanout" | "topic" | "headers";

const TYPES: ReadonlySet<string> = new Set(["direct", "fanout", "topic", "headers"] satisfies RoutedExchangeType[]);

export function isExchangeType(type: string): type is RoutedExchangeType {
  return TYPES.has(type);
}

export function routerFor(type: RoutedExchangeType): ExchangeRouter {
  switch (type) {
    case "direct":
      return new DirectRouter();
    case "fanout":
      return new FanoutRouter();
    case "topic":
      return new TopicRouter();
    case "headers":
      return new HeadersRouter();
    default:
      return unreachable(type);
  }
}
