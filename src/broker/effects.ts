// Decided changes of the namespace: what the meta log holds and what `Topology.apply` applies, live
// and in replay. An effect never asks and never fails; everything was decided before.

import { EMPTY_TABLE, type FieldTable } from "../model/field-table.ts";
import { tableFromJson, tableToJson, type JsonValue } from "../model/field-table-json.ts";
import { DecodeError } from "../model/errors.ts";
import { isExchangeType } from "../routing/router-for.ts";
import type { ExchangeType } from "./facade.ts";

export interface ExchangeSettings {
  readonly name: string;
  readonly type: ExchangeType;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly internal: boolean;
  readonly arguments: FieldTable;
}

export interface QueueRecord {
  readonly id: number;
  readonly name: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  /** The session that the queue belongs to; 0 when it is not exclusive. */
  readonly ownerId: number;
  readonly quorum: boolean;
  readonly arguments: FieldTable;
}

export interface BindingRecord {
  readonly exchange: string;
  readonly queueId: number;
  readonly routingKey: string;
  readonly arguments: FieldTable;
}

export type Effect =
  | { readonly kind: "exchange-declared"; readonly exchange: ExchangeSettings }
  | { readonly kind: "exchange-deleted"; readonly name: string }
  | { readonly kind: "queue-declared"; readonly queue: QueueRecord }
  | { readonly kind: "queue-deleted"; readonly queueId: number }
  | { readonly kind: "bound"; readonly binding: BindingRecord }
  | { readonly kind: "unbound"; readonly binding: BindingRecord }
  /** Queue ids below `end` may be in use and are never given out again. */
  | { readonly kind: "ids-reserved"; readonly end: number };

export function effectToJson(effect: Effect): JsonValue {
  switch (effect.kind) {
    case "exchange-declared": {
      const { name, type, durable, autoDelete, internal } = effect.exchange;
      return { kind: effect.kind, name, type, durable, autoDelete, internal, ...argumentsToJson(effect.exchange) };
    }
    case "exchange-deleted":
      return { kind: effect.kind, name: effect.name };
    case "queue-declared": {
      const { id, name, durable, autoDelete, ownerId, quorum } = effect.queue;
      return { kind: effect.kind, id, name, durable, autoDelete, ownerId, quorum, ...argumentsToJson(effect.queue) };
    }
    case "queue-deleted":
      return { kind: effect.kind, id: effect.queueId };
    case "bound":
    case "unbound": {
      const { exchange, queueId, routingKey } = effect.binding;
      return { kind: effect.kind, exchange, id: queueId, routingKey, ...argumentsToJson(effect.binding) };
    }
    case "ids-reserved":
      return { kind: effect.kind, end: effect.end };
  }
}

/** Reads what `effectToJson` wrote. Throws DecodeError on anything else. */
export function effectFromJson(json: unknown): Effect {
  const fields = new JsonFields(json);
  const kind = fields.string("kind");
  switch (kind) {
    case "exchange-declared":
      return { kind, exchange: exchangeFromJson(fields) };
    case "exchange-deleted":
      return { kind, name: fields.string("name") };
    case "queue-declared":
      return { kind, queue: queueFromJson(fields) };
    case "queue-deleted":
      return { kind, queueId: fields.integer("id") };
    case "bound":
    case "unbound":
      return { kind, binding: bindingFromJson(fields) };
    case "ids-reserved":
      return { kind, end: fields.integer("end") };
    default:
      throw new DecodeError(`unknown kind of effect: ${kind}`);
  }
}

/** Most things have no arguments; they take no room in the log then. */
function argumentsToJson(holder: { readonly arguments: FieldTable }): { arguments?: JsonValue } {
  return holder.arguments.size === 0 ? {} : { arguments: tableToJson(holder.arguments) };
}

function exchangeFromJson(fields: JsonFields): ExchangeSettings {
  const type = fields.string("type");
  if (!isExchangeType(type)) throw new DecodeError(`unknown exchange type: ${type}`);
  return {
    name: fields.string("name"),
    type,
    durable: fields.boolean("durable"),
    autoDelete: fields.boolean("autoDelete"),
    internal: fields.boolean("internal"),
    arguments: fields.table("arguments"),
  };
}

function queueFromJson(fields: JsonFields): QueueRecord {
  return {
    id: fields.integer("id"),
    name: fields.string("name"),
    durable: fields.boolean("durable"),
    autoDelete: fields.boolean("autoDelete"),
    ownerId: fields.integer("ownerId"),
    quorum: fields.boolean("quorum"),
    arguments: fields.table("arguments"),
  };
}

function bindingFromJson(fields: JsonFields): BindingRecord {
  return {
    exchange: fields.string("exchange"),
    queueId: fields.integer("id"),
    routingKey: fields.string("routingKey"),
    arguments: fields.table("arguments"),
  };
}

/** Typed reading of one JSON object. */
class JsonFields {
  readonly #fields: ReadonlyMap<string, unknown>;

  constructor(json: unknown) {
    if (typeof json !== "object" || json === null) throw new DecodeError("an effect is an object");
    this.#fields = new Map(Object.entries(json));
  }

  string(name: string): string {
    const value = this.#fields.get(name);
    if (typeof value !== "string") throw new DecodeError(`${name} is not a string`);
    return value;
  }

  boolean(name: string): boolean {
    const value = this.#fields.get(name);
    if (typeof value !== "boolean") throw new DecodeError(`${name} is not a boolean`);
    return value;
  }

  integer(name: string): number {
    const value = this.#fields.get(name);
    if (typeof value !== "number" || !Number.isSafeInteger(value)) throw new DecodeError(`${name} is not an integer`);
    return value;
  }

  table(name: string): FieldTable {
    const value = this.#fields.get(name);
    return value === undefined ? EMPTY_TABLE : tableFromJson(value);
  }
}
