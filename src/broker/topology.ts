// The namespace of the broker: vhosts with their exchanges, queues and bindings. A state machine:
// `apply` is the only way in, for live changes and for replay. Routing state (the routers) is part of it.

import { assert, unreachable } from "../assert.ts";
import type { FieldTable } from "../model/field-table.ts";
import { tableIdentity } from "../model/field-table-json.ts";
import type { ExchangeRouter } from "../routing/exchange-router.ts";
import { routerFor } from "../routing/router-for.ts";
import {
  DEFAULT_VHOST,
  type BindingRecord,
  type ExchangeSettings,
  type QueueRecord,
  type TopologyEffect,
  type VhostRecord,
} from "./effects.ts";
import type { ExchangeType, Route } from "./facade.ts";
import { type EffectivePolicy, NO_POLICY } from "./policies/effective-policy.ts";

/** A binding that exists. Lives in its exchange and in its destination. */
export interface Binding extends BindingRecord {
  readonly from: Exchange;
  readonly to: Queue | Exchange;
  /** How routers name the destination: the queue's id, or minus the exchange's. */
  readonly queueId: number;
}

export class Exchange {
  readonly settings: ExchangeSettings;
  /** Of this process, above 0; a restart gives others. */
  readonly id: number;
  /** Declared by the broker itself: not in the meta log, not deletable. */
  readonly predeclared: boolean;
  readonly router: ExchangeRouter;
  /** Those that lead away from here, by identity: destination, routing key and arguments by value. */
  readonly bindings = new Map<string, Binding>();
  /** Those that lead here, from other exchanges or from itself. */
  readonly incoming = new Set<Binding>();
  /** Follows from the policies of the vhost. */
  policy: EffectivePolicy = NO_POLICY;

  constructor(settings: ExchangeSettings, id: number, predeclared: boolean) {
    this.settings = settings;
    this.id = id;
    this.predeclared = predeclared;
    this.router = routerFor(settings.type, settings.arguments);
  }
}

export class Queue {
  readonly record: QueueRecord;
  readonly bindings = new Set<Binding>();
  /** Follows from the policies of the vhost. */
  policy: EffectivePolicy = NO_POLICY;
  /** Consumers that the broker handed out and that were not cancelled. */
  consumers = 0;
  /** One of them refuses all others. */
  hasExclusiveConsumer = false;
  deleted = false;
  /** The route of the default exchange to this queue, once asked for. */
  defaultRoute: Route | undefined;

  constructor(record: QueueRecord) {
    this.record = record;
  }
}

export class Vhost {
  record: VhostRecord;
  readonly exchanges = new Map<string, Exchange>();
  readonly queues = new Map<string, Queue>();
  deleted = false;

  constructor(record: VhostRecord) {
    this.record = record;
  }

  get name(): string {
    return this.record.name;
  }
}

export class Topology {
  readonly vhosts = new Map<string, Vhost>();
  /** Of all vhosts. */
  readonly queuesById = new Map<number, Queue>();
  /** Of all vhosts. */
  readonly exchangesById = new Map<number, Exchange>();
  bindingCount = 0;
  /** Queue ids below this one may be in use, now or before a restart. */
  reservedIdEnd = 1;
  /** Rises with every change. */
  version = 1;
  #lastExchangeId = 0;

  constructor() {
    this.#putVhost(FIRST_VHOST);
  }

