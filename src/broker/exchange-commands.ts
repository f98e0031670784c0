// exchange.declare and exchange.delete: checks, refusals, decisions.

import { LIMITS } from "../limits.ts";
import { invalidExchangeArguments, isExchangeType } from "../routing/router-for.ts";
import { departure } from "./auto-delete.ts";
import type { ExchangeDeclaration } from "./facade.ts";
import { cleanName, type Namespace } from "./namespace.ts";
import {
  accessRefused,
  argumentsDiffer,
  assertEquivalent,
  defaultExchangeRefused,
  limitReached,
  notFound,
  notYet,
  preconditionFailed,
  reservedName,
  resource,
} from "./refusals.ts";
import { wireType } from "../model/wire-type.ts";
import type { OpenSession } from "./sessions.ts";

/** Arguments that a second declaration must repeat. */
const COMPARED = ["alternate-exchange", "x-delayed-type", "hash-header", "hash-property"] as const;

/** Known to clients, without a meaning here yet. */
const NOT_YET = ["x-message-deduplication"];

export function declareExchange(namespace: Namespace, session: OpenSession, declaration: ExchangeDeclaration): void {
  const { home: vhost, grants } = session;
  const name = cleanName(declaration.name);
  const existing = vhost.exchanges.get(name);
  if (declaration.passive) {
    if (name === "") throw defaultExchangeRefused();
    if (existing === undefined) throw notFound("exchange", name, vhost.name);
    return;
  }
  const { type, durable, autoDelete, internal } = declaration;
  if (!isExchangeType(type)) throw preconditionFailed(`unknown exchange type '${type}'`);
  if (name === "") throw defaultExchangeRefused();
  const thing = resource("exchange", name, vhost.name);
  grants.check("configure", { kind: "exchange", name });
  for (const argument of NOT_YET) {
    if (declaration.arguments.has(argument)) throw notYet(`argument '${argument}'`, thing);
  }
  const alternate = alternateOf(declaration, thing);
  const invalid = invalidExchangeArguments(type, declaration.arguments);
  if (invalid !== undefined) throw preconditionFailed(invalid);
  if (existing !== undefined) {
    const current = existing.settings;
    assertEquivalent("type", thing, { received: type, current: current.type });
    assertEquivalent("durable", thing, { received: durable, current: current.durable });
    assertEquivalent("auto_delete", thing, { received: autoDelete, current: current.autoDelete });
    assertEquivalent("internal", thing, { received: internal, current: current.internal });
    for (const argument of COMPARED) {
      const [now, then] = [declaration.arguments.get(argument), current.arguments.get(argument)];
      if (now !== then) throw argumentsDiffer(argument, thing, now, then);
    }
    return;
  }
  if (name.startsWith("amq.")) throw reservedName("exchange", name);
  if (namespace.topology.exchangesById.size >= LIMITS.exchangesMax) {
    throw limitReached(thing, LIMITS.exchangesMax, "exchanges");
  }
  if (alternate !== undefined) {
    grants.check("read", { kind: "exchange", name });
    grants.check("write", { kind: "exchange", name: alternate });
  }
  const settings = { name, type, durable, autoDelete, internal, arguments: declaration.arguments };
  namespace.commit([{ kind: "exchange-declared", exchange: { vhost: vhost.name, ...settings } }]);
}

/** A missing exchange is fine: the client wanted it gone. Throws "precondition-failed" for one in use. */
export function deleteExchange(
  namespace: Namespace,
  { home: vhost, grants }: OpenSession,
  rawName: string,
  ifUnused: boolean,
): void {
  const name = cleanName(rawName);
  if (name === "") throw defaultExchangeRefused();
  const thing = resource("exchange", name, vhost.name);
  if (name.startsWith("amq.")) throw accessRefused(`deletion of system ${thing} not allowed`);
  grants.check("configure", { kind: "exchange", name });
  const exchange = vhost.exchanges.get(name);
  if (exchange === undefined) return;
  if (ifUnused && exchange.bindings.size > 0) throw preconditionFailed(`${thing} in use`);
  namespace.commit(departure({ exchanges: [exchange] }));
}

function alternateOf(declaration: ExchangeDeclaration, thing: string): string | undefined {
  const value = declaration.arguments.get(COMPARED[0]);
  if (value === undefined || typeof value === "string") return value;
  throw preconditionFailed(`invalid type '${wireType(value)}' for arg '${COMPARED[0]}' in ${thing}`);
}
