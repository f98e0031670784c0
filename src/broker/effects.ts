// Decided changes of the namespace: what the meta log holds and what `MetaState.apply` applies, live
// and in replay. An effect never asks and never fails; everything was decided before.
//
// As JSON, "vhost" is left out when it is "/" (format 1 knew no other), and so are empty arguments.

import { EMPTY_TABLE, type FieldTable } from "../model/field-table.ts";
import { tableFromJson, tableToJson, type JsonValue } from "../model/field-table-json.ts";
import { DecodeError } from "../model/errors.ts";
import { isExchangeType } from "../routing/router-for.ts";
import {
  type AccessEffect,
  accessEffectFromJson,
  accessEffectToJson,
  isAccessEffect,
} from "./access/access-effects.ts";
import type { ExchangeType } from "./facade.ts";
import { JsonFields } from "./json-fields.ts";
import {
  isPolicyEffect,
  type PolicyEffect,
  policyEffectFromJson,
  policyEffectToJson,
} from "./policies/policy-effects.ts";

/** The vhost that a fresh broker has. */
export const DEFAULT_VHOST = "/";

export interface VhostLimits {
  readonly maxConnections: number | undefined;
  readonly maxQueues: number | undefined;
}

export interface VhostRecord {
  readonly name: string;
  readonly description: string;
  readonly tags: readonly string[];
  /** The type of queues that are declared without one; undefined: classic. */
  readonly defaultQueueType: string | undefined;
  readonly limits: VhostLimits;
}

export interface ExchangeSettings {
  readonly vhost: string;
  readonly name: string;
  readonly type: ExchangeType;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly internal: boolean;
  readonly arguments: FieldTable;
}

export interface QueueRecord {
  readonly vhost: string;
  /** Of all vhosts, ever. */
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
  readonly vhost: string;
  /** The source. */
  readonly exchange: string;
  /** A queue's id, or the name of an exchange. */
  readonly destination: number | string;
  readonly routingKey: string;
  readonly arguments: FieldTable;
}

export type TopologyEffect =
  /** Makes a vhost, with its predeclared exchanges, or changes the settings of one that exists. */
  | { readonly kind: "vhost-put"; readonly vhost: VhostRecord }
  /** Everything in it goes with it. */
  | { readonly kind: "vhost-deleted"; readonly name: string }
  | { readonly kind: "exchange-declared"; readonly exchange: ExchangeSettings }
  | { readonly kind: "exchange-deleted"; readonly vhost: string; readonly name: string }
  | { readonly kind: "queue-declared"; readonly queue: QueueRecord }
  | { readonly kind: "queue-deleted"; readonly queueId: number }
  | { readonly kind: "bound"; readonly binding: BindingRecord }
  | { readonly kind: "unbound"; readonly binding: BindingRecord }
  /** Queue ids below `end` may be in use and are never given out again. */
  | { readonly kind: "ids-reserved"; readonly end: number };

export type Effect = TopologyEffect | AccessEffect | PolicyEffect;

export function effectToJson(effect: Effect): JsonValue {
  if (isAccessEffect(effect)) return accessEffectToJson(effect);
  if (isPolicyEffect(effect)) return policyEffectToJson(effect);
  return topologyEffectToJson(effect);
}

function topologyEffectToJson(effect: TopologyEffect): JsonValue {
  switch (effect.kind) {
    case "vhost-put": {
      const { name, description, tags, defaultQueueType, limits } = effect.vhost;
      const type = defaultQueueType === undefined ? {} : { defaultQueueType };
      const connections = limits.maxConnections === undefined ? {} : { maxConnections: limits.maxConnections };
      const queues = limits.maxQueues === undefined ? {} : { maxQueues: limits.maxQueues };
      return { kind: effect.kind, name, description, tags, ...type, ...connections, ...queues };
    }
    case "vhost-deleted":
      return { kind: effect.kind, name: effect.name };
    case "exchange-declared": {
      const { name, type, durable, autoDelete, internal } = effect.exchange;
      return { kind: effect.kind, name, type, durable, autoDelete, internal, ...placeToJson(effect.exchange) };
    }
    case "exchange-deleted":
      return { kind: effect.kind, name: effect.name, ...vhostToJson(effect.vhost) };
    case "queue-declared": {
      const { id, name, durable, autoDelete, ownerId, quorum } = effect.queue;
      return { kind: effect.kind, id, name, durable, autoDelete, ownerId, quorum, ...placeToJson(effect.queue) };
    }
    case "queue-deleted":
      return { kind: effect.kind, id: effect.queueId };
    case "bound":
    case "unbound": {
      const { exchange, destination, routingKey } = effect.binding;
      const to = typeof destination === "number" ? { id: destination } : { toExchange: destination };
      return { kind: effect.kind, exchange, ...to, routingKey, ...placeToJson(effect.binding) };
    }
    case "ids-reserved":
      return { kind: effect.kind, end: effect.end };
  }
}

