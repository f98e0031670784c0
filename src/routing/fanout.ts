// Fanout exchange: a message reaches every bound queue; keys and arguments play no part.

import { Destinations } from "./destinations.ts";
import type { ExchangeRouter, RoutedBinding } from "./exchange-router.ts";
import type { RoutedMessage } from "./routed-message.ts";

export class FanoutRouter implements ExchangeRouter {
  readonly perMessage = false;
  readonly #destinations = new Destinations();

  bind(binding: RoutedBinding): void {
    this.#destinations.add(binding.queueId);
  }

  unbind(binding: RoutedBinding): void {
    this.#destinations.remove(binding.queueId);
  }

  route(_message: RoutedMessage, into: Set<number>): void {
    this.#destinations.addTo(into);
  }
}
