// Exchanges that send each message to one of their destinations, chosen by a hash or by chance.
//
//   x-consistent-hash   the binding key is a weight; equal values go to one destination, and a binding
//                       that comes or goes moves only the values that it gains or loses
//   x-modulus-hash      hash modulo the number of destinations
//   x-random            by chance (x-local-random is the same on one node)
//
// Consistency is weighted rendezvous hashing: every binding scores the value, the best score wins. It
// needs no ring, does not depend on the order of bindings, and gives the same answer after a restart.

import { assert } from "../assert.ts";
import type { FieldTable, FieldValue } from "../model/field-table.ts";
import { tableIdentity } from "../model/field-table-json.ts";
import type { ExchangeRouter, RoutedBinding } from "./exchange-router.ts";
import type { RoutedMessage } from "./routed-message.ts";

/** Above it a weight is a mistake; RabbitMQ draws the same line. */
const WEIGHT_MAX = 65_536;
const HASH_HEADER = "hash-header";
const HASH_PROPERTY = "hash-property";
const HASHED_PROPERTIES = ["correlation_id", "message_id", "timestamp"] as const;
type HashedProperty = (typeof HASHED_PROPERTIES)[number];

/** Why no x-consistent-hash exchange can have these arguments; undefined when it can. */
export function invalidHashArguments(args: FieldTable): string | undefined {
  const property = args.get(HASH_PROPERTY);
  if (property === undefined) return undefined;
  if (args.has(HASH_HEADER)) return "hash-header and hash-property are mutually exclusive";
  return isHashedProperty(property) ? undefined : `Unsupported property: ${String(property)}`;
}

/** Why this cannot be the weight of a binding; undefined when it can. */
export function invalidWeight(routingKey: string): string | undefined {
  if (!/^[+-]?\d+$/.test(routingKey)) return `The binding key must be an integer: <<"${routingKey}">>`;
  if (Number(routingKey) < 1) return "The binding key must be greater than 0";
  return Number(routingKey) > WEIGHT_MAX ? `The binding key must not exceed ${WEIGHT_MAX}` : undefined;
}

export class ConsistentHashRouter implements ExchangeRouter {
  readonly perMessage: boolean;
  readonly #header: string | undefined;
  readonly #property: HashedProperty | undefined;
  readonly #candidates = new Map<
    string,
    { readonly queueId: number; readonly weight: number; readonly seed: number }
  >();

  constructor(args: FieldTable) {
    const header = args.get(HASH_HEADER);
    const property = args.get(HASH_PROPERTY);
    this.#header = typeof header === "string" ? header : undefined;
    this.#property = isHashedProperty(property) ? property : undefined;
    this.perMessage = this.#header !== undefined || this.#property !== undefined;
  }

  bind(binding: RoutedBinding): void {
    const key = candidateKey(binding);
    const candidate = { queueId: binding.queueId, weight: Number(binding.routingKey), seed: hashText(key) };
    this.#candidates.set(candidateIdentity(binding), candidate);
  }

  unbind(binding: RoutedBinding): void {
    const removed = this.#candidates.delete(candidateIdentity(binding));
    assert(removed, "an unbound weight was bound");
  }

  route(message: RoutedMessage, into: Set<number>): void {
    const hash = hashText(this.#hashed(message));
    let best = -1;
    let chosen: number | undefined;
    for (const { queueId, weight, seed } of this.#candidates.values()) {
      // A uniform number in (0, 1), and from it an exponential one: the smallest of them, each divided by
      // its weight, belongs to a candidate with the probability of its weight.
      const uniform = (mix(hash ^ seed) + 0.5) / 0x1_0000_0000;
      const score = weight / -Math.log(uniform);
      if (score <= best) continue;
      best = score;
      chosen = queueId;
    }
    if (chosen !== undefined) into.add(chosen);
  }

  #hashed(message: RoutedMessage): string {
    if (this.#header !== undefined) return textOf(message.headers.get(this.#header));
    switch (this.#property) {
      case undefined:
        return message.keys[0] ?? "";
      case "correlation_id":
        return message.properties.correlationId ?? "";
      case "message_id":
        return message.properties.messageId ?? "";
      case "timestamp":
        return String(message.properties.timestamp ?? "");
    }
  }
}

/** Destinations in an order that a restart does not change, each once however often it is bound. */
class DestinationList {
  readonly #byId = new Map<number, { readonly name: string; bindings: number }>();
  #sorted: readonly number[] | undefined;

  add({ queueId, destination }: RoutedBinding): void {
    const known = this.#byId.get(queueId);
    if (known !== undefined) {
      known.bindings++;
      return;
    }
    this.#byId.set(queueId, { name: nameOf(destination), bindings: 1 });
    this.#sorted = undefined;
  }

  remove({ queueId }: RoutedBinding): void {
    const known = this.#byId.get(queueId);
    assert(known !== undefined, "an unbound destination was bound");
    if (--known.bindings > 0) return;
    this.#byId.delete(queueId);
    this.#sorted = undefined;
  }

  /** The destination at `number` modulo their count; undefined when there is none. */
  pick(number: number): number | undefined {
    this.#sorted ??= [...this.#byId]
      .sort(([, a], [, b]) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
      .map(([queueId]) => queueId);
    return this.#sorted[number % Math.max(1, this.#sorted.length)];
  }
}

export class ModulusHashRouter implements ExchangeRouter {
  readonly perMessage = false;
  readonly #destinations = new DestinationList();

  bind(binding: RoutedBinding): void {
    this.#destinations.add(binding);
  }

  unbind(binding: RoutedBinding): void {
    this.#destinations.remove(binding);
  }

  route(message: RoutedMessage, into: Set<number>): void {
    const chosen = this.#destinations.pick(hashText(message.keys.join("\0")));
    if (chosen !== undefined) into.add(chosen);
  }
}

export class RandomRouter implements ExchangeRouter {
  readonly perMessage = true;
  readonly #destinations = new DestinationList();

  bind(binding: RoutedBinding): void {
    this.#destinations.add(binding);
  }

  unbind(binding: RoutedBinding): void {
    this.#destinations.remove(binding);
  }

  route(message: RoutedMessage, into: Set<number>): void {
    const chosen = this.#destinations.pick(message.draw());
    if (chosen !== undefined) into.add(chosen);
  }
}

function isHashedProperty(value: FieldValue | undefined): value is HashedProperty {
  return HASHED_PROPERTIES.some((name) => name === value);
}

function candidateKey({ destination, routingKey }: RoutedBinding): string {
  return `${nameOf(destination)}\0${routingKey}`;
}

function candidateIdentity(binding: RoutedBinding): string {
  return binding.arguments.size === 0
    ? candidateKey(binding)
    : `${candidateKey(binding)}\0${tableIdentity(binding.arguments)}`;
}

/** Tells queues and exchanges apart, whatever an exchange is called. */
function nameOf(destination: number | string): string {
  return typeof destination === "number" ? `q${destination}` : `x${destination}`;
}

/** Values that are equal as headers have one text; a message without the header has the empty one. */
function textOf(value: FieldValue | undefined): string {
  if (value === undefined || value === null) return "";
  if (typeof value === "string") return value;
  return tableIdentity(new Map([["", typeof value === "bigint" ? Number(value) : value]]));
}

/** FNV-1a over the UTF-16 units, mixed: 32 bits. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mix(hash);
}

/** Spreads every bit over all of them (the finish of MurmurHash3). */
function mix(value: number): number {
  let mixed = value ^ (value >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed ^= mixed >>> 13;
  mixed = Math.imul(mixed, 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