/** Reads what `effectToJson` wrote. Throws DecodeError on anything else. */
export function effectFromJson(json: unknown): Effect {
  const fields = new JsonFields(json);
  const effect = { kind: fields.string("kind") };
  if (isAccessEffect(effect)) return accessEffectFromJson(effect.kind, fields);
  if (isPolicyEffect(effect)) return policyEffectFromJson(effect.kind, fields);
  return topologyEffectFromJson(effect.kind, fields);
}

function topologyEffectFromJson(kind: string, fields: JsonFields): TopologyEffect {
  switch (kind) {
    case "vhost-put":
      return { kind, vhost: vhostFromJson(fields) };
    case "vhost-deleted":
      return { kind, name: fields.string("name") };
    case "exchange-declared":
      return { kind, exchange: exchangeFromJson(fields) };
    case "exchange-deleted":
      return { kind, vhost: vhostOf(fields), name: fields.string("name") };
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

function vhostToJson(vhost: string): { vhost?: string } {
  return vhost === DEFAULT_VHOST ? {} : { vhost };
}

/** Most things are in the default vhost and have no arguments; neither takes room in the log then. */
function placeToJson(holder: { readonly vhost: string; readonly arguments: FieldTable }): {
  vhost?: string;
  arguments?: JsonValue;
} {
  const args = holder.arguments.size === 0 ? {} : { arguments: tableToJson(holder.arguments) };
  return { ...vhostToJson(holder.vhost), ...args };
}

function vhostOf(fields: JsonFields): string {
  return fields.optionalString("vhost") ?? DEFAULT_VHOST;
}

function tableOf(fields: JsonFields): FieldTable {
  const json = fields.get("arguments");
  return json === undefined ? EMPTY_TABLE : tableFromJson(json);
}

function vhostFromJson(fields: JsonFields): VhostRecord {
  return {
    name: fields.string("name"),
    description: fields.string("description"),
    tags: fields.strings("tags"),
    defaultQueueType: fields.optionalString("defaultQueueType"),
    limits: {
      maxConnections: fields.optionalInteger("maxConnections"),
      maxQueues: fields.optionalInteger("maxQueues"),
    },
  };
}

function exchangeFromJson(fields: JsonFields): ExchangeSettings {
  const type = fields.string("type");
  if (!isExchangeType(type)) throw new DecodeError(`unknown exchange type: ${type}`);
  return {
    vhost: vhostOf(fields),
    name: fields.string("name"),
    type,
    durable: fields.boolean("durable"),
    autoDelete: fields.boolean("autoDelete"),
    internal: fields.boolean("internal"),
    arguments: tableOf(fields),
  };
}

function queueFromJson(fields: JsonFields): QueueRecord {
  return {
    vhost: vhostOf(fields),
    id: fields.integer("id"),
    name: fields.string("name"),
    durable: fields.boolean("durable"),
    autoDelete: fields.boolean("autoDelete"),
    ownerId: fields.integer("ownerId"),
    quorum: fields.boolean("quorum"),
    arguments: tableOf(fields),
  };
}

function bindingFromJson(fields: JsonFields): BindingRecord {
  return {
    vhost: vhostOf(fields),
    exchange: fields.string("exchange"),
    destination: fields.optionalString("toExchange") ?? fields.integer("id"),
    routingKey: fields.string("routingKey"),
    arguments: tableOf(fields),
  };
}
