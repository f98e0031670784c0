// The methods of class basic that consume: qos, consume, cancel, get, nack, reject, recover.

import type { Channel } from "./channel.ts";
import { DELIVERY_COUNT_HEADER, GetSink } from "./deliver.ts";
import { REPLY_QUEUE } from "./direct-replies.ts";
import { channelError, connectionError } from "./errors.ts";
import { readRecord } from "./record.ts";
import { FRAME_METHOD, type MethodOf } from "./spec.ts";
import { encodeMethod } from "./methods.ts";
import { EMPTY_TABLE } from "../../model/field-table.ts";
import { wireType } from "../../model/wire-type.ts";
import { withIntegerHeader } from "../../model/properties.ts";

export function qos(channel: Channel, method: MethodOf<"basic.qos">): void {
  if (method.prefetchSize !== 0) throw connectionError("not-implemented", `prefetch_size!=0 (${method.prefetchSize})`);
  if (method.global) channel.sharePrefetch(method.prefetchCount);
  else channel.prefetch = method.prefetchCount;
  channel.host.send(channel.number, "basic.qos-ok", {});
}

export function consume(channel: Channel, method: MethodOf<"basic.consume">): void {
  const { host } = channel;
  const queue = queueName(channel, method.queue);
  if (queue === REPLY_QUEUE) return consumeReplies(channel, method);
  const tag = freshTag(channel, method.consumerTag);
  const { noAck, exclusive } = method;
  const priority = integerArgument(channel, method, "x-priority") ?? 0;
  const asked = integerArgument(channel, method, "x-consumer-timeout", 0);
  // As on queues, 0 is no timeout.
  const timeoutMs = asked === 0 ? Infinity : asked;
  const consumer = channel.addConsumer(tag, { noAck, exclusive, priority, timeoutMs, arguments: method.arguments });
  try {
    consumer.handle = host.broker.consume(host.session, queue, consumer, { noAck, exclusive, priority });
  } catch (error) {
    channel.removeConsumer(consumer);
    throw error;
  }
  channel.noteTimeout(timeoutMs ?? host.broker.consumerTimeoutMs(consumer.handle.queueId));
  if (!method.nowait) host.send(channel.number, "basic.consume-ok", { consumerTag: tag });
  if (consumer.hasCredit && host.hasRoom) return;
  consumer.handle.pause();
  channel.waits(consumer);
}

function consumeReplies(channel: Channel, method: MethodOf<"basic.consume">): void {
  const { host, number } = channel;
  const tag = freshTag(channel, method.consumerTag);
  if (!method.noAck) throw channelError("precondition-failed", "reply consumer cannot acknowledge");
  if (channel.replyConsumer !== undefined) throw channelError("precondition-failed", "reply consumer already set");
  channel.replyConsumer = { tag, address: host.replies.open(channel, host.random) };
  if (!method.nowait) host.send(number, "basic.consume-ok", { consumerTag: tag });
}

/** An integer among the arguments of basic.consume; undefined when absent. Throws 406 in RabbitMQ's words. */
function integerArgument(
  channel: Channel,
  method: MethodOf<"basic.consume">,
  name: string,
  min = -Infinity,
): number | undefined {
  const value = method.arguments.get(name);
  if (value === undefined) return undefined;
  const number = typeof value === "bigint" ? Number(value) : value;
  let fault: string | undefined;
  if (typeof number !== "number" || !Number.isInteger(number)) fault = `"expected integer, got ${wireType(value)}"`;
  else if (number < min) fault = `{value_negative,${number}}`;
  else return number;
  const { broker, session } = channel.host;
  const queue = queueName(channel, method.queue);
  // That there is no such queue is said first.
  const looked = { passive: true, durable: false, exclusive: false, autoDelete: false, arguments: EMPTY_TABLE };
  broker.declareQueue(session, { name: queue, ...looked });
  const thing = `queue '${queue}' in vhost '${session.vhost}'`;
  throw channelError("precondition-failed", `invalid arg '${name}' for ${thing}: ${fault}`);
}

