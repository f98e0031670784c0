// Single messages put into and taken out of queues by hand.

import type { DeliverySink } from "../../model/delivery.ts";
import { SETTLE_ACKED, SETTLE_REJECTED } from "../../model/delivery.ts";
import { BrokerError, DecodeError } from "../../model/errors.ts";
import { IncomingMessage, recordEnvelopeEnd } from "../../model/message.ts";
import {
  DELIVERY_MODE_PERSISTENT,
  decodeProperties,
  encodeProperties,
  type MessageProperties,
} from "../../model/properties.ts";
import type { Actor } from "../access/roles.ts";
import type { BrokerFacade } from "../facade.ts";
import { readableQueue } from "../queue-commands.ts";
import { preconditionFailed } from "../refusals.ts";
import type { OpenSession } from "../sessions.ts";
import { passingSession, type TopologyParts } from "./topology.ts";

/** Messages that one request may take. */
const TAKEN_MAX = 10_000;
/** Bodies that one request holds in memory; the request ends with the message that goes beyond. */
const TAKEN_BYTES_MAX = 64 * 1024 * 1024;
/** The same of messages that are looked at. */
const PEEKED_BYTES_MAX = 16 * 1024 * 1024;

export interface MessageToPublish {
  readonly routingKey: string;
  readonly properties: MessageProperties;
  readonly body: Buffer;
}

interface StoredMessage {
  readonly exchange: string;
  readonly routingKey: string;
  readonly properties: MessageProperties;
  readonly body: Buffer;
}

export interface PeekedMessage extends StoredMessage {
  /** How often it was delivered before. */
  readonly deliveries: number;
}

export interface TakenMessage extends StoredMessage {
  readonly redelivered: boolean;
  /** Ready messages that were left in the queue. */
  readonly readyLeft: number;
}

/** What becomes of messages that were taken: gone, back in their place, or rejected (dead-lettered). */
export type TakenFate = "ack" | "requeue" | "reject";

interface Waiter {
  readonly position: number;
  readonly done: () => void;
}

export class MessageManagement {
  readonly #parts: TopologyParts;
  readonly #facade: BrokerFacade;
  #waiters: Waiter[] = [];

  constructor(parts: TopologyParts) {
    this.#parts = parts;
    this.#facade = parts.facade;
    this.#facade.onCommitted(() => this.#committed());
  }

