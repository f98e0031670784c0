// JSON from outside: what is nested so deeply that reading it could exhaust the stack is refused before.

import { LIMITS } from "../limits.ts";
import { DecodeError } from "../model/errors.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** Throws DecodeError with a sentence when the bytes are not JSON, or JSON that is nested too deeply. */
export function parseJson(bytes: Buffer): unknown {
  if (depthOf(bytes) > LIMITS.jsonDepthMax) {
    throw new DecodeError(`the JSON of the body is nested more than ${LIMITS.jsonDepthMax} levels deep`);
  }
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new DecodeError("the body is not JSON", { cause: error });
  }
}

/** How deep brackets are nested, for text that is JSON; anything for other text. */
function depthOf(bytes: Buffer): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at];
    if (byte === QUOTE) at = endOfString(bytes, at);
    // The bit 0x20 tells "{" from "[", and "}" from "]".
    else if (((byte ?? 0) | 0x20) === 0x7b) deepest = Math.max(deepest, ++depth);
    else if (((byte ?? 0) | 0x20) === 0x7d) depth--;
  }
  return deepest;
}

/** Where the string that opens at `at` closes. */
function endOfString(bytes: Buffer, at: number): number {
  let end = bytes.indexOf(QUOTE, at + 1);
  while (end > 0) {
    let escapes = 0;
    while (bytes[end - 1 - escapes] === BACKSLASH) escapes++;
    if (escapes % 2 === 0) return end;
    end = bytes.indexOf(QUOTE, end + 1);
  }
  return bytes.length;
}
