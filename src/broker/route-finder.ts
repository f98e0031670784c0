// Where a message in one vhost goes: through its exchange, the exchanges bound to that one, and the
// alternate exchange of each that leads nowhere. Every exchange is asked once, so circles end.
//
// Runs for each message whose door has no cached answer, so it is Map look-ups: answers by key are kept,
// in a bounded number, until the topology changes.

import type { Random } from "../ports/clock.ts";
import { RoutedMessage } from "../routing/routed-message.ts";
import { DELAYED_TYPE } from "../routing/router-for.ts";
import type { Route } from "./facade.ts";
import { accessRefused, notFound, resource } from "./refusals.ts";
import type { Exchange, Topology, Vhost } from "./topology.ts";

/** Kept answers; when they are so many, all are dropped (keys are at most 255 bytes each). */
const ROUTES_MAX = 16_384;

const NONE: readonly number[] = [];
const NO_PROPERTIES = Buffer.alloc(0);

/** The exchange to which an exchange hands what it could not route; undefined without one. */
export function alternateName(exchange: Exchange): string | undefined {
  const args = exchange.settings.arguments;
  const policy = exchange.policy.definition;
  if (args.size === 0 && policy.size === 0) return undefined;
  const name = args.get("alternate-exchange") ?? args.get("x-alternate-exchange") ?? policy.get("alternate-exchange");
  return typeof name === "string" ? name : undefined;
}

export class RouteFinder {
  readonly #topology: Topology;
  readonly #vhost: Vhost;
  readonly #draw: () => number;
  readonly #routes = new Map<string, Route>();
  #routesVersion = 0;

  constructor(topology: Topology, vhost: Vhost, random: Random) {
    this.#topology = topology;
    this.#vhost = vhost;
    this.#draw = () => random.u32();
  }

  /**
   * Where a publish goes. `copies`: the keys of its headers CC and BCC. Throws "not-found" for a missing
   * exchange, "access-refused" for an internal one.
   */
  find(exchangeName: string, routingKey: string, properties: Buffer, copies: readonly string[]): Route {
    if (exchangeName === "" && copies.length === 0) return this.#byQueueName(routingKey);
    const exchange = this.#vhost.exchanges.get(exchangeName);
    if (exchange === undefined) throw notFound("exchange", exchangeName, this.#vhost.name);
    if (exchange.settings.internal) {
      throw accessRefused(`cannot publish to internal ${resource("exchange", exchangeName, this.#vhost.name)}`);
    }
    if (copies.length > 0 || exchange.router.perMessage) {
      return this.#walk(exchange, [routingKey, ...copies], properties);
    }
    const route = this.#byKey(exchange, routingKey);
    return route.perMessage ? this.#walk(exchange, [routingKey], properties) : route;
  }

  /** Where the broker itself sends a message; undefined when there is no such exchange. */
  findOwn(exchangeName: string, keys: readonly string[], properties: Buffer): Route | undefined {
    const exchange = this.#vhost.exchanges.get(exchangeName);
    if (exchange === undefined) return undefined;
    const [key, ...copies] = keys;
    if (key !== undefined && copies.length === 0 && !exchange.router.perMessage) {
      const route = exchangeName === "" ? this.#byQueueName(key) : this.#byKey(exchange, key);
      if (!route.perMessage) return route;
    }
    return this.#walk(exchange, keys, properties);
  }

  #byQueueName(name: string): Route {
    const { version } = this.#topology;
    const queue = this.#vhost.queues.get(name);
    if (queue === undefined) return { version, perMessage: false, queueIds: NONE, delayedQueueIds: NONE };
    if (queue.defaultRoute?.version !== version) {
      queue.defaultRoute = { version, perMessage: false, queueIds: [queue.record.id], delayedQueueIds: NONE };
    }
    return queue.defaultRoute;
  }

  #byKey(exchange: Exchange, routingKey: string): Route {
    const { version } = this.#topology;
    if (this.#routesVersion !== version || this.#routes.size >= ROUTES_MAX) {
      this.#routes.clear();
      this.#routesVersion = version;
    }
    const key = `${exchange.settings.name}\0${routingKey}`;
    let route = this.#routes.get(key);
    if (route === undefined) {
      route = this.#walk(exchange, [routingKey], NO_PROPERTIES);
      this.#routes.set(key, route);
    }
    return route;
  }

  #walk(first: Exchange, keys: readonly string[], properties: Buffer): Route {
    const message = new RoutedMessage(keys, properties, this.#draw);
    const walk: Walk = { message, seen: new Set(), delaying: new Set(), perMessage: false };
    const now = new Set<number>();
    this.#follow(walk, first, now);
    const later = new Set<number>();
    // What two ways reach, of which one has no delay, is not delayed.
    for (const exchange of walk.delaying) this.#ask(walk, exchange, later);
    const delayed = [...later].filter((id) => id > 0 && !now.has(id));
    const queueIds = [...now].filter((id) => id > 0);
    return {
      version: this.#topology.version,
      perMessage: walk.perMessage,
      queueIds: delayed.length === 0 ? queueIds : [...queueIds, ...delayed],
      delayedQueueIds: delayed.length === 0 ? NONE : delayed,
    };
  }

  #follow(walk: Walk, exchange: Exchange, into: Set<number>): void {
    if (exchange.settings.type === DELAYED_TYPE) walk.delaying.add(exchange);
    else this.#ask(walk, exchange, into);
  }

  /** Adds what `first` and everything behind it reaches; exchanges that delay are left for later. */
  #ask(walk: Walk, first: Exchange, into: Set<number>): void {
    const asked = new Set<Exchange>([first]);
    for (const exchange of asked) {
      if (walk.seen.has(exchange)) continue;
      walk.seen.add(exchange);
      walk.perMessage ||= exchange.router.perMessage;
      for (const next of this.#next(walk, exchange, into)) {
        if (next.settings.type === DELAYED_TYPE) walk.delaying.add(next);
        else asked.add(next);
      }
    }
  }

  /** Adds the destinations of one exchange; returns the exchanges among them, or its alternate one. */
  #next(walk: Walk, exchange: Exchange, into: Set<number>): readonly Exchange[] {
    const reached = new Set<number>();
    if (exchange.settings.name === "") {
      for (const key of walk.message.keys) {
        const queue = this.#vhost.queues.get(key);
        if (queue !== undefined) reached.add(queue.record.id);
      }
    } else {
      exchange.router.route(walk.message, reached);
    }
    if (reached.size === 0) {
      const name = alternateName(exchange);
      const alternate = name === undefined ? undefined : this.#vhost.exchanges.get(name);
      return alternate === undefined ? [] : [alternate];
    }
    const exchanges: Exchange[] = [];
    for (const id of reached) {
      into.add(id);
      const next = id < 0 ? this.#topology.exchangesById.get(-id) : undefined;
      if (next !== undefined) exchanges.push(next);
    }
    return exchanges;
  }
}

/** One message on its way through the exchanges. */
interface Walk {
  readonly message: RoutedMessage;
  readonly seen: Set<Exchange>;
  /** Exchanges of type x-delayed-message that were reached. */
  readonly delaying: Set<Exchange>;
  perMessage: boolean;
}
