// Deliveries: a stored record becomes basic.deliver, header and body frames in the connection's
// outbox. The record's envelope and properties block are copied as they are, since storage format 1
// has the layout of the wire; nothing is allocated per message.

import type { Consumer, DeliverySink } from "../../model/delivery.ts";
import type { FieldTable } from "../../model/field-table.ts";
import { copyRange, recordEnvelopeEnd } from "../../model/message.ts";
import { withIntegerHeader } from "../../model/properties.ts";
import type { Channel } from "./channel.ts";
import { writeU32, writeU64 } from "./outbox.ts";
import { CLASS_BASIC, FRAME_END, FRAME_HEADER_BYTES, FRAME_METHOD, METHOD_BASIC_DELIVER } from "./spec.ts";

export const DELIVERY_COUNT_HEADER = "x-delivery-count";
/** Delivery tag and the redelivered bit. */
const TAG_BYTES = 9;

/** What basic.consume asks for. */
export interface ConsumerWishes {
  readonly noAck: boolean;
  readonly exclusive: boolean;
  /** x-priority; 0 by default. */
  readonly priority: number;
  /** x-consumer-timeout, ms; undefined: the queue's. */
  readonly timeoutMs: number | undefined;
  readonly arguments: FieldTable;
}

/** One basic.consume. `number` names it in the channel's unacked deliveries. */
export class ChannelConsumer implements DeliverySink {
  readonly tag: string;
  readonly number: number;
  readonly noAck: boolean;
  readonly exclusive: boolean;
  readonly priority: number;
  readonly timeoutMs: number | undefined;
  readonly arguments: FieldTable;
  /** Deliveries that may wait for an ack; 0: no limit of its own. */
  readonly prefetch: number;
  /** Deliveries that wait for an ack. */
  inFlight = 0;
  /** True: told the queue that it takes no more; the channel resumes it. */
  waiting = false;
  /** The queue's side; set right after basic.consume was accepted. */
  handle: Consumer | undefined = undefined;
  private readonly channel: Channel;
  private readonly template: Buffer;

  constructor(channel: Channel, tag: string, number: number, settings: ConsumerWishes & { readonly prefetch: number }) {
    this.channel = channel;
    this.tag = tag;
    this.number = number;
    this.noAck = settings.noAck;
    this.prefetch = settings.prefetch;
    this.exclusive = settings.exclusive;
    this.priority = settings.priority;
    this.timeoutMs = settings.timeoutMs;
    this.arguments = settings.arguments;
    this.template = deliverTemplate(channel.number, tag);
  }

  /** True when one more delivery is allowed. */
  get hasCredit(): boolean {
    if (this.noAck) return true;
    return (this.prefetch === 0 || this.inFlight < this.prefetch) && this.channel.hasCredit;
  }

  deliver(
    bytes: Buffer,
    start: number,
    size: number,
    queueId: number,
    lane: number,
    sequence: number,
    deliveries: number,
  ): boolean {
    const channel = this.channel;
    const { outbox, broker } = channel.host;
    const envelopeEnd = recordEnvelopeEnd(bytes, start);
    let properties = bytes;
    let propertiesStart = envelopeEnd + 4;
    let propertiesEnd = propertiesStart + bytes.readUInt32LE(envelopeEnd);
    const bodyStart = propertiesEnd;
    const bodyEnd = start + size;
    if (deliveries > 0 && broker.countsDeliveries(queueId)) {
      properties = withIntegerHeader(bytes, propertiesStart, propertiesEnd, DELIVERY_COUNT_HEADER, deliveries);
      propertiesStart = 0;
      propertiesEnd = properties.length;
    }
    const template = this.template;
    const methodSize = template.length + TAG_BYTES + envelopeEnd - start + 1;
    let at = outbox.reserve(methodSize + outbox.contentBytes(propertiesEnd - propertiesStart, bodyEnd - bodyStart));
    const target = outbox.bytes;
    const frameAt = at;
    at = copyRange(template, 0, template.length, target, at);
    writeU32(target, frameAt + 3, methodSize - FRAME_HEADER_BYTES - 1);
    const tag = channel.nextDeliveryTag();
    writeU64(target, at, tag);
    target[at + 8] = deliveries > 0 ? 1 : 0;
    at = copyRange(bytes, start, envelopeEnd, target, at + TAG_BYTES);
    target[at] = FRAME_END;
    outbox.content(at + 1, channel.number, properties, propertiesStart, propertiesEnd, bytes, bodyStart, bodyEnd);
    return this.noAck ? this.roomLeft() : this.countInFlight(tag, queueId, lane, sequence);
  }

  cancelled(): void {
    this.channel.consumerCancelled(this);
  }

  /** Returns whether one more delivery is allowed now. */
  private countInFlight(tag: number, queueId: number, lane: number, sequence: number): boolean {
    this.inFlight++;
    this.channel.delivered(tag, queueId, lane, sequence, this);
    if (this.hasCredit) return this.roomLeft();
    this.channel.waits(this);
    return false;
  }

  private roomLeft(): boolean {
    const host = this.channel.host;
    if (host.hasRoom) return true;
    host.stalled();
    this.channel.waits(this);
    return false;
  }
}

/** basic.deliver up to and including the consumer tag; the frame's size is patched per delivery. */
function deliverTemplate(channel: number, consumerTag: string): Buffer {
  const tag = Buffer.from(consumerTag, "utf8");
  const head = Buffer.of(
    FRAME_METHOD,
    channel >> 8,
    channel & 0xff,
    0,
    0,
    0,
    0,
    0,
    CLASS_BASIC,
    0,
    METHOD_BASIC_DELIVER,
    tag.length,
  );
  return Buffer.concat([head, tag]);
}

/** Takes the one message of a basic.get; keeps a copy until the answer can be written. */
export class GetSink implements DeliverySink {
  record: Buffer | undefined = undefined;
  queueId = 0;
  lane = 0;
  sequence = 0;
  deliveries = 0;

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
    this.queueId = queueId;
    this.lane = lane;
    this.sequence = sequence;
    this.deliveries = deliveries;
    return false;
  }

  cancelled(): void {
    // The broker answers a get of a deleted queue with `done(-1)`.
  }
}
