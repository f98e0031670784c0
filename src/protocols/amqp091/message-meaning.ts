// Properties and headers whose values the broker answers for. Only messages that have one of them come
// here, so plain messages pay nothing.
//
//   user-id      must be the user's own, unless the user has the tag impersonator
//   expiration   a number of ms            priority   0 to 255
//   reply-to     "amq.rabbitmq.reply-to" is replaced by the channel's own reply address
//   CC, BCC      further routing keys; BCC is not stored
//   x-delay      counts behind an x-delayed-message exchange
//   x-death      written by a client: shown to consumers, but no history that the broker goes by

import type { FieldTable, FieldValue } from "../../model/field-table.ts";
import { tableEntryEnd } from "../../model/field-table.ts";
import type { IncomingMessage } from "../../model/message.ts";
import {
  FLAG_EXPIRATION,
  FLAG_HEADERS,
  FLAG_PRIORITY,
  FLAG_REPLY_TO,
  FLAG_USER_ID,
  propertyOffset,
  readHeaders,
  readShortProperty,
  withHeader,
  withShortProperty,
} from "../../model/properties.ts";
import { wireType } from "../../model/wire-type.ts";
import type { Channel } from "./channel.ts";
import { REPLY_QUEUE } from "./direct-replies.ts";
import { channelError } from "./errors.ts";

/** A message with any of these flags has to be read. */
export const MEANINGFUL_FLAGS = FLAG_HEADERS | FLAG_EXPIRATION | FLAG_USER_ID | FLAG_PRIORITY | FLAG_REPLY_TO;

const NO_COPIES: readonly string[] = [];
/** A longer time to live is as good as none: a hundred years. */
const EXPIRATION_MAX_MS = 100 * 365 * 24 * 3600 * 1000;
/** Larger delays are mistakes: RabbitMQ's timers end there. */
const DELAY_MAX_MS = 0xffff_ffff;

/**
 * Reads what `flags` announce into `message`, whose properties may be replaced. Returns the routing keys of
 * CC and BCC. Throws 406 for a value that cannot be.
 */
export function readMeaning(message: IncomingMessage, flags: number, channel: Channel): readonly string[] {
  const { properties, propertiesStart } = message;
  if ((flags & FLAG_USER_ID) !== 0) checkUser(readShortProperty(properties, propertiesStart, FLAG_USER_ID), channel);
  if ((flags & FLAG_EXPIRATION) !== 0) {
    message.expirationMs = expirationMs(readShortProperty(properties, propertiesStart, FLAG_EXPIRATION) ?? "");
  }
  if ((flags & FLAG_PRIORITY) !== 0) {
    message.priority = properties[propertyOffset(properties, propertiesStart, FLAG_PRIORITY)]!;
  }
  const copies = (flags & FLAG_HEADERS) === 0 ? NO_COPIES : readHeaderMeaning(message);
  if ((flags & FLAG_REPLY_TO) !== 0) replaceReplyTo(message, channel);
  return copies;
}

function checkUser(user: string | undefined, channel: Channel): void {
  const actual = channel.host.session.user;
  if (user === actual || channel.host.session.mayImpersonate) return;
  throw channelError("precondition-failed", `user_id property set to '${user}' but authenticated user was '${actual}'`);
}

/** The property expiration, ms. Throws 406 in RabbitMQ's words. */
function expirationMs(text: string): number {
  const digits = /^[+-]?\d+/.exec(text)?.[0];
  const value = Number(digits);
  let fault: string | undefined;
  if (digits === undefined) fault = "no_integer";
  else if (digits.length < text.length) fault = `{leftover_string,"${text.slice(digits.length)}"}`;
  else if (value < 0) fault = `{value_negative,${digits}}`;
  if (fault !== undefined) throw channelError("precondition-failed", `invalid expiration '${text}': ${fault}`);
  return Math.min(value, EXPIRATION_MAX_MS);
}

function replaceReplyTo(message: IncomingMessage, channel: Channel): void {
  const { properties, propertiesStart, propertiesEnd } = message;
  if (readShortProperty(properties, propertiesStart, FLAG_REPLY_TO) !== REPLY_QUEUE) return;
  if (channel.replyConsumer === undefined)
    throw channelError("precondition-failed", "fast reply consumer does not exist");
  const { address } = channel.replyConsumer;
  replaceProperties(message, withShortProperty(properties, propertiesStart, propertiesEnd, FLAG_REPLY_TO, address));
}

function replaceProperties(message: IncomingMessage, block: Buffer): void {
  message.properties = block;
  message.propertiesStart = 0;
  message.propertiesEnd = block.length;
}