  /** Applies one decided change. Throws InvariantError when it does not fit the state: a bug. */
  apply(effect: TopologyEffect): void {
    this.version++;
    switch (effect.kind) {
      case "vhost-put":
        this.#putVhost(effect.vhost);
        return;
      case "vhost-deleted":
        this.#deleteVhost(this.#vhost(effect.name));
        return;
      case "exchange-declared":
        assert(!this.#vhost(effect.exchange.vhost).exchanges.has(effect.exchange.name), "an exchange is declared once");
        this.#addExchange(effect.exchange, false);
        return;
      case "exchange-deleted":
        this.#deleteExchange(this.#vhost(effect.vhost), effect.name);
        return;
      case "queue-declared":
        this.#declareQueue(effect.queue);
        return;
      case "queue-deleted":
        this.#deleteQueue(effect.queueId);
        return;
      case "bound":
        this.#bind(effect.binding);
        return;
      case "unbound":
        this.#unbind(effect.binding);
        return;
      case "ids-reserved":
        this.reservedIdEnd = Math.max(this.reservedIdEnd, effect.end);
        return;
      default:
        unreachable(effect);
    }
  }

  /** True when the change must be in the meta log: it concerns only things that survive a restart. */
  survivesRestart(effect: TopologyEffect): boolean {
    switch (effect.kind) {
      case "exchange-declared":
        return effect.exchange.durable;
      case "exchange-deleted":
        return this.vhosts.get(effect.vhost)?.exchanges.get(effect.name)?.settings.durable === true;
      case "queue-declared":
        return effect.queue.durable;
      case "queue-deleted":
        return this.queuesById.get(effect.queueId)?.record.durable === true;
      case "bound":
      case "unbound":
        return this.#joinsDurables(effect.binding);
      case "vhost-put":
      case "vhost-deleted":
      case "ids-reserved":
        return true;
      default:
        return unreachable(effect);
    }
  }

  findBinding(from: Exchange, to: Queue | Exchange, routingKey: string, args: FieldTable): Binding | undefined {
    return from.bindings.get(bindingIdentity(routedTo(to), routingKey, args));
  }

  /** The durable part as effects that rebuild it from an empty topology. */
  *durableState(): Generator<TopologyEffect> {
    yield { kind: "ids-reserved", end: this.reservedIdEnd };
    if (!this.vhosts.has(DEFAULT_VHOST)) yield { kind: "vhost-deleted", name: DEFAULT_VHOST };
    for (const vhost of this.vhosts.values()) yield* durableThings(vhost);
    for (const vhost of this.vhosts.values()) yield* durableBindings(vhost);
  }

  #vhost(name: string): Vhost {
    const vhost = this.vhosts.get(name);
    assert(vhost !== undefined, "what is changed is in a vhost that exists");
    return vhost;
  }

  #putVhost(record: VhostRecord): void {
    const existing = this.vhosts.get(record.name);
    if (existing !== undefined) {
      existing.record = record;
      return;
    }
    this.vhosts.set(record.name, new Vhost(record));
    for (const [name, type] of PREDECLARED) {
      this.#addExchange({ vhost: record.name, name, type, ...PREDECLARED_SETTINGS }, true);
    }
  }

  /** Bindings never leave their vhost, so what is deleted holds all their ends. */
  #deleteVhost(vhost: Vhost): void {
    vhost.deleted = true;
    for (const exchange of vhost.exchanges.values()) {
      this.bindingCount -= exchange.bindings.size;
      this.exchangesById.delete(exchange.id);
    }
    for (const queue of vhost.queues.values()) {
      queue.deleted = true;
      this.queuesById.delete(queue.record.id);
    }
    this.vhosts.delete(vhost.name);
  }

  #addExchange(settings: ExchangeSettings, predeclared: boolean): void {
    const exchange = new Exchange(settings, ++this.#lastExchangeId, predeclared);
    this.#vhost(settings.vhost).exchanges.set(settings.name, exchange);
    this.exchangesById.set(exchange.id, exchange);
  }

  #deleteExchange(vhost: Vhost, name: string): void {
    const exchange = vhost.exchanges.get(name);
    assert(exchange !== undefined && !exchange.predeclared, "a deleted exchange exists and is not the broker's");
    for (const binding of exchange.bindings.values()) this.#dropBinding(binding);
    for (const binding of exchange.incoming) this.#dropBinding(binding);
    vhost.exchanges.delete(name);
    this.exchangesById.delete(exchange.id);
  }

  #declareQueue(record: QueueRecord): void {
    const { queues } = this.#vhost(record.vhost);
    assert(!queues.has(record.name), "a queue is declared once");
    assert(!this.queuesById.has(record.id), "a queue id is used once");
    const queue = new Queue(record);
    queues.set(record.name, queue);
    this.queuesById.set(record.id, queue);
    this.reservedIdEnd = Math.max(this.reservedIdEnd, record.id + 1);
  }

  #deleteQueue(queueId: number): void {
    const queue = this.queuesById.get(queueId);
    assert(queue !== undefined, "a deleted queue exists");
    for (const binding of queue.bindings) this.#dropBinding(binding);
    queue.deleted = true;
    this.#vhost(queue.record.vhost).queues.delete(queue.record.name);
    this.queuesById.delete(queueId);
  }

  #destination({ vhost, destination }: BindingRecord): Queue | Exchange | undefined {
    if (typeof destination === "string") return this.vhosts.get(vhost)?.exchanges.get(destination);
    return this.queuesById.get(destination);
  }

  #joinsDurables(record: BindingRecord): boolean {
    const from = this.vhosts.get(record.vhost)?.exchanges.get(record.exchange);
    const to = this.#destination(record);
    return from?.settings.durable === true && to !== undefined && isDurable(to);
  }

  #bind(record: BindingRecord): void {
    const from = this.#vhost(record.vhost).exchanges.get(record.exchange);
    const to = this.#destination(record);
    assert(from !== undefined && to !== undefined, "both ends of a binding exist");
    const queueId = routedTo(to);
    const identity = bindingIdentity(queueId, record.routingKey, record.arguments);
    assert(!from.bindings.has(identity), "a binding is made once");
    const binding: Binding = { ...record, from, to, queueId };
    from.bindings.set(identity, binding);
    incomingOf(to).add(binding);
    from.router.bind(binding);
    this.bindingCount++;
  }

  #unbind(record: BindingRecord): void {
    const from = this.#vhost(record.vhost).exchanges.get(record.exchange);
    const to = this.#destination(record);
    assert(from !== undefined && to !== undefined, "both ends of a binding exist");
    const binding = this.findBinding(from, to, record.routingKey, record.arguments);
    assert(binding !== undefined, "a removed binding exists");
    this.#dropBinding(binding);
  }

  #dropBinding(binding: Binding): void {
    binding.from.bindings.delete(bindingIdentity(binding.queueId, binding.routingKey, binding.arguments));
    incomingOf(binding.to).delete(binding);
    binding.from.router.unbind(binding);
    this.bindingCount--;
  }
}

