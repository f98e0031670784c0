// Queues, exchanges and bindings of all vhosts. Changes are a client's operations, with the permissions of
// whoever asks.

import { createHash } from "node:crypto";
import { BrokerError } from "../../model/errors.ts";
import type { FieldTable } from "../../model/field-table.ts";
import { tableIdentity } from "../../model/field-table-json.ts";
import type { QueueCounts, ShardPort } from "../../queues/shard-port.ts";
import type { Actor } from "../access/roles.ts";
import type { ExchangeSettings, QueueRecord } from "../effects.ts";
import type { BrokerFacade, ExchangeDeclaration, QueueDeclaration } from "../facade.ts";
import type { Namespace } from "../namespace.ts";
import type { EffectivePolicy } from "../policies/effective-policy.ts";
import { preconditionFailed } from "../refusals.ts";
import type { OpenSession, Sessions } from "../sessions.ts";
import { Queue, type Binding, type Exchange, type Topology } from "../topology.ts";

export interface QueueView {
  readonly record: QueueRecord;
  readonly counts: QueueCounts;
  /** The session that it belongs to; undefined when it is not exclusive, or when that is gone. */
  readonly ownerId: number | undefined;
  readonly hasExclusiveConsumer: boolean;
  readonly policy: EffectivePolicy;
}

export interface ExchangeView {
  readonly settings: ExchangeSettings;
  readonly predeclared: boolean;
  readonly policy: EffectivePolicy;
}

export interface BindingView {
  readonly vhost: string;
  readonly source: string;
  readonly destination: string;
  readonly destinationType: "queue" | "exchange";
  readonly routingKey: string;
  readonly arguments: FieldTable;
  /** Names the binding among those with the same ends. */
  readonly propertiesKey: string;
}

/** A binding to make; with `propertiesKey` instead of the rest, one to remove. */
export interface BindingSpec {
  readonly source: string;
  readonly destination: string;
  readonly destinationType: "queue" | "exchange";
  readonly routingKey: string;
  readonly arguments: FieldTable;
}

export interface TopologyParts {
  readonly namespace: Namespace;
  readonly sessions: Sessions;
  readonly facade: BrokerFacade;
}

export class TopologyManagement {
  readonly #topology: Topology;
  readonly #shard: ShardPort;
  readonly #sessions: Sessions;
  readonly #facade: BrokerFacade;

  constructor({ namespace, sessions, facade }: TopologyParts) {
    this.#topology = namespace.topology;
    this.#shard = namespace.shard;
    this.#sessions = sessions;
    this.#facade = facade;
  }

  /** How much there is of everything. */
  sizes(): { readonly queues: number; readonly exchanges: number; readonly bindings: number } {
    const { queuesById, exchangesById, bindingCount } = this.#topology;
    return { queues: queuesById.size, exchanges: exchangesById.size, bindings: bindingCount };
  }

  /** The queues of one vhost, or of all. */
  *queues(vhost?: string): Generator<QueueView> {
    const queues = vhost === undefined ? this.#topology.queuesById : this.#topology.vhosts.get(vhost)?.queues;
    for (const queue of queues?.values() ?? []) yield this.#queueView(queue);
  }

  queue(vhost: string, name: string): QueueView | undefined {
    const queue = this.#topology.vhosts.get(vhost)?.queues.get(name);
    return queue && this.#queueView(queue);
  }

  queueById(id: number): QueueView | undefined {
    const queue = this.#topology.queuesById.get(id);
    return queue && this.#queueView(queue);
  }

  /** Returns whether the queue is new. Throws like the client's operation, "not-found" for the vhost. */
  declareQueue(actor: Actor, vhost: string, declaration: QueueDeclaration): boolean {
    if (declaration.exclusive) throw preconditionFailed("an exclusive queue needs a connection that owns it");
    const session = this.#sessionOf(actor, vhost);
    const before = session.home.queues.size;
    this.#facade.declareQueue(session, declaration);
    return session.home.queues.size > before;
  }

  /** Returns the ready messages dropped. Throws like the client's operation, "not-found" for a missing queue. */
  deleteQueue(
    actor: Actor,
    vhost: string,
    name: string,
    options: { readonly ifUnused: boolean; readonly ifEmpty: boolean },
  ): number {
    const session = this.#sessionOf(actor, vhost);
    this.#exists(session.home.queues.has(name), `queue '${name}'`, vhost);
    return this.#facade.deleteQueue(session, name, options);
  }

  /** Drops the ready messages; returns their number. Throws like the client's operation. */
  purgeQueue(actor: Actor, vhost: string, name: string): number {
    return this.#facade.purgeQueue(this.#sessionOf(actor, vhost), name);
  }

  /** The exchanges of one vhost, or of all; the default exchange is called "". */
  *exchanges(vhost?: string): Generator<ExchangeView> {
    const exchanges = vhost === undefined ? this.#topology.exchangesById : this.#topology.vhosts.get(vhost)?.exchanges;
    for (const exchange of exchanges?.values() ?? []) yield exchangeView(exchange);
  }

  exchange(vhost: string, name: string): ExchangeView | undefined {
    const exchange = this.#topology.vhosts.get(vhost)?.exchanges.get(name);
    return exchange && exchangeView(exchange);
  }

  /** Returns whether the exchange is new. Throws like the client's operation, "not-found" for the vhost. */
  declareExchange(actor: Actor, vhost: string, declaration: ExchangeDeclaration): boolean {
    const session = this.#sessionOf(actor, vhost);
    const before = session.home.exchanges.size;
    this.#facade.declareExchange(session, declaration);
    return session.home.exchanges.size > before;
  }

