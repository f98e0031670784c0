// Direct exchange: a message reaches the queues that are bound with exactly its routing key.

import { assert } from "../assert.ts";
import { Destinations } from "./destinations.ts";
import type { ExchangeRouter, RoutedBinding } from "./exchange-router.ts";
import type { RoutedMessage } from "./routed-message.ts";

export class DirectRouter implements ExchangeRouter {
  readonly perMessage = false;
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

  route(message: RoutedMessage, into: Set<number>): void {
    for (const key of message.keys) this.#byKey.get(key)?.addTo(into);
  }
}
