// Fanout exchange: a message reaches every bound queue; keys and arguments play no part.

import type { FieldTable } from "../model/field-table.ts";
import { Destinations } from "./destinations.ts";
import type { ExchangeRouter, RoutedBinding } from "./exchange-router.ts";

export class FanoutRouter implements ExchangeRouter {
  readonly byHeaders = false;
  readonly #destinations = new Destinations();

  bind(binding: RoutedBinding): void {
    this.#destinations.add(binding.queueId);
  }

  unbind(binding: RoutedBinding): void {
    this.#destinations.remove(binding.queueId);
  }

  route(_routingKey: string, _headers: FieldTable, into: Set<number>): void {
    this.#destinations.addTo(into);
  }
}