  /**
   * Publishes with the rights of `actor`; resolves, once the message is durable, to whether it reached a queue.
   * Rejects like the client's operation.
   */
  async publish(actor: Actor, vhost: string, exchange: string, what: MessageToPublish): Promise<boolean> {
    const session = this.#sessionOf(actor, vhost);
    if (this.#facade.publishBlocked !== undefined) {
      throw new BrokerError("resource-limit", `publishers are blocked: low on ${this.#facade.publishBlocked}`);
    }
    checkMeaning(what.properties, session);
    const message = messageOf(exchange, what);
    const route = this.#facade.route(session, exchange, what.routingKey, message.properties);
    const position = this.#facade.publish(message, route);
    if (position < 0) throw preconditionFailed("the message was rejected: a queue is full");
    if (position > this.#facade.committed) {
      await new Promise<void>((done) => this.#waiters.push({ position, done }));
    }
    return route.queueIds.length > 0;
  }

  /** Takes up to `count` messages from the head of a queue. Rejects like the client's operation. */
  async take(
    actor: Actor,
    vhost: string,
    queue: string,
    { count, fate }: { readonly count: number; readonly fate: TakenFate },
  ): Promise<readonly TakenMessage[]> {
    const session = this.#sessionOf(actor, vhost);
    if (!Number.isSafeInteger(count) || count < 1) throw preconditionFailed("the count is an integer of at least 1");
    const taken: TakenMessage[] = [];
    const places: Place[] = [];
    let bytes = 0;
    try {
      while (taken.length < Math.min(count, TAKEN_MAX) && bytes < TAKEN_BYTES_MAX) {
        const sink = new OneMessage();
        const readyLeft = await new Promise<number>((done) => this.#facade.take(session, queue, false, sink, done));
        if (sink.record === undefined || sink.place === undefined) break;
        places.push(sink.place);
        bytes += sink.record.length;
        taken.push(takenOf(sink.record, sink.place.deliveries, readyLeft));
      }
    } finally {
      for (const place of places) this.#decide(place, fate);
    }
    return taken;
  }

  /**
   * Looks at messages from behind `skip` others on, without taking them: nothing of the queue changes. Rejects
   * like a client's basic.get.
   */
  async peek(
    actor: Actor,
    vhost: string,
    name: string,
    { skip, count }: { readonly skip: number; readonly count: number },
  ): Promise<readonly PeekedMessage[]> {
    const { shard } = this.#parts.namespace;
    const { record } = readableQueue(this.#sessionOf(actor, vhost), name);
    const peeked = await shard.peek(record.id, { skip, count, bytesMax: PEEKED_BYTES_MAX });
    return peeked.map((each) => ({ ...messageIn(each.record), deliveries: each.deliveries }));
  }

  #decide({ queueId, lane, sequence }: Place, fate: TakenFate): void {
    if (fate === "requeue") this.#facade.requeue(queueId, lane, sequence, "client");
    else this.#facade.settle(queueId, lane, sequence, sequence, fate === "ack" ? SETTLE_ACKED : SETTLE_REJECTED);
  }

  #sessionOf(actor: Actor, vhost: string): OpenSession {
    return passingSession(this.#parts.namespace.topology, this.#parts.sessions, actor, vhost);
  }

  #committed(): void {
    if (this.#waiters.length === 0) return;
    const { committed } = this.#facade;
    const ready = this.#waiters.filter(({ position }) => position <= committed);
    this.#waiters = this.#waiters.filter(({ position }) => position > committed);
    for (const { done } of ready) done();
  }
}

interface Place {
  readonly queueId: number;
  readonly lane: number;
  readonly sequence: number;
  readonly deliveries: number;
}

class OneMessage implements DeliverySink {
  record: Buffer | undefined;
  place: Place | undefined;

  deliver(
    bytes: Buffer,
    start: number,
    size: number,
    queueId: number,
    lane: number,
    sequence: number,
    deliveries: number,
  ): boolean {
    this.record = Buffer.from(bytes.subarray(start, start + size));
    this.place = { queueId, lane, sequence, deliveries };
    return false;
  }

  cancelled(): void {
    // A take is over once it has been answered; there is no consumer to cancel.
  }
}

/** What a door checks of a client's properties. */
function checkMeaning({ userId, expiration }: MessageProperties, session: OpenSession): void {
  if (userId !== undefined && userId !== session.user && !session.mayImpersonate) {
    throw preconditionFailed(`user_id property set to '${userId}' but authenticated user was '${session.user}'`);
  }
  if (expiration !== undefined && !/^\d{1,15}$/.test(expiration)) {
    throw preconditionFailed(`invalid expiration '${expiration}': it is a number of milliseconds`);
  }
}

function messageOf(exchange: string, { routingKey, properties, body }: MessageToPublish): IncomingMessage {
  const [x, key] = [Buffer.from(exchange), Buffer.from(routingKey)];
  if (x.length > 255 || key.length > 255) throw preconditionFailed("a name or a routing key has at most 255 bytes");
  const message = new IncomingMessage();
  message.envelope = Buffer.concat([Buffer.of(x.length), x, Buffer.of(key.length), key]);
  message.envelopeEnd = message.envelope.length;
  message.properties = propertiesOf(properties);
  message.propertiesEnd = message.properties.length;
  message.bodyParts = [body];
  message.bodyStarts = [0];
  message.bodyEnds = [body.length];
  message.bodyCount = 1;
  message.bodySize = body.length;
  message.persistent = properties.deliveryMode === DELIVERY_MODE_PERSISTENT;
  return message;
}

function propertiesOf(properties: MessageProperties): Buffer {
  try {
    return encodeProperties(properties);
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw preconditionFailed(error.message);
  }
}

function takenOf(record: Buffer, deliveries: number, readyLeft: number): TakenMessage {
  return { ...messageIn(record), redelivered: deliveries > 0, readyLeft };
}

function messageIn(record: Buffer): StoredMessage {
  const envelopeEnd = recordEnvelopeEnd(record, 0);
  const keyAt = 1 + record.readUInt8(0);
  const propertiesAt = envelopeEnd + 4;
  const bodyAt = propertiesAt + record.readUInt32LE(envelopeEnd);
  return {
    exchange: record.toString("utf8", 1, keyAt),
    routingKey: record.toString("utf8", keyAt + 1, envelopeEnd),
    properties: decodeProperties(record, propertiesAt, bodyAt),
    body: record.subarray(bodyAt),
  };
}
