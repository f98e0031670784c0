// The namespace of the broker: exchanges, queues and bindings of vhost "/". A state machine: `apply`
// is the only way in, for live changes and for replay. Routing state (the routers) is part of it.

import { assert, unreachable } from "../assert.ts";
import type { FieldTable } from "../model/field-table.ts";
import { tableIdentity } from "../model/field-table-json.ts";
import type { ExchangeRouter } from "../routing/exchange-router.ts";
import { routerFor } from "../routing/router-for.ts";
import type { BindingRecord, Effect, ExchangeSettings, QueueRecord } from "./effects.ts";
import type { ExchangeType, Route } from "./facade.ts";

/** The only vhost of this version. */
export const VHOST = "/";

/** A binding that exists. Lives in its exchange and in its queue. */
export interface Binding extends BindingRecord {
  readonly from: Exchange;
  readonly to: Queue;
}

export class Exchange {
  readonly settings: ExchangeSettings;
  /** Declared by the broker itself: not in the meta log, not deletable. */
  readonly predeclared: boolean;
  readonly router: ExchangeRouter;
  /** By identity: queue, routing key and arguments by value. */
  readonly bindings = new Map<string, Binding>();

  constructor(settings: ExchangeSettings, predeclared: boolean) {
    this.settings = settings;
    this.predeclared = predeclared;
    this.router = routerFor(settings.type);
  }
}

export class Queue {
  readonly record: QueueRecord;
  readonly bindings = new Set<Binding>();
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

export class Topology {
  readonly exchanges = new Map<string, Exchange>();
  readonly queues = new Map<string, Queue>();
  readonly queuesById = new Map<number, Queue>();
  bindingCount = 0;
  /** Queue ids below this one may be in use, now or before a restart. */
  reservedIdEnd = 1;
  /** Rises with every change. */
  version = 1;

  constructor() {
    for (const [name, type] of PREDECLARED) {
      this.exchanges.set(name, new Exchange({ name, type, ...PREDECLARED_SETTINGS }, true));
    }
  }

  /** Applies one decided change. Throws InvariantError when it does not fit the state: a bug. */
  apply(effect: Effect): void {
    this.version++;
    switch (effect.kind) {
      case "exchange-declared":
        assert(!this.exchanges.has(effect.exchange.name), "an exchange is declared once");
        this.exchanges.set(effect.exchange.name, new Exchange(effect.exchange, false));
        return;
      case "exchange-deleted":
        this.#deleteExchange(effect.name);
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
  survivesRestart(effect: Effect): boolean {
    switch (effect.kind) {
      case "exchange-declared":
        return effect.exchange.durable;
      case "exchange-deleted":
        return this.exchanges.get(effect.name)?.settings.durable === true;
      case "queue-declared":
        return effect.queue.durable;
      case "queue-deleted":
        return this.queuesById.get(effect.queueId)?.record.durable === true;
      case "bound":
      case "unbound":
        return (
          this.exchanges.get(effect.binding.exchange)?.settings.durable === true &&
          this.queuesById.get(effect.binding.queueId)?.record.durable === true
        );
      case "ids-reserved":
        return true;
      default:
        return unreachable(effect);
    }
  }

  findBinding(exchange: Exchange, queue: Queue, routingKey: string, args: FieldTable): Binding | undefined {
    return exchange.bindings.get(bindingIdentity(queue.record.id, routingKey, args));
  }

  /** The durable part as effects that rebuild it from an empty topology. */
  *durableState(): Generator<Effect> {
    yield { kind: "ids-reserved", end: this.reservedIdEnd };
    for (const exchange of this.exchanges.values()) {
      if (exchange.settings.durable && !exchange.predeclared) {
        yield { kind: "exchange-declared", exchange: exchange.settings };
      }
    }
    for (const queue of this.queues.values()) {
      if (queue.record.durable) yield { kind: "queue-declared", queue: queue.record };
    }
    for (const exchange of this.exchanges.values()) {
      if (!exchange.settings.durable) continue;
      for (const binding of exchange.bindings.values()) {
        if (binding.to.record.durable) yield { kind: "bound", binding: recordOf(binding) };
      }
    }
  }

  #declareQueue(record: QueueRecord): void {
    assert(!this.queues.has(record.name), "a queue is declared once");
    assert(!this.queuesById.has(record.id), "a queue id is used once");
    const queue = new Queue(record);
    this.queues.set(record.name, queue);
    this.queuesById.set(record.id, queue);
    this.reservedIdEnd = Math.max(this.reservedIdEnd, record.id + 1);
  }

  #deleteQueue(queueId: number): void {
    const queue = this.queuesById.get(queueId);
    assert(queue !== undefined, "a deleted queue exists");
    for (const binding of queue.bindings) this.#dropBinding(binding);
    queue.deleted = true;
    this.queues.delete(queue.record.name);
    this.queuesById.delete(queueId);
  }

  #deleteExchange(name: string): void {
    const exchange = this.exchanges.get(name);
    assert(exchange !== undefined && !exchange.predeclared, "a deleted exchange exists and is not the broker's");
    for (const binding of exchange.bindings.values()) this.#dropBinding(binding);
    this.exchanges.delete(name);
  }

  #bind(record: BindingRecord): void {
    const from = this.exchanges.get(record.exchange);
    const to = this.queuesById.get(record.queueId);
    assert(from !== undefined && to !== undefined, "both ends of a binding exist");
    const identity = bindingIdentity(record.queueId, record.routingKey, record.arguments);
    assert(!from.bindings.has(identity), "a binding is made once");
    const binding: Binding = { ...record, from, to };
    from.bindings.set(identity, binding);
    to.bindings.add(binding);
    from.router.bind(binding);
    this.bindingCount++;
  }

  #unbind(record: BindingRecord): void {
    const identity = bindingIdentity(record.queueId, record.routingKey, record.arguments);
    const binding = this.exchanges.get(record.exchange)?.bindings.get(identity);
    assert(binding !== undefined, "a removed binding exists");
    this.#dropBinding(binding);
  }

  #dropBinding(binding: Binding): void {
    binding.from.bindings.delete(bindingIdentity(binding.queueId, binding.routingKey, binding.arguments));
    binding.to.bindings.delete(binding);
    binding.from.router.unbind(binding);
    this.bindingCount--;
  }
}

export function recordOf(binding: Binding): BindingRecord {
  const { exchange, queueId, routingKey } = binding;
  return { exchange, queueId, routingKey, arguments: binding.arguments };
}

function bindingIdentity(queueId: number, routingKey: string, args: FieldTable): string {
  const prefix = `${queueId}\0${routingKey}`;
  return args.size === 0 ? prefix : `${prefix}\0${tableIdentity(args)}`;
}

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
