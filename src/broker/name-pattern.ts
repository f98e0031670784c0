// Patterns that users write - in permissions, policies, searches - on names. They run on a linear-time
// engine: no pattern can stall the broker. The price is that look-around and back-references are refused,
// with one exception: `^(?!X)Y`, which many RabbitMQ installations use to leave out `amq.*`, is the two
// questions "not ^X" and "^Y".

import { RE2JS, RE2JSException } from "re2js";
import { LIMITS } from "../limits.ts";
import { preconditionFailed } from "./refusals.ts";

const LEADING_NOT = "^(?!";

export class NamePattern {
  readonly #pattern: RE2JS;
  readonly #excluded: readonly RE2JS[];

  private constructor(pattern: RE2JS, excluded: readonly RE2JS[]) {
    this.#pattern = pattern;
    this.#excluded = excluded;
  }

  /** `what` names the pattern in the refusal. Throws "precondition-failed" when it is none that runs here. */
  static compile(source: string, what: string): NamePattern {
    if (Buffer.byteLength(source) > LIMITS.patternBytesMax) {
      throw preconditionFailed(`${what} is longer than ${LIMITS.patternBytesMax} bytes`);
    }
    try {
      return NamePattern.#parse(source);
    } catch (error) {
      if (!(error instanceof RE2JSException)) throw error;
      throw preconditionFailed(
        `${what} '${source}' is not a regular expression that runs here: ${error.message}. ` +
          "Look-around and back-references are not available, except a leading ^(?!...)",
      );
    }
  }

  /** True when the pattern is found anywhere in `name`. */
  matches(name: string): boolean {
    return this.#pattern.test(name) && !this.#excluded.some((each) => each.test(name));
  }

  /** `text` as a pattern that matches just it. */
  static quote(text: string): string {
    return RE2JS.quote(text);
  }

  static #parse(source: string): NamePattern {
    const excluded: RE2JS[] = [];
    let rest = source;
    while (rest.startsWith(LEADING_NOT)) {
      const end = closingParenthesis(rest, LEADING_NOT.length);
      const after = rest.slice(end + 1);
      // `^(?!a)b|c` excludes nothing from c; the two questions would.
      if (end < 0 || hasTopLevelChoice(after)) break;
      excluded.push(RE2JS.compile(`^(?:${rest.slice(LEADING_NOT.length, end)})`));
      rest = `^${after}`;
    }
    return new NamePattern(RE2JS.compile(rest), excluded);
  }
}

/** The index of the parenthesis that closes the group whose inside begins at `from`; -1 when there is none. */
function closingParenthesis(source: string, from: number): number {
  let found = -1;
  walk(source, from, (char, at, depth) => {
    if (char === ")" && depth < 0) found = at;
    return found < 0;
  });
  return found;
}

function hasTopLevelChoice(source: string): boolean {
  let found = false;
  walk(source, 0, (char, _at, depth) => {
    found = char === "|" && depth === 0;
    return !found;
  });
  return found;
}

/** Visits the characters outside of escapes and classes, with the depth of groups behind each. */
function walk(source: string, from: number, visit: (char: string, at: number, depth: number) => boolean): void {
  let depth = 0;
  let inClass = false;
  for (let at = from; at < source.length; at++) {
    const char = source[at] ?? "";
    if (char === "\\") {
      at++;
      continue;
    }
    if (inClass) {
      inClass = char !== "]";
      continue;
    }
    inClass = char === "[";
    if (char === "(") depth++;
    if (char === ")") depth--;
    if (!visit(char, at, depth)) return;
  }
}
