// The name by which a message is known to be a duplicate: a header, or else its message-id.

import type { IncomingMessage } from "./message.ts";
import { FLAG_MESSAGE_ID, readHeaders, readShortProperty } from "./properties.ts";

/** Header that names a message when the queue's settings name no other. */
const DEDUP_HEADER = "x-deduplication-header";

/** The name of `message`, from `header` ("": the usual one) or its message-id; undefined: it has none. */
export function readDedupName(message: IncomingMessage, header: string): string | undefined {
  const { properties, propertiesStart, propertiesEnd } = message;
  if (propertiesEnd === propertiesStart) return undefined;
  const value = readHeaders(properties, propertiesStart, propertiesEnd).get(header === "" ? DEDUP_HEADER : header);
  if (typeof value === "string" || typeof value === "number" || typeof value === "bigint") return `h${value}`;
  const id = readShortProperty(properties, propertiesStart, FLAG_MESSAGE_ID);
  return id === undefined || id === "" ? undefined : `m${id}`;
}
