// What every exchange type does: keep bindings, and answer which queues a message goes to. Pure: no
// time, no randomness, no storage. The caller guarantees that bindings are distinct: `bind` is
// called once and `unbind` at most once for each.

import type { FieldTable } from "../model/field-table.ts";

/** A binding as routing sees it. Its identity is all four fields, arguments by value. */
export interface RoutedBinding {
  readonly queueId: number;
  readonly routingKey: string;
  readonly arguments: FieldTable;
}

export interface ExchangeRouter {
  /** The result depends on the message's headers, not on its routing key. */
  readonly byHeaders: boolean;
  bind(binding: RoutedBinding): void;
  unbind(binding: RoutedBinding): void;
  /** Adds the ids of the queues that a message reaches. `headers` is read only when `byHeaders`. */
  route(routingKey: string, headers: FieldTable, into: Set<number>): void;
}
