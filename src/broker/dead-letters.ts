// Where dead letters go, and as what: the queue's dead-letter exchange, with the history of the message in
// its headers. The shard asks with a record, stores the answer on the queues named, and settles the
// original, all in one log entry.
//
//   x-death                    newest first, one entry for each queue and reason:
//                              count, reason, queue, time of the first, exchange, routing-keys, and
//                              original-expiration (the property expiration is taken off: it would fire again)
//   x-first-death-*            reason, queue, exchange: of the first time
//   x-last-death-*             of this time
//
// A message goes round no circle by itself: a queue that it died in before, with nobody having rejected it
// since, does not get it again. A client's own x-death is no history (protocols/amqp091/message-meaning.ts
// makes its counts 32-bit integers; ours have 64 bits): it is replaced.

import { LIMITS } from "../limits.ts";
import { EMPTY_TABLE, type FieldTable, type FieldValue } from "../model/field-table.ts";
import { IncomingMessage, recordEnvelopeEnd } from "../model/message.ts";
import {
  DELIVERY_MODE_PERSISTENT,
  FLAG_EXPIRATION,
  FLAG_HEADERS,
  FLAG_PRIORITY,
  propertyFlags,
  propertyOffset,
  readDeliveryMode,
  readHeaders,
  readShortProperty,
  withHeaders,
  withShortProperty,
} from "../model/properties.ts";
import type { Logger } from "../ports/logger.ts";
import type { DeadLetter, DeadLetterRouter, Death, DeathReason } from "../queues/shard-port.ts";
import type { RouteFinder } from "./route-finder.ts";
import type { Queue, Topology, Vhost } from "./topology.ts";

/** Circles that were told to the operator are not told again, up to so many. */
const TOLD_MAX = 1000;

export interface DeadLetterTarget {
  readonly exchange: string;
  /** Undefined: the message keeps its keys. */
  readonly routingKey: string | undefined;
}

export interface DeadLettersParts {
  readonly topology: Topology;
  readonly logger: Logger;
  readonly routesOf: (vhost: Vhost) => RouteFinder;
  /** Where the dead letters of a queue go; undefined: they are dropped. */
  readonly targetOf: (queue: Queue) => DeadLetterTarget | undefined;
}

export class DeadLetters implements DeadLetterRouter {
  readonly #parts: DeadLettersParts;
  readonly #message = new IncomingMessage();
  readonly #told = new Set<string>();

  constructor(parts: DeadLettersParts) {
    this.#parts = parts;
  }

  route(death: Death): DeadLetter | undefined {
    const { topology } = this.#parts;
    const queue = topology.queuesById.get(death.queueId);
    const target = queue === undefined ? undefined : this.#parts.targetOf(queue);
    const vhost = queue === undefined ? undefined : topology.vhosts.get(queue.record.vhost);
    if (queue === undefined || target === undefined || vhost === undefined) return undefined;
    const letter = readLetter(death);
    const deaths = withDeath(letter, queue.record.name, death);
    const keys = target.routingKey === undefined ? letter.keys : [target.routingKey];
    // No protocol could say it (the length of arguments is not that of names).
    if (Buffer.byteLength(keys[0] ?? "") > LIMITS.nameBytesMax) return undefined;
    const properties = withHistory(letter, deaths, queue.record.name, death.reason);
    const route = this.#parts.routesOf(vhost).findOwn(target.exchange, keys, properties);
    if (route === undefined) return undefined;
    const ids = route.queueIds;
    const queueIds = death.reason === "rejected" ? ids : ids.filter((id) => !this.#closesCircle(id, deaths));
    if (queueIds.length === 0) return undefined;
    this.#fill(letter, envelopeOf(target.exchange, keys[0] ?? ""), properties);
    if (route.delayedQueueIds.length === ids.length) this.#delay(letter.headers.get("x-delay"));
    return { message: this.#message, queueIds };
  }

  /** True when the message would go round by itself: since it died in that queue, nobody has rejected it. */
  #closesCircle(queueId: number, deaths: readonly FieldTable[]): boolean {
    const name = this.#parts.topology.queuesById.get(queueId)?.record.name;
    const last = deaths.findIndex((death) => death.get("queue") === name);
    if (last < 0 || deaths.slice(0, last + 1).some((death) => death.get("reason") === "rejected")) return false;
    const circle = [name, ...deaths.slice(0, last + 1).map((death) => death.get("queue"))].join(" <- ");
    if (this.#told.size < TOLD_MAX && !this.#told.has(circle)) {
      this.#told.add(circle);
      this.#parts.logger.warn("dead letters that go round in a circle by themselves are dropped", { circle });
    }
    return true;
  }

  #fill(letter: Letter, envelope: Buffer, properties: Buffer): void {
    const message = this.#message;
    message.envelope = envelope;
    message.envelopeStart = 0;
    message.envelopeEnd = envelope.length;
    message.properties = properties;
    message.propertiesStart = 0;
    message.propertiesEnd = properties.length;
    message.bodyParts[0] = letter.bytes;
    message.bodyStarts[0] = letter.bodyStart;
    message.bodyEnds[0] = letter.bodyEnd;
    message.bodySize = letter.bodyEnd - letter.bodyStart;
    message.bodyCount = message.bodySize === 0 ? 0 : 1;
    message.persistent = readDeliveryMode(properties, 0) === DELIVERY_MODE_PERSISTENT;
    const priorityAt = propertyOffset(properties, 0, FLAG_PRIORITY);
    message.priority = priorityAt < 0 ? 0 : properties[priorityAt]!;
    message.expirationMs = -1;
    message.delayMs = 0;
  }

