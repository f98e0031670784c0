// What routing reads of a message. Headers and properties are decoded when somebody asks for them:
// most exchanges look at the routing key alone.

import { EMPTY_TABLE, type FieldTable } from "../model/field-table.ts";
import { decodeProperties, type MessageProperties } from "../model/properties.ts";

const NOTHING: MessageProperties = {};

export class RoutedMessage {
  /** The routing key, then those of the headers CC and BCC. */
  readonly keys: readonly string[];
  /** Uniform in [0, 2^32): for exchanges that choose by chance. */
  readonly draw: () => number;
  readonly #block: Buffer;
  #properties: MessageProperties | undefined;

  /** `block`: a well-formed block of model/properties.ts, or empty. */
  constructor(keys: readonly string[], block: Buffer, draw: () => number) {
    this.keys = keys;
    this.draw = draw;
    this.#block = block;
  }

  get properties(): MessageProperties {
    this.#properties ??= this.#block.length === 0 ? NOTHING : decodeProperties(this.#block, 0, this.#block.length);
    return this.#properties;
  }

  get headers(): FieldTable {
    return this.properties.headers ?? EMPTY_TABLE;
  }
}