const HAS_CC = 1;
const HAS_BCC = 2;
const HAS_DELAY = 4;
const HAS_DEATH = 8;
const NAMES: readonly (readonly [Buffer, number])[] = [
  [Buffer.from("CC"), HAS_CC],
  [Buffer.from("BCC"), HAS_BCC],
  [Buffer.from("x-delay"), HAS_DELAY],
  [Buffer.from("x-death"), HAS_DEATH],
];

const LETTER_C = 0x43;
const LETTER_D = 0x64;
const LETTER_X = 0x78;
const HYPHEN = 0x2d;

function readHeaderMeaning(message: IncomingMessage): readonly string[] {
  const found = namesFound(message.properties, message.propertiesStart);
  if (found === 0) return NO_COPIES;
  const headers = readHeaders(message.properties, message.propertiesStart, message.propertiesEnd);
  if ((found & HAS_DELAY) !== 0) message.delayMs = delayMs(headers.get("x-delay"));
  if ((found & HAS_DEATH) !== 0) disownDeaths(message, headers.get("x-death"));
  const copies = [...copiesOf(headers, "CC"), ...copiesOf(headers, "BCC")];
  if ((found & HAS_BCC) !== 0) {
    const { properties, propertiesStart, propertiesEnd } = message;
    replaceProperties(message, withHeader(properties, propertiesStart, propertiesEnd, "BCC", undefined));
  }
  return copies;
}

/** False when certainly none of the names is there: most headers end here, without an object made for them. */
function mayMatter(bytes: Buffer, at: number, end: number): boolean {
  for (let i = at; i + 1 < end; i++) {
    const byte = bytes[i]!;
    if (byte === LETTER_C && bytes[i + 1] === LETTER_C) return true;
    if (byte === LETTER_X && bytes[i + 1] === HYPHEN && bytes[i + 2] === LETTER_D) return true;
  }
  return false;
}

/** Which of the headers that matter are there: a scan of names, which costs less than decoding. */
function namesFound(bytes: Buffer, start: number): number {
  const at = propertyOffset(bytes, start, FLAG_HEADERS);
  const end = at + 4 + bytes.readUInt32BE(at);
  let found = 0;
  if (!mayMatter(bytes, at + 4, end)) return found;
  for (let entry = at + 4; entry < end; entry = tableEntryEnd(bytes, entry, end)) {
    const size = bytes[entry]!;
    // "CC" and "BCC" have two and three bytes, "x-delay" and "x-death" seven.
    if (size !== 2 && size !== 3 && size !== 7) continue;
    for (const [name, mark] of NAMES) {
      if (name.length === size && name.equals(bytes.subarray(entry + 1, entry + 1 + size))) found |= mark;
    }
  }
  return found;
}

/** The keys in a header of sender-selected distribution. Throws 406 unless it is an array. */
function copiesOf(headers: FieldTable, name: "CC" | "BCC"): readonly string[] {
  const value = headers.get(name);
  if (value === undefined) return NO_COPIES;
  if (!Array.isArray(value)) {
    throw channelError(
      "precondition-failed",
      `invalid message: {unacceptable_type_in_header,"${name}",${wireType(value)}}`,
    );
  }
  return (value as readonly FieldValue[]).filter((key) => typeof key === "string");
}

/** The delay that a message asks for, ms; 0 when the header says nothing usable, as RabbitMQ's plugin has it. */
function delayMs(value: FieldValue | undefined): number {
  let asked = 0;
  if (typeof value === "number" || typeof value === "bigint") asked = Math.trunc(Number(value));
  else if (typeof value === "string" && /^\d+$/.test(value)) asked = Number(value);
  return asked > 0 && asked <= DELAY_MAX_MS ? asked : 0;
}

/**
 * The broker knows its own x-death by the 64-bit counts in it (broker/dead-letters.ts). A client that
 * publishes what it received again must not bring a history along: its counts become 32-bit ones, which
 * read the same.
 */
function disownDeaths(message: IncomingMessage, deaths: FieldValue | undefined): void {
  if (!Array.isArray(deaths)) return;
  const disowned = (deaths as readonly FieldValue[]).map((death) => {
    const count = death instanceof Map ? (death as FieldTable).get("count") : undefined;
    if (typeof count !== "bigint") return death;
    return new Map([...(death as FieldTable), ["count", Number(BigInt.asIntN(32, count))]]);
  });
  const { properties, propertiesStart, propertiesEnd } = message;
  replaceProperties(message, withHeader(properties, propertiesStart, propertiesEnd, "x-death", disowned));
}
