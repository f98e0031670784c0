// What every exchange type does: keep bindings, and answer which destinations a message goes to. Pure:
// no time, no storage; chance comes with the message. The caller guarantees that bindings are distinct:
// `bind` is called once and `unbind` at most once for each.

import type { FieldTable } from "../model/field-table.ts";
import type { RoutedMessage } from "./routed-message.ts";

/** A binding as routing sees it. Its identity is queueId, routingKey and arguments by value. */
export interface RoutedBinding {
  /** The destination: a queue's id, or minus the id of an exchange. */
  readonly queueId: number;
  /** What names the destination across restarts: a queue's id, or the name of an exchange. */
  readonly destination: number | string;
  readonly routingKey: string;
  readonly arguments: FieldTable;
}

export interface ExchangeRouter {
  /** The result depends on more of a message than its routing key, so it must not be kept by key. */
  readonly perMessage: boolean;
  bind(binding: RoutedBinding): void;
  unbind(binding: RoutedBinding): void;
  /** Adds the destinations that a message reaches. */
  route(message: RoutedMessage, into: Set<number>): void;
}
