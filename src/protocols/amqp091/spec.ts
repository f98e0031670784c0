// AMQP 0-9-1 with RabbitMQ's extensions as one table: every method with its ids and fields, the frame
// types and the reply codes. A test compares it field by field with RabbitMQ's published table. The
// codec (methods.ts) and the types of decoded methods are derived from it.

import type { FieldTable } from "../../model/field-table.ts";

export const FRAME_METHOD = 1;
export const FRAME_HEADER = 2;
export const FRAME_BODY = 3;
export const FRAME_HEARTBEAT = 8;
export const FRAME_END = 206;
/** Bytes around a frame's payload: type, channel, size in front and the end mark behind. */
export const FRAME_OVERHEAD = 8;
export const FRAME_HEADER_BYTES = 7;
/**
 * Bytes by which a peer's frame may exceed frame_max. Some clients forget the overhead when they cut a
 * body, and RabbitMQ lets them; our own frames keep to the limit.
 */
export const FRAME_TOLERANCE = FRAME_OVERHEAD;

export const CLASS_CONNECTION = 10;
export const CLASS_CHANNEL = 20;
export const CLASS_BASIC = 60;
export const METHOD_BASIC_PUBLISH = 40;
export const METHOD_BASIC_RETURN = 50;
export const METHOD_BASIC_DELIVER = 60;
export const METHOD_BASIC_GET_OK = 71;
export const METHOD_BASIC_ACK = 80;

/** Reply codes and their names (AMQP 0-9-1 section 1.1). */
export const REPLY_CODES = {
  "reply-success": 200,
  "content-too-large": 311,
  "no-route": 312,
  "no-consumers": 313,
  "connection-forced": 320,
  "invalid-path": 402,
  "access-refused": 403,
  "not-found": 404,
  "resource-locked": 405,
  "precondition-failed": 406,
  "frame-error": 501,
  "syntax-error": 502,
  "command-invalid": 503,
  "channel-error": 504,
  "unexpected-frame": 505,
  "resource-error": 506,
  "not-allowed": 530,
  "not-implemented": 540,
  "internal-error": 541,
} as const;

export type ReplyName = keyof typeof REPLY_CODES;

/** How the types of the specification appear in decoded methods. */
export interface FieldTypes {
  octet: number;
  short: number;
  long: number;
  /** Delivery tags; exact below 2^53, which no connection reaches. */
  longlong: number;
  bit: boolean;
  shortstr: string;
  /** A view of the frame: valid during the call only. */
  longstr: Buffer;
  table: FieldTable;
}

