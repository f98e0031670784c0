// A stored record (model/message.ts) as the parts that a door shows. Not for the hot path.

import { recordEnvelopeEnd } from "../../model/message.ts";

export interface RecordParts {
  readonly exchange: string;
  readonly routingKey: string;
  readonly properties: Buffer;
  readonly body: Buffer;
}

/** Views of a whole record; they share its memory. */
export function readRecord(record: Buffer): RecordParts {
  const keyAt = 1 + record[0]!;
  const envelopeEnd = recordEnvelopeEnd(record, 0);
  const bodyStart = envelopeEnd + 4 + record.readUInt32LE(envelopeEnd);
  return {
    exchange: record.toString("utf8", 1, keyAt),
    routingKey: record.toString("utf8", keyAt + 1, envelopeEnd),
    properties: record.subarray(envelopeEnd + 4, bodyStart),
    body: record.subarray(bodyStart),
  };
}