  /** Dead letters may go to an exchange that delays; what was delayed before has a negative x-delay. */
  #delay(asked: FieldValue | undefined): void {
    const delayMs = Number(typeof asked === "number" || typeof asked === "bigint" ? asked : 0);
    if (!(delayMs > 0)) return;
    const message = this.#message;
    message.delayMs = delayMs;
    const { properties } = message;
    message.properties = withHeaders(properties, 0, properties.length, new Map([["x-delay", BigInt(-delayMs)]]));
    message.propertiesEnd = message.properties.length;
  }
}

/** The parts of a record that count here. */
interface Letter {
  readonly bytes: Buffer;
  readonly exchange: string;
  /** The routing key and those of the header CC, as far as the message was routed by them. */
  readonly keys: readonly string[];
  readonly propertiesStart: number;
  readonly propertiesEnd: number;
  readonly bodyStart: number;
  readonly bodyEnd: number;
  readonly headers: FieldTable;
  /** The history that the broker itself has written; newest first. */
  readonly deaths: readonly FieldTable[];
  readonly expiration: string | undefined;
}

function readLetter({ bytes, start, size }: Death): Letter {
  const envelopeEnd = recordEnvelopeEnd(bytes, start);
  const keyAt = start + 1 + bytes[start]!;
  const propertiesStart = envelopeEnd + 4;
  const propertiesEnd = propertiesStart + bytes.readUInt32LE(envelopeEnd);
  const flags = propertyFlags(bytes, propertiesStart);
  const headers = (flags & FLAG_HEADERS) === 0 ? EMPTY_TABLE : readHeaders(bytes, propertiesStart, propertiesEnd);
  const deaths = ownDeaths(headers);
  const key = bytes.toString("utf8", keyAt + 1, envelopeEnd);
  return {
    bytes,
    exchange: bytes.toString("utf8", start + 1, keyAt),
    keys: [key, ...copies(headers, deaths, key)],
    propertiesStart,
    propertiesEnd,
    bodyStart: propertiesEnd,
    bodyEnd: start + size,
    headers,
    deaths,
    expiration: readShortProperty(bytes, propertiesStart, FLAG_EXPIRATION),
  };
}

/** Entries that the broker wrote have a count of 64 bits. */
function ownDeaths(headers: FieldTable): readonly FieldTable[] {
  const value = headers.get("x-death");
  if (!Array.isArray(value)) return [];
  return (value as readonly FieldValue[]).filter(
    (death): death is FieldTable => death instanceof Map && typeof (death as FieldTable).get("count") === "bigint",
  );
}

/**
 * Keys of the header CC. A dead-letter routing key has replaced them when the message has another key now
 * than when it died last: the header stays, but it routes no more.
 */
function copies(headers: FieldTable, deaths: readonly FieldTable[], key: string): readonly string[] {
  const cc = headers.get("CC");
  if (!Array.isArray(cc)) return [];
  const then = deaths[0]?.get("routing-keys");
  if (Array.isArray(then) && (then as readonly FieldValue[])[0] !== key) return [];
  return (cc as readonly FieldValue[]).filter((each) => typeof each === "string");
}

/** The history with this death in it: in front, counted up when queue and reason are known. */
function withDeath(letter: Letter, queue: string, { reason, timeMs }: Death): readonly FieldTable[] {
  const isSame = (death: FieldTable): boolean => death.get("queue") === queue && death.get("reason") === reason;
  const known = letter.deaths.find(isSame);
  const others = letter.deaths.filter((death) => !isSame(death)).slice(0, LIMITS.deathsKeptMax - 1);
  if (known !== undefined) {
    const count = BigInt.asIntN(64, (known.get("count") as bigint) + 1n);
    return [new Map([...known, ["count", count]]), ...others];
  }
  const first = new Map<string, FieldValue>();
  if (letter.expiration !== undefined) first.set("original-expiration", letter.expiration);
  first.set("count", 1n);
  first.set("reason", reason);
  first.set("queue", queue);
  first.set("time", { kind: "timestamp", seconds: BigInt(Math.floor(timeMs / 1000)) });
  first.set("exchange", letter.exchange);
  first.set("routing-keys", letter.keys);
  return [first, ...others];
}

function withHistory(letter: Letter, deaths: readonly FieldTable[], queue: string, reason: DeathReason): Buffer {
  const changes = new Map<string, FieldValue>([
    ["x-death", deaths],
    ["x-last-death-reason", reason],
    ["x-last-death-queue", queue],
    ["x-last-death-exchange", letter.exchange],
  ]);
  if (letter.deaths.length === 0) {
    changes.set("x-first-death-reason", reason);
    changes.set("x-first-death-queue", queue);
    changes.set("x-first-death-exchange", letter.exchange);
  }
  const { bytes, propertiesStart, propertiesEnd } = letter;
  const block = withHeaders(bytes, propertiesStart, propertiesEnd, changes);
  return letter.expiration === undefined
    ? block
    : withShortProperty(block, 0, block.length, FLAG_EXPIRATION, undefined);
}

function envelopeOf(exchange: string, routingKey: string): Buffer {
  const [name, key] = [Buffer.from(exchange), Buffer.from(routingKey)];
  return Buffer.concat([Buffer.of(name.length), name, Buffer.of(key.length), key]);
}
