// queue.bind and queue.unbind: checks, refusals, decisions.

import { LIMITS } from "../limits.ts";
import { BrokerError } from "../model/errors.ts";
import { invalidHeadersBinding } from "../routing/headers.ts";
import type { Effect } from "./effects.ts";
import type { BindingDeclaration, Session } from "./facade.ts";
import { checkNameLength, cleanName, type Namespace } from "./namespace.ts";
import { checkOwner } from "./queue-commands.ts";
import { defaultExchangeRefused, notFound, preconditionFailed, resource } from "./refusals.ts";
import { recordOf } from "./topology.ts";

/** Makes a binding; one that exists is fine. */
export function bindQueue(namespace: Namespace, session: Session, declaration: BindingDeclaration): void {
  const { topology } = namespace;
  const exchangeName = cleanName(declaration.exchange);
  const queueName = cleanName(declaration.queue);
  if (exchangeName === "") throw defaultExchangeRefused();
  const exchange = topology.exchanges.get(exchangeName);
  if (exchange === undefined) throw notFound("exchange", exchangeName);
  const queue = topology.queues.get(queueName);
  if (queue === undefined) throw notFound("queue", queueName);
  const invalid = exchange.settings.type === "headers" ? invalidHeadersBinding(declaration.arguments) : undefined;
  if (invalid !== undefined) throw preconditionFailed(invalid);
  checkOwner(queue, session);
  const { routingKey } = declaration;
  checkNameLength(routingKey);
  if (topology.findBinding(exchange, queue, routingKey, declaration.arguments) !== undefined) return;
  if (topology.bindingCount >= LIMITS.bindingsMax) {
    throw new BrokerError(
      "resource-limit",
      `cannot bind ${resource("queue", queueName)}: the limit of ${LIMITS.bindingsMax} bindings is reached`,
    );
  }
  const binding = { exchange: exchangeName, queueId: queue.record.id, routingKey, arguments: declaration.arguments };
  namespace.commit([{ kind: "bound", binding }]);
}

/** Removes a binding; anything missing is fine. The last one takes an auto-delete exchange with it. */
export function unbindQueue(namespace: Namespace, session: Session, declaration: BindingDeclaration): void {
  const exchangeName = cleanName(declaration.exchange);
  if (exchangeName === "") throw defaultExchangeRefused();
  const exchange = namespace.topology.exchanges.get(exchangeName);
  const queue = namespace.topology.queues.get(cleanName(declaration.queue));
  if (exchange === undefined || queue === undefined) return;
  const binding = namespace.topology.findBinding(exchange, queue, declaration.routingKey, declaration.arguments);
  if (binding === undefined) return;
  checkOwner(queue, session);
  const effects: Effect[] = [{ kind: "unbound", binding: recordOf(binding) }];
  if (exchange.settings.autoDelete && exchange.bindings.size === 1) {
    effects.push({ kind: "exchange-deleted", name: exchangeName });
  }
  namespace.commit(effects);
}
