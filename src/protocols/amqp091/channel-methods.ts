// Every method on an open channel, by name. What changes exchanges, queues or bindings is answered
// only when the change is durable; the connection parses nothing else until then, so that a client's
// next step finds the change in force even after a crash.

import type { Channel } from "./channel.ts";
import { cancel, consume, get, qos, queueName, recover } from "./channel-consuming.ts";
import { REPLY_QUEUE } from "./direct-replies.ts";
import { channelError, connectionError } from "./errors.ts";
import type { Method, MethodFields, MethodName, MethodOf } from "./spec.ts";
import type { Transaction } from "./transaction.ts";

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
      channel.host.broker.bindExchange(channel.host.session, exchangeBinding(method));
      return answerDurably(channel, method.nowait, "exchange.bind-ok", {});
    case "exchange.unbind":
      channel.host.broker.unbindExchange(channel.host.session, exchangeBinding(method));
      return answerDurably(channel, method.nowait, "exchange.unbind-ok", {});
    case "tx.select":
      channel.selectTransactions();
      return channel.host.send(channel.number, "tx.select-ok", {});
    case "tx.commit":
      return commitTransaction(channel);
    case "tx.rollback":
      channel.rollBack(transactionOf(channel));
      return channel.host.send(channel.number, "tx.rollback-ok", {});
    default:
      throw connectionError("command-invalid", `unexpected method ${method.name}`);
  }
}

function transactionOf(channel: Channel): Transaction {
  if (channel.transaction === undefined) throw channelError("precondition-failed", "channel is not transactional");
  return channel.transaction;
}

/** Publishes first, then acks, as RabbitMQ orders them; all of it in one entry of the log. */
function commitTransaction(channel: Channel): void {
  const { host, number } = channel;
  const transaction = transactionOf(channel);
  if (transaction.isEmpty) {
    host.send(number, "tx.commit-ok", {});
    return;
  }
  host.broker.atomically(transaction.size, () => {
    host.publishKept(channel, transaction.keptPublishes);
    channel.settleKept(transaction);
  });
  transaction.clear();
  host.afterStored(() => {
    if (!channel.closing) host.send(number, "tx.commit-ok", {});
  });
}

function exchangeBinding(method: MethodOf<"exchange.bind"> | MethodOf<"exchange.unbind">) {
  const { source, destination, routingKey } = method;
  return { exchange: source, destination, routingKey, arguments: method.arguments };
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

/** A reply address can be looked at like a queue: one that exists has one consumer. */
function declareReplyQueue(channel: Channel, method: MethodOf<"queue.declare">): void {
  const { replies, session } = channel.host;
  const { queue } = method;
  if (queue !== REPLY_QUEUE && !replies.reaches(queue, session.vhost)) {
    throw channelError("not-found", `no queue '${queue}' in vhost '${session.vhost}'`);
  }
  if (!method.nowait) {
    channel.host.send(channel.number, "queue.declare-ok", { queue, messageCount: 0, consumerCount: 1 });
  }
}

function declareQueue(channel: Channel, method: MethodOf<"queue.declare">): void {
  if (method.queue.startsWith(REPLY_QUEUE)) return declareReplyQueue(channel, method);
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
