// Direct exchange: a message reaches the queues that are bound with exactly its routing key.

import { assert } from "../assert.ts";
import type { FieldTable } from "../model/field-table.ts";
import { Destinations } from "./destinations.ts";
import type { ExchangeRouter, RoutedBinding } from "./exchange-router.ts";

export class DirectRouter implements ExchangeRouter {
  readonly byHeaders = false;
  readonly #byKey = new Map<string, Destinations>();

  bind(binding: RoutedBinding): void {
    let destinations = this.#byKey.get(binding.routingKey);
    if (destinations === undefined) {
      destinations = new Destinations();
      this.#byKey.set(binding.routingKey, destinations);
    }
    destinations.add(binding.queueId);
  }

  unbind(binding: RoutedBinding): void {
    const destinations = this.#byKey.get(binding.routingKey);
    assert(destinations !== undefined, "an unbound key was bound");
    destinations.remove(binding.queueId);
    if (destinations.isEmpty) this.#byKey.delete(binding.routingKey);
  }

  route(routingKey: string, _headers: FieldTable, into: Set<number>): void {
    this.#byKey.get(routingKey)?.addTo(into);
  }
}
