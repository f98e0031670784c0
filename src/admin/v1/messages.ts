// A message as /v1 shows it.

import type { MessageProperties } from "../../model/properties.ts";
import { payloadToJson, propertiesToJson } from "../message-json.ts";

export interface Shown {
  readonly exchange: string;
  readonly routingKey: string;
  readonly properties: MessageProperties;
  readonly body: Buffer;
}

/** Text that is UTF-8 as it is, everything else in base64. `bodyBytesMax`: of the body, what is shown. */
export function messageJson(
  { exchange, routingKey, properties, body }: Shown,
  bodyBytesMax = Number.POSITIVE_INFINITY,
) {
  const shown = payloadToJson(body, "auto", bodyBytesMax);
  return {
    exchange,
    routingKey,
    properties: propertiesToJson(properties),
    bodyBytes: body.length,
    body: shown.payload,
    bodyEncoding: shown.payload_encoding,
  };
}