/** Method name -> class id, method id, fields as "name:type" in wire order. */
export const METHODS = {
  "connection.start": [
    10,
    10,
    "versionMajor:octet",
    "versionMinor:octet",
    "serverProperties:table",
    "mechanisms:longstr",
    "locales:longstr",
  ],
  "connection.start-ok": [
    10,
    11,
    "clientProperties:table",
    "mechanism:shortstr",
    "response:longstr",
    "locale:shortstr",
  ],
  "connection.secure": [10, 20, "challenge:longstr"],
  "connection.secure-ok": [10, 21, "response:longstr"],
  "connection.tune": [10, 30, "channelMax:short", "frameMax:long", "heartbeat:short"],
  "connection.tune-ok": [10, 31, "channelMax:short", "frameMax:long", "heartbeat:short"],
  "connection.open": [10, 40, "virtualHost:shortstr", "capabilities:shortstr", "insist:bit"],
  "connection.open-ok": [10, 41, "knownHosts:shortstr"],
  "connection.close": [10, 50, "replyCode:short", "replyText:shortstr", "classId:short", "methodId:short"],
  "connection.close-ok": [10, 51],
  "connection.blocked": [10, 60, "reason:shortstr"],
  "connection.unblocked": [10, 61],
  "connection.update-secret": [10, 70, "newSecret:longstr", "reason:shortstr"],
  "connection.update-secret-ok": [10, 71],
  "channel.open": [20, 10, "outOfBand:shortstr"],
  "channel.open-ok": [20, 11, "channelId:longstr"],
  "channel.flow": [20, 20, "active:bit"],
  "channel.flow-ok": [20, 21, "active:bit"],
  "channel.close": [20, 40, "replyCode:short", "replyText:shortstr", "classId:short", "methodId:short"],
  "channel.close-ok": [20, 41],
  "access.request": [30, 10, "realm:shortstr", "exclusive:bit", "passive:bit", "active:bit", "write:bit", "read:bit"],
  "access.request-ok": [30, 11, "ticket:short"],
  "exchange.declare": [
    40,
    10,
    "ticket:short",
    "exchange:shortstr",
    "type:shortstr",
    "passive:bit",
    "durable:bit",
    "autoDelete:bit",
    "internal:bit",
    "nowait:bit",
    "arguments:table",
  ],
  "exchange.declare-ok": [40, 11],
  "exchange.delete": [40, 20, "ticket:short", "exchange:shortstr", "ifUnused:bit", "nowait:bit"],
  "exchange.delete-ok": [40, 21],
  "exchange.bind": [
    40,
    30,
    "ticket:short",
    "destination:shortstr",
    "source:shortstr",
    "routingKey:shortstr",
    "nowait:bit",
    "arguments:table",
  ],
  "exchange.bind-ok": [40, 31],
  "exchange.unbind": [
    40,
    40,
    "ticket:short",
    "destination:shortstr",
    "source:shortstr",
    "routingKey:shortstr",
    "nowait:bit",
    "arguments:table",
  ],
  "exchange.unbind-ok": [40, 51],
  "queue.declare": [
    50,
    10,
    "ticket:short",
    "queue:shortstr",
    "passive:bit",
    "durable:bit",
    "exclusive:bit",
    "autoDelete:bit",
    "nowait:bit",
    "arguments:table",
  ],
  "queue.declare-ok": [50, 11, "queue:shortstr", "messageCount:long", "consumerCount:long"],
  "queue.bind": [
    50,
    20,
    "ticket:short",
    "queue:shortstr",
    "exchange:shortstr",
    "routingKey:shortstr",
    "nowait:bit",
    "arguments:table",
  ],
  "queue.bind-ok": [50, 21],
  "queue.purge": [50, 30, "ticket:short", "queue:shortstr", "nowait:bit"],
  "queue.purge-ok": [50, 31, "messageCount:long"],
  "queue.delete": [50, 40, "ticket:short", "queue:shortstr", "ifUnused:bit", "ifEmpty:bit", "nowait:bit"],
  "queue.delete-ok": [50, 41, "messageCount:long"],
  "queue.unbind": [
    50,
    50,
    "ticket:short",
    "queue:shortstr",
    "exchange:shortstr",
    "routingKey:shortstr",
    "arguments:table",
  ],
  "queue.unbind-ok": [50, 51],
  "basic.qos": [60, 10, "prefetchSize:long", "prefetchCount:short", "global:bit"],
  "basic.qos-ok": [60, 11],
  "basic.consume": [
    60,
    20,
    "ticket:short",
    "queue:shortstr",
    "consumerTag:shortstr",
    "noLocal:bit",
    "noAck:bit",
    "exclusive:bit",
    "nowait:bit",
    "arguments:table",
  ],
  "basic.consume-ok": [60, 21, "consumerTag:shortstr"],
  "basic.cancel": [60, 30, "consumerTag:shortstr", "nowait:bit"],
  "basic.cancel-ok": [60, 31, "consumerTag:shortstr"],
  "basic.publish": [
    60,
    40,
    "ticket:short",
    "exchange:shortstr",
    "routingKey:shortstr",
    "mandatory:bit",
    "immediate:bit",
  ],
  "basic.return": [60, 50, "replyCode:short", "replyText:shortstr", "exchange:shortstr", "routingKey:shortstr"],
  "basic.deliver": [
    60,
    60,
    "consumerTag:shortstr",
    "deliveryTag:longlong",
    "redelivered:bit",
    "exchange:shortstr",
    "routingKey:shortstr",
  ],
  "basic.get": [60, 70, "ticket:short", "queue:shortstr", "noAck:bit"],
  "basic.get-ok": [
    60,
    71,
    "deliveryTag:longlong",
    "redelivered:bit",
    "exchange:shortstr",
    "routingKey:shortstr",
    "messageCount:long",
  ],
  "basic.get-empty": [60, 72, "clusterId:shortstr"],
  "basic.ack": [60, 80, "deliveryTag:longlong", "multiple:bit"],
  "basic.reject": [60, 90, "deliveryTag:longlong", "requeue:bit"],
  "basic.recover-async": [60, 100, "requeue:bit"],
  "basic.recover": [60, 110, "requeue:bit"],
  "basic.recover-ok": [60, 111],
  "basic.nack": [60, 120, "deliveryTag:longlong", "multiple:bit", "requeue:bit"],
  "confirm.select": [85, 10, "nowait:bit"],
  "confirm.select-ok": [85, 11],
  "tx.select": [90, 10],
  "tx.select-ok": [90, 11],
  "tx.commit": [90, 20],
  "tx.commit-ok": [90, 21],
  "tx.rollback": [90, 30],
  "tx.rollback-ok": [90, 31],
} as const;

export type MethodName = keyof typeof METHODS;

type FieldText<N extends MethodName> = Extract<(typeof METHODS)[N][number], string>;
type NameOf<F> = F extends `${infer Name}:${string}` ? Name : never;
type TypeOf<F> = F extends `${string}:${infer Type extends keyof FieldTypes}` ? FieldTypes[Type] : never;

/** The fields of one method. */
export type MethodFields<N extends MethodName> = { readonly [F in FieldText<N> as NameOf<F>]: TypeOf<F> };

/** A decoded method: its name and its fields. */
export type Method = { [N in MethodName]: { readonly name: N } & MethodFields<N> }[MethodName];
export type MethodOf<N extends MethodName> = Extract<Method, { readonly name: N }>;

/** One number for class and method id, for tables and switches. */
export function methodKey(classId: number, methodId: number): number {
  return classId * 65536 + methodId;
}
