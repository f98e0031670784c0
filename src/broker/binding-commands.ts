// queue.bind, queue.unbind, exchange.bind, exchange.unbind: checks, refusals, decisions.

import { LIMITS } from "../limits.ts";
import { BrokerError } from "../model/errors.ts";
import { invalidBinding } from "../routing/router-for.ts";
import type { Named } from "./access/grants.ts";
import { departure } from "./auto-delete.ts";
import type { BindingDeclaration, ExchangeBindingDeclaration } from "./facade.ts";
import { checkNameLength, cleanName, type Namespace } from "./namespace.ts";
import { checkOwner } from "./queue-commands.ts";
import { defaultExchangeRefused, notFound, preconditionFailed, resource } from "./refusals.ts";
import type { OpenSession } from "./sessions.ts";
import { Queue, type Exchange, type Vhost } from "./topology.ts";

type Declaration = Pick<BindingDeclaration, "exchange" | "routingKey" | "arguments">;

/** Makes a binding; one that exists is fine. */
export function bindQueue(namespace: Namespace, session: OpenSession, declaration: BindingDeclaration): void {
  const { home: vhost } = session;
  const name = cleanName(declaration.queue);
  checkRights(session, { kind: "queue", name }, declaration);
  const from = sourceOf(vhost, declaration.exchange);
  const queue = vhost.queues.get(name);
  if (queue === undefined) throw notFound("queue", name, vhost.name);
  bind(namespace, { from, to: queue, declaration, beforehand: () => checkOwner(queue, session) });
}

/** Like `bindQueue`, between two exchanges, which may be the same. */
export function bindExchange(
  namespace: Namespace,
  session: OpenSession,
  declaration: ExchangeBindingDeclaration,
): void {
  const { home: vhost } = session;
  const name = cleanName(declaration.destination);
  checkRights(session, { kind: "exchange", name }, declaration);
  const from = sourceOf(vhost, declaration.exchange);
  const to = vhost.exchanges.get(name);
  if (to === undefined) throw notFound("exchange", name, vhost.name);
  bind(namespace, { from, to, declaration, beforehand: () => undefined });
}

/** Removes a binding; anything missing is fine. The last one takes an auto-delete exchange with it. */
export function unbindQueue(namespace: Namespace, session: OpenSession, declaration: BindingDeclaration): void {
  const { home: vhost } = session;
  const name = cleanName(declaration.queue);
  checkRights(session, { kind: "queue", name }, declaration);
  const queue = vhost.queues.get(name);
  if (queue === undefined) return;
  unbind(namespace, vhost.exchanges.get(cleanName(declaration.exchange)), queue, declaration, () =>
    checkOwner(queue, session),
  );
}

/** Like `unbindQueue`, between two exchanges. */
export function unbindExchange(
  namespace: Namespace,
  session: OpenSession,
  declaration: ExchangeBindingDeclaration,
): void {
  const { exchanges } = session.home;
  const [source, destination] = [cleanName(declaration.exchange), cleanName(declaration.destination)];
  checkRights(session, { kind: "exchange", name: destination }, declaration);
  unbind(namespace, exchanges.get(source), exchanges.get(destination), declaration, () => undefined);
}

/** Binding and unbinding write to the destination and read from the source; neither is the default exchange. */
function checkRights({ home, grants }: OpenSession, destination: Named, { exchange, routingKey }: Declaration): void {
  const source = cleanName(exchange);
  grants.check("write", destination);
  if (source === "" || (destination.kind === "exchange" && destination.name === "")) throw defaultExchangeRefused();
  grants.check("read", { kind: "exchange", name: source });
  if (home.exchanges.get(source)?.settings.type === "topic") grants.checkTopic("read", source, routingKey);
}

function sourceOf(vhost: Vhost, rawName: string): Exchange {
  const name = cleanName(rawName);
  const exchange = vhost.exchanges.get(name);
  if (exchange === undefined) throw notFound("exchange", name, vhost.name);
  return exchange;
}

interface NewBinding {
  readonly from: Exchange;
  readonly to: Queue | Exchange;
  readonly declaration: Declaration;
  /** Throws when the destination may not be bound. */
  readonly beforehand: () => void;
}

function bind(namespace: Namespace, { from, to, declaration, beforehand }: NewBinding): void {
  const { topology } = namespace;
  const { routingKey } = declaration;
  const invalid = invalidBinding(from.settings, declaration);
  if (invalid !== undefined) throw preconditionFailed(invalid);
  beforehand();
  checkNameLength(routingKey);
  if (topology.findBinding(from, to, routingKey, declaration.arguments) !== undefined) return;
  if (topology.bindingCount >= LIMITS.bindingsMax) {
    throw new BrokerError(
      "resource-limit",
      `cannot bind ${resourceOf(to)}: the limit of ${LIMITS.bindingsMax} bindings is reached`,
    );
  }
  const { vhost, name: exchange } = from.settings;
  const destination = to instanceof Queue ? to.record.id : to.settings.name;
  const binding = { vhost, exchange, destination, routingKey, arguments: declaration.arguments };
  namespace.commit([{ kind: "bound", binding }]);
}

function unbind(
  namespace: Namespace,
  from: Exchange | undefined,
  to: Queue | Exchange | undefined,
  declaration: Declaration,
  beforehand: () => void,
): void {
  if (from === undefined || to === undefined) return;
  const binding = namespace.topology.findBinding(from, to, declaration.routingKey, declaration.arguments);
  if (binding === undefined) return;
  beforehand();
  namespace.commit(departure({ bindings: [binding] }));
}

function resourceOf(end: Queue | Exchange): string {
  if (end instanceof Queue) return resource("queue", end.record.name, end.record.vhost);
  return resource("exchange", end.settings.name, end.settings.vhost);
}
