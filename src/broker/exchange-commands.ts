// exchange.declare and exchange.delete: checks, refusals, decisions.

import { LIMITS } from "../limits.ts";
import { isExchangeType } from "../routing/router-for.ts";
import type { ExchangeDeclaration } from "./facade.ts";
import { cleanName, type Namespace } from "./namespace.ts";
import {
  accessRefused,
  assertEquivalent,
  defaultExchangeRefused,
  limitReached,
  notFound,
  notYet,
  preconditionFailed,
  reservedName,
  resource,
} from "./refusals.ts";

/** Known to clients, without a meaning here yet. */
const NOT_YET = ["alternate-exchange", "x-message-deduplication"];

export function declareExchange(namespace: Namespace, declaration: ExchangeDeclaration): void {
  const name = cleanName(declaration.name);
  const existing = namespace.topology.exchanges.get(name);
  if (declaration.passive) {
    if (name === "") throw defaultExchangeRefused();
    if (existing === undefined) throw notFound("exchange", name);
    return;
  }
  const { type, durable, autoDelete, internal } = declaration;
  if (!isExchangeType(type)) throw preconditionFailed(`unknown exchange type '${type}'`);
  if (name === "") throw defaultExchangeRefused();
  const thing = resource("exchange", name);
  for (const argument of NOT_YET) {
    if (declaration.arguments.has(argument)) throw notYet(`argument '${argument}'`, thing);
  }
  if (existing !== undefined) {
    const current = existing.settings;
    assertEquivalent("type", thing, { received: type, current: current.type });
    assertEquivalent("durable", thing, { received: durable, current: current.durable });
    assertEquivalent("auto_delete", thing, { received: autoDelete, current: current.autoDelete });
    assertEquivalent("internal", thing, { received: internal, current: current.internal });
    return;
  }
  if (name.startsWith("amq.")) throw reservedName("exchange", name);
  if (namespace.topology.exchanges.size >= LIMITS.exchangesMax) {
    throw limitReached("exchange", name, LIMITS.exchangesMax, "exchanges");
  }
  const exchange = { name, type, durable, autoDelete, internal, arguments: declaration.arguments };
  namespace.commit([{ kind: "exchange-declared", exchange }]);
}

/** A missing exchange is fine: the client wanted it gone. */
export function deleteExchange(namespace: Namespace, rawName: string, ifUnused: boolean): void {
  const name = cleanName(rawName);
  if (name === "") throw defaultExchangeRefused();
  if (name.startsWith("amq.")) throw accessRefused(`deletion of system ${resource("exchange", name)} not allowed`);
  const exchange = namespace.topology.exchanges.get(name);
  if (exchange === undefined) return;
  if (ifUnused && exchange.bindings.size > 0) throw preconditionFailed(`${resource("exchange", name)} in use`);
  namespace.commit([{ kind: "exchange-deleted", name }]);
}