  /** Throws like the client's operation, "not-found" for a missing exchange. */
  deleteExchange(actor: Actor, vhost: string, name: string, ifUnused: boolean): void {
    const session = this.#sessionOf(actor, vhost);
    this.#exists(session.home.exchanges.has(name), `exchange '${name}'`, vhost);
    this.#facade.deleteExchange(session, name, ifUnused);
  }

  /**
   * The bindings of one vhost, or of all. The default exchange leads to every queue under its name, which
   * no binding says: those are listed like others.
   */
  *bindings(vhost?: string): Generator<BindingView> {
    for (const { record } of this.queues(vhost)) yield impliedBinding(record);
    const exchanges = vhost === undefined ? this.#topology.exchangesById : this.#topology.vhosts.get(vhost)?.exchanges;
    for (const exchange of exchanges?.values() ?? []) {
      for (const binding of exchange.bindings.values()) yield bindingView(binding);
    }
  }

  /** Those that lead away from an exchange. */
  bindingsFrom(vhost: string, exchange: string): readonly BindingView[] {
    if (exchange === "") return Array.from(this.queues(vhost), ({ record }) => impliedBinding(record));
    const source = this.#topology.vhosts.get(vhost)?.exchanges.get(exchange);
    return Array.from(source?.bindings.values() ?? [], bindingView);
  }

  /** Those that lead to a queue or to an exchange. */
  bindingsTo(vhost: string, type: "queue" | "exchange", name: string): readonly BindingView[] {
    const place = this.#topology.vhosts.get(vhost);
    if (type === "exchange") return Array.from(place?.exchanges.get(name)?.incoming ?? [], bindingView);
    const queue = place?.queues.get(name);
    if (queue === undefined) return [];
    return [impliedBinding(queue.record), ...Array.from(queue.bindings, bindingView)];
  }

  /** Makes a binding; one that exists is fine. Returns its properties key. Throws like the client's operation. */
  bind(actor: Actor, vhost: string, spec: BindingSpec): string {
    const session = this.#sessionOf(actor, vhost);
    if (spec.destinationType === "queue") this.#facade.bindQueue(session, toQueue(spec));
    else this.#facade.bindExchange(session, toExchange(spec));
    return propertiesKeyOf(spec.routingKey, spec.arguments);
  }

  /** Removes the binding with these ends and this key; false when there is none. Throws like the client's operation. */
  unbind(
    actor: Actor,
    vhost: string,
    ends: Pick<BindingSpec, "source" | "destination" | "destinationType">,
    propertiesKey: string,
  ): boolean {
    const session = this.#sessionOf(actor, vhost);
    const found = this.bindingsTo(vhost, ends.destinationType, ends.destination).find(
      (each) => each.source === ends.source && each.propertiesKey === propertiesKey,
    );
    if (found === undefined) return false;
    if (found.destinationType === "queue") this.#facade.unbindQueue(session, toQueue(found));
    else this.#facade.unbindExchange(session, toExchange(found));
    return true;
  }

  #sessionOf(actor: Actor, vhost: string): OpenSession {
    return passingSession(this.#topology, this.#sessions, actor, vhost);
  }

  #exists(found: boolean, what: string, vhost: string): void {
    if (!found) throw new BrokerError("not-found", `no ${what} in vhost '${vhost}'`);
  }

  #queueView({ record, hasExclusiveConsumer, policy }: Queue): QueueView {
    const ownerId = this.#sessions.get(record.ownerId)?.id;
    return { record, counts: this.#shard.counts(record.id), ownerId, hasExclusiveConsumer, policy };
  }
}

/** A session for one request of the management interface. Throws "not-found" when there is no such vhost. */
export function passingSession(topology: Topology, sessions: Sessions, actor: Actor, vhost: string): OpenSession {
  const home = topology.vhosts.get(vhost);
  if (home === undefined) throw new BrokerError("not-found", `vhost '${vhost}' does not exist`);
  return sessions.passing(home, actor.user);
}

/**
 * The routing key, and a digest of the arguments when there are any, so that it fits into a path: "~" when both
 * are empty, as in RabbitMQ.
 */
export function propertiesKeyOf(routingKey: string, args: FieldTable): string {
  const quoted = encodeURIComponent(routingKey).replaceAll("~", "%7E");
  if (args.size === 0) return quoted === "" ? "~" : quoted;
  return `${quoted}~${createHash("sha256").update(tableIdentity(args)).digest("base64url").slice(0, 22)}`;
}

function exchangeView({ settings, predeclared, policy }: Exchange): ExchangeView {
  return { settings, predeclared, policy };
}

function bindingView({ vhost, exchange, to, routingKey, arguments: args }: Binding): BindingView {
  const isQueue = to instanceof Queue;
  return {
    vhost,
    source: exchange,
    destination: isQueue ? to.record.name : to.settings.name,
    destinationType: isQueue ? "queue" : "exchange",
    routingKey,
    arguments: args,
    propertiesKey: propertiesKeyOf(routingKey, args),
  };
}

function impliedBinding({ vhost, name }: QueueRecord): BindingView {
  const args: FieldTable = new Map();
  return {
    vhost,
    source: "",
    destination: name,
    destinationType: "queue",
    routingKey: name,
    arguments: args,
    propertiesKey: propertiesKeyOf(name, args),
  };
}

function toQueue({ source, destination, routingKey, arguments: args }: BindingSpec) {
  return { exchange: source, queue: destination, routingKey, arguments: args };
}

function toExchange({ source, destination, routingKey, arguments: args }: BindingSpec) {
  return { exchange: source, destination, routingKey, arguments: args };
}
