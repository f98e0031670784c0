// Where a publish in one vhost goes. Runs for each message whose door has no cached answer, so it is Map look-ups:
// answers by key are kept, in a bounded number, until the topology changes.

import { EMPTY_TABLE, type FieldTable } from "../model/field-table.ts";
import { readHeaders } from "../model/properties.ts";
import type { Route } from "./facade.ts";
import { accessRefused, notFound, resource } from "./refusals.ts";
import type { Exchange, Topology, Vhost } from "./topology.ts";

/** Kept answers; when they are so many, all are dropped (keys are at most 255 bytes each). */
const ROUTES_MAX = 16_384;

const NOWHERE: readonly number[] = [];

export class RouteFinder {
  readonly #topology: Topology;
  readonly #vhost: Vhost;
  readonly #routes = new Map<string, Route>();
  #routesVersion = 0;

  constructor(topology: Topology, vhost: Vhost) {
    this.#topology = topology;
    this.#vhost = vhost;
  }

  /** Throws "not-found" for a missing exchange, "access-refused" for an internal one. */
  find(exchangeName: string, routingKey: string, properties: Buffer): Route {
    if (exchangeName === "") return this.#byQueueName(routingKey);
    const exchange = this.#vhost.exchanges.get(exchangeName);
    if (exchange === undefined) throw notFound("exchange", exchangeName, this.#vhost.name);
    if (exchange.settings.internal) {
      throw accessRefused(`cannot publish to internal ${resource("exchange", exchangeName, this.#vhost.name)}`);
    }
    if (exchange.router.byHeaders) return this.#walk(exchange, routingKey, headersOf(properties));
    const route = this.#byKey(exchange, routingKey);
    return route.byHeaders ? this.#walk(exchange, routingKey, headersOf(properties)) : route;
  }

  #byQueueName(name: string): Route {
    const { version } = this.#topology;
    const queue = this.#vhost.queues.get(name);
    if (queue === undefined) return { version, byHeaders: false, queueIds: NOWHERE };
    if (queue.defaultRoute?.version !== version) {
      queue.defaultRoute = { version, byHeaders: false, queueIds: [queue.record.id] };
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
      route = this.#walk(exchange, routingKey, EMPTY_TABLE);
      if (!route.byHeaders) this.#routes.set(key, route);
    }
    return route;
  }

  /** Asks the exchange, and the exchanges that are bound to it, each once: bindings may go in a circle. */
  #walk(first: Exchange, routingKey: string, headers: FieldTable): Route {
    const reached = new Set<number>();
    const asked = new Set<Exchange>([first]);
    let byHeaders = false;
    for (const exchange of asked) {
      byHeaders ||= exchange.router.byHeaders;
      exchange.router.route(routingKey, headers, reached);
      for (const id of reached) {
        const next = id < 0 ? this.#topology.exchangesById.get(-id) : undefined;
        if (next !== undefined) asked.add(next);
      }
    }
    const queueIds = asked.size === 1 ? [...reached] : [...reached].filter((id) => id > 0);
    return { version: this.#topology.version, byHeaders, queueIds };
  }
}

function headersOf(properties: Buffer): FieldTable {
  return properties.length === 0 ? EMPTY_TABLE : readHeaders(properties, 0, properties.length);
}