/** The consumer tag that a client asks for; "" asks for one of ours. Throws 530 for one in use. */
function freshTag(channel: Channel, asked: string): string {
  if (asked === "") return serverTag(channel);
  if (channel.consumers.has(asked) || channel.replyConsumer?.tag === asked) {
    throw connectionError("not-allowed", `attempt to reuse consumer tag '${asked}'`);
  }
  return asked;
}

export function cancel(channel: Channel, method: MethodOf<"basic.cancel">): void {
  if (channel.replyConsumer?.tag === method.consumerTag) channel.endReplies();
  const consumer = channel.consumers.get(method.consumerTag);
  if (consumer !== undefined) channel.removeConsumer(consumer);
  if (!method.nowait) channel.host.send(channel.number, "basic.cancel-ok", { consumerTag: method.consumerTag });
}

/** Holds the connection until the broker has answered, because the body may have to come from disk. */
export function get(channel: Channel, method: MethodOf<"basic.get">): void {
  const { host } = channel;
  const queue = queueName(channel, method.queue);
  const sink = new GetSink();
  const release = host.holdForGet();
  let answered = false;
  const done = (readyLeft: number): void => {
    answered = true;
    if (channel.closing) returnTaken(channel, sink, method.noAck);
    else answerGet(channel, sink, method.noAck, readyLeft);
    release();
  };
  try {
    host.broker.take(host.session, queue, method.noAck, sink, done);
  } catch (error) {
    if (!answered) release();
    throw error;
  }
}

/** The channel went away while the message was on its way to it. */
function returnTaken(channel: Channel, sink: GetSink, noAck: boolean): void {
  if (sink.record !== undefined && !noAck)
    channel.host.broker.requeue(sink.queueId, sink.lane, sink.sequence, "closed");
}

function answerGet(channel: Channel, sink: GetSink, noAck: boolean, readyLeft: number): void {
  const { host, number } = channel;
  if (sink.record === undefined || readyLeft < 0) {
    host.send(number, "basic.get-empty", { clusterId: "" });
    return;
  }
  const record = readRecord(sink.record);
  const counted = sink.deliveries > 0 && host.broker.countsDeliveries(sink.queueId);
  const properties = counted
    ? withIntegerHeader(record.properties, 0, record.properties.length, DELIVERY_COUNT_HEADER, sink.deliveries)
    : record.properties;
  const deliveryTag = channel.nextDeliveryTag();
  host.outbox.frame(
    FRAME_METHOD,
    number,
    encodeMethod("basic.get-ok", {
      deliveryTag,
      redelivered: sink.deliveries > 0,
      exchange: record.exchange,
      routingKey: record.routingKey,
      messageCount: readyLeft,
    }),
  );
  const { outbox } = host;
  const at = outbox.reserve(outbox.contentBytes(properties.length, record.body.length));
  outbox.content(at, number, properties, 0, properties.length, record.body, 0, record.body.length);
  if (!noAck) channel.deliveredToGet(deliveryTag, sink.queueId, sink.lane, sink.sequence);
}

export function recover(channel: Channel, method: MethodOf<"basic.recover"> | MethodOf<"basic.recover-async">): void {
  if (!method.requeue) throw connectionError("not-implemented", "requeue=false");
  channel.requeueAll();
  if (method.name === "basic.recover") channel.host.send(channel.number, "basic.recover-ok", {});
}

/** The queue that a method means: "" is the one declared last on this channel. Throws 404 without one. */
export function queueName(channel: Channel, name: string): string {
  if (name !== "") return name;
  if (channel.lastQueue === "") throw channelError("not-found", "no previously declared queue");
  return channel.lastQueue;
}

function serverTag(channel: Channel): string {
  return `amq.ctag-${Buffer.from(channel.host.random.bytes(16)).toString("base64url")}`;
}
