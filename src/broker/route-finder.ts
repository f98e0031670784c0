// Where a publish goes. Runs for each message whose door has no cached answer, so it is Map look-ups:
// answers by key are kept, in a bounded number, until the topology changes.

import { EMPTY_TABLE } from "../model/field-table.ts";
import { readHeaders } from "../model/properties.ts";
import type { Route } from "./facade.ts";
import { accessRefused, notFound, resource } from "./refusals.ts";
import type { Exchange, Topology } from "./topology.ts";

/** Kept answers; when they are so many, all are dropped (keys are at most 255 bytes each). */
const ROUTES_MAX = 16_384;

const NOWHERE: readonly number[] = [];

export class RouteFinder {
  readonly #topology: Topology;
  readonly #routes = new Map<string, Route>();
  #routesVersion = 0;

  constructor(topology: Topology) {
    this.#topology = topology;
  }

  /** Throws "not-found" for a missing exchange, "access-refused" for an internal one. */
  find(exchangeName: string, routingKey: string, properties: Buffer): Route {
    if (exchangeName === "") return this.#byQueueName(routingKey);
    const exchange = this.#topology.exchanges.get(exchangeName);
    if (exchange === undefined) throw notFound("exchange", exchangeName);
    if (exchange.settings.internal) {
      throw accessRefused(`cannot publish to internal ${resource("exchange", exchangeName)}`);
    }
    if (exchange.router.byHeaders) return this.#byHeaders(exchange, properties);
    return this.#byKey(exchange, routingKey);
  }

  #byQueueName(name: string): Route {
    const { version } = this.#topology;
    const queue = this.#topology.queues.get(name);
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
      const queueIds = new Set<number>();
      exchange.router.route(routingKey, EMPTY_TABLE, queueIds);
      route = { version, byHeaders: false, queueIds: [...queueIds] };
      this.#routes.set(key, route);
    }
    return route;
  }

  #byHeaders(exchange: Exchange, properties: Buffer): Route {
    const queueIds = new Set<number>();
    const headers = properties.length === 0 ? EMPTY_TABLE : readHeaders(properties, 0, properties.length);
    exchange.router.route("", headers, queueIds);
    return { version: this.#topology.version, byHeaders: true, queueIds: [...queueIds] };
  }
}
