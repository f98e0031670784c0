// The repository as the rules see it: paths and texts, nothing that git ignores.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Path from the root, with slashes -> text. */
export type Repository = ReadonlyMap<string, string>;

export interface Finding {
  readonly path: string;
  /** 1-based; 0 when it concerns the whole file. */
  readonly line: number;
  readonly message: string;
}

export type Rule = (repository: Repository) => Finding[];

const IGNORED = /^(\.git|node_modules|dist|dist-.*|\.build|data|.*\.tgz)$/;
const TEXT =
  /\.(ts|mjs|cjs|js|json|md|py|txt|sh|yml|yaml|html|css)$|(^|\/)(LICENSE|NOTICE|run|\.npmrc|\.gitignore|\.gitattributes)$/;

export function readRepository(root: string): Repository {
  const files = new Map<string, string>();
  const walk = (folder: string): void => {
    for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (IGNORED.test(entry.name)) continue;
      if (entry.isDirectory()) walk(path);
      else if (TEXT.test(path)) files.set(path, readFileSync(join(root, path), "utf8"));
    }
  };
  walk("");
  return files;
}

/** Every match of `pattern` (global) in `text`, as findings. */
export function findAll(path: string, text: string, pattern: RegExp, message: string): Finding[] {
  return [...text.matchAll(pattern)].map((match) => ({ path, line: lineAt(text, match.index), message }));
}

export function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at >= 0 && at < index; at = text.indexOf("\n", at + 1)) line++;
  return line;
}

/**
 * The text with the inside of comments and string literals blanked out, same length and lines. Code in
 * `${}` stays. Regular expressions are told from divisions by what stands before them.
 */
export function codeOnly(text: string): string {
  const known = blanked.get(text);
  if (known !== undefined) return known;
  const code = blankOut(text);
  blanked.set(text, code);
  return code;
}

/** The rules ask for the same files again and again. */
const blanked = new Map<string, string>();

function blankOut(text: string): string {
  const out = text.split("");
  const blank = (from: number, to: number): void => {
    for (let i = from; i < to; i++) if (out[i] !== "\n") out[i] = " ";
  };
  /** Depth of braces at which each open template literal goes on. */
  const templates: number[] = [];
  let depth = 0;
  let at = 0;
  while (at < text.length) {
    const start = at;
    const two = text.slice(at, at + 2);
    const char = text[at];
    if (two === "//") {
      at = endOf(text, "\n", at);
      blank(start, at);
    } else if (two === "/*") {
      at = endOf(text, "*/", at + 2) + 2;
      blank(start, at);
    } else if (char === '"' || char === "'") {
      at = quoteEnd(text, at + 1, char);
      blank(start + 1, at - 1);
    } else if (char === "/" && startsRegExp(out, at)) {
      at = regExpEnd(text, at + 1);
      blank(start + 1, at - 1);
    } else if (char === "`" || (char === "}" && templates.at(-1) === depth)) {
      if (char === "}") templates.pop();
      const { end, opens } = templateEnd(text, at + 1);
      blank(start + 1, end);
      at = opens ? end + 2 : end + 1;
      if (opens) templates.push(depth);
    } else {
      if (char === "{") depth++;
      if (char === "}") depth--;
      at++;
    }
  }
  return out.join("");
}

function endOf(text: string, mark: string, from: number): number {
  const end = text.indexOf(mark, from);
  return end < 0 ? text.length : end;
}

function quoteEnd(text: string, from: number, quote: string): number {
  for (let at = from; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === quote || text[at] === "\n") return at + 1;
  }
  return text.length;
}

function regExpEnd(text: string, from: number): number {
  let inClass = false;
  for (let at = from; at < text.length; at++) {
    const char = text[at];
    if (char === "\\") at++;
    else if (char === "[") inClass = true;
    else if (char === "]") inClass = false;
    else if ((char === "/" && !inClass) || char === "\n") return at + 1;
  }
  return text.length;
}

/** Where this part of a template literal ends: at its backtick, or at a `${` (`opens`). */
function templateEnd(text: string, from: number): { end: number; opens: boolean } {
  for (let at = from; at < text.length; at++) {
    if (text[at] === "\\") at++;
    else if (text[at] === "`") return { end: at, opens: false };
    else if (text[at] === "$" && text[at + 1] === "{") return { end: at, opens: true };
  }
  return { end: text.length, opens: false };
}

/** A slash after an operator, an opening bracket or a keyword begins a regular expression. */
function startsRegExp(before: readonly string[], at: number): boolean {
  const text = before
    .slice(Math.max(0, at - 40), at)
    .join("")
    .trimEnd();
  return text === "" || /([(,=:[!&|?{};+\-*%<>~^]|\b(return|typeof|case|in|of|yield|await))$/.test(text);
}
