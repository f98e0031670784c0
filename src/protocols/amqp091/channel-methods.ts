// Every method on an open channel, by name. What changes exchanges, queues or bindings is answered
// only when the change is durable; the connection parses nothing else until then, so that a client's
// next step finds the change in force even after a crash.

import type { Channel } from "./channel.ts";
import { cancel, consume, get, qos, queueName, recover } from "./channel-consuming.ts";
import { connectionError } from "./errors.ts";
import type { Method, MethodFields, MethodName, MethodOf } from "./spec.ts";

/**
 * Carries out one method. Throws AmqpError and BrokerError. `channel.open`, `channel.close` and
 * basic.publish are the connection's.
 */
export function handleMethod(channel: Channel, method: Method): void {
  const { host, number } = channel;
  switch (method.name) {
    case "basic.ack":
      return channel.ack(method.deliveryTag, method.multiple);
    case "basic.nack":
      return channel.nack(method.deliveryTag, method.multiple, method.requeue);
    case "basic.reject":
      return channel.nack(method.deliveryTag, false, method.requeue);
    case "basic.recover":
    case "basic.recover-async":
      return recover(channel, method);
    case "basic.qos":
      return qos(channel, method);
    case "basic.consume":
      return consume(channel, method);
    case "basic.cancel":
      return cancel(channel, method);
    case "basic.cancel-ok":
      return;
    case "basic.get":
      return get(channel, method);
    case "confirm.select":
      channel.selectConfirms();
      if (!method.nowait) host.send(number, "confirm.select-ok", {});
      return;
    case "channel.flow":
      if (!method.active) throw connectionError("not-implemented", "active=false");
      return host.send(number, "channel.flow-ok", { active: true });
    case "channel.flow-ok":
      return;
    case "access.request":
      return host.send(number, "access.request-ok", { ticket: 1 });
    default:
      return handleTopology(channel, method);
  }
}

function handleTopology(channel: Channel, method: Method): void {
  switch (method.name) {
    case "exchange.declare":
      return declareExchange(channel, method);
    case "exchange.delete":
      channel.host.broker.deleteExchange(channel.host.session, method.exchange, method.ifUnused);
      return answerDurably(channel, method.nowait, "exchange.delete-ok", {});
    case "queue.declare":
      return declareQueue(channel, method);
    case "queue.bind":
      channel.host.broker.bindQueue(channel.host.session, binding(channel, method));
      return answerDurably(channel, method.nowait, "queue.bind-ok", {});
    case "queue.unbind":
      channel.host.broker.unbindQueue(channel.host.session, binding(channel, method));
      return answerDurably(channel, false, "queue.unbind-ok", {});
    case "queue.purge":
      return purgeQueue(channel, method);
    case "queue.delete":
      return deleteQueue(channel, method);
    case "exchange.bind":
    case "exchange.unbind":
      throw connectionError("not-implemented", "bindings between exchanges are not available in this version");
    case "tx.select":
    case "tx.commit":
    case "tx.rollback":
      throw connectionError("not-implemented", "transactions are not available in this version");
    default:
      throw connectionError("command-invalid", `unexpected method ${method.name}`);
  }
}

function declareExchange(channel: Channel, method: MethodOf<"exchange.declare">): void {
  const { broker, session } = channel.host;
  broker.declareExchange(session, {
    name: method.exchange,
    type: method.type,
    passive: method.passive,
    durable: method.durable,
    autoDelete: method.autoDelete,
    internal: method.internal,
    arguments: method.arguments,
  });
  answerDurably(channel, method.nowait, "exchange.declare-ok", {});
}

function declareQueue(channel: Channel, method: MethodOf<"queue.declare">): void {
  const { broker, session } = channel.host;
  const status = broker.declareQueue(session, {
    name: method.queue,
    passive: method.passive,
    durable: method.durable,
    exclusive: method.exclusive,
    autoDelete: method.autoDelete,
    arguments: method.arguments,
  });
  channel.lastQueue = status.name;
  answerDurably(channel, method.nowait, "queue.declare-ok", {
    queue: status.name,
    messageCount: status.messageCount,
    consumerCount: status.consumerCount,
  });
}

function purgeQueue(channel: Channel, method: MethodOf<"queue.purge">): void {
  const { broker, session } = channel.host;
  const messageCount = broker.purgeQueue(session, queueName(channel, method.queue));
  answerDurably(channel, method.nowait, "queue.purge-ok", { messageCount });
}

function deleteQueue(channel: Channel, method: MethodOf<"queue.delete">): void {
  const { broker, session } = channel.host;
  const { ifUnused, ifEmpty } = method;
  const messageCount = broker.deleteQueue(session, queueName(channel, method.queue), { ifUnused, ifEmpty });
  answerDurably(channel, method.nowait, "queue.delete-ok", { messageCount });
}

/** Queue and key of a binding; with both empty the key is the queue's name (AMQP 0-9-1 queue.bind). */
function binding(channel: Channel, method: MethodOf<"queue.bind"> | MethodOf<"queue.unbind">) {
  const queue = queueName(channel, method.queue);
  const routingKey = method.queue === "" && method.routingKey === "" ? queue : method.routingKey;
  return { queue, exchange: method.exchange, routingKey, arguments: method.arguments };
}

function answerDurably<N extends MethodName>(
  channel: Channel,
  nowait: boolean,
  name: N,
  fields: MethodFields<N>,
): void {
  const { host } = channel;
  host.afterCommit(() => {
    if (!nowait && !channel.closing) host.send(channel.number, name, fields);
  });
}