export function recordOf(binding: Binding): BindingRecord {
  const { vhost, exchange, destination, routingKey } = binding;
  return { vhost, exchange, destination, routingKey, arguments: binding.arguments };
}

function isDurable(end: Queue | Exchange): boolean {
  return end instanceof Queue ? end.record.durable : end.settings.durable;
}

function incomingOf(end: Queue | Exchange): Set<Binding> {
  return end instanceof Queue ? end.bindings : end.incoming;
}

function routedTo(end: Queue | Exchange): number {
  return end instanceof Queue ? end.record.id : -end.id;
}

function bindingIdentity(queueId: number, routingKey: string, args: FieldTable): string {
  const prefix = `${queueId}\0${routingKey}`;
  return args.size === 0 ? prefix : `${prefix}\0${tableIdentity(args)}`;
}

function* durableThings(vhost: Vhost): Generator<TopologyEffect> {
  yield { kind: "vhost-put", vhost: vhost.record };
  for (const exchange of vhost.exchanges.values()) {
    if (exchange.settings.durable && !exchange.predeclared) {
      yield { kind: "exchange-declared", exchange: exchange.settings };
    }
  }
  for (const queue of vhost.queues.values()) {
    if (queue.record.durable) yield { kind: "queue-declared", queue: queue.record };
  }
}

function* durableBindings(vhost: Vhost): Generator<TopologyEffect> {
  for (const exchange of vhost.exchanges.values()) {
    if (!exchange.settings.durable) continue;
    for (const binding of exchange.bindings.values()) {
      if (isDurable(binding.to)) yield { kind: "bound", binding: recordOf(binding) };
    }
  }
}

const FIRST_VHOST: VhostRecord = {
  name: DEFAULT_VHOST,
  description: "Default virtual host",
  tags: [],
  defaultQueueType: undefined,
  limits: { maxConnections: undefined, maxQueues: undefined },
};

/** AMQP 0-9-1 section 3.1.3 plus RabbitMQ's amq.headers; "" (the default exchange) routes by queue name. */
const PREDECLARED: readonly (readonly [string, ExchangeType])[] = [
  ["", "direct"],
  ["amq.direct", "direct"],
  ["amq.fanout", "fanout"],
  ["amq.topic", "topic"],
  ["amq.headers", "headers"],
  ["amq.match", "headers"],
];

const PREDECLARED_SETTINGS = { durable: true, autoDelete: false, internal: false, arguments: new Map() } as const;
