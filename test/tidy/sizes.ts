// Sizes: of lines, files and functions. Budgets that keep a file readable, not goals.

import { codeOnly, type Finding, type Repository } from "./repository.ts";

const LINES_MAX = 700;
const COLUMNS_MAX = 120;
const FUNCTION_LINES_MAX = 70;

export function sizeRule(repository: Repository): Finding[] {
  const findings: Finding[] = [];
  for (const [path, text] of repository) {
    if (!/\.(ts|mjs)$/.test(path)) continue;
    const lines = text.split("\n");
    if (lines.length - 1 > LINES_MAX) {
      findings.push({ path, line: 0, message: `has ${lines.length - 1} lines, at most ${LINES_MAX}` });
    }
    lines.forEach((line, index) => {
      // A line that is one long text or link cannot be broken.
      if (line.length > COLUMNS_MAX && !/^\s*\S+$/.test(line) && !/https?:\/\//.test(line) && !isOneString(line)) {
        findings.push({ path, line: index + 1, message: `has ${line.length} columns, at most ${COLUMNS_MAX}` });
      }
    });
    if (/^(src|scripts|bench)\//.test(path)) findings.push(...longFunctions(path, text));
  }
  return findings;
}

/** A line that the formatter leaves long because one string or regular expression fills it. */
function isOneString(line: string): boolean {
  const longest = Math.max(
    0,
    ...[...line.matchAll(/"[^"]*"|'[^']*'|`[^`]*`|\/[^/\s].*\//g)].map(([text]) => text.length),
  );
  return longest > COLUMNS_MAX / 2;
}

/** Functions by their indentation: from the line that opens the body to the brace in the same column. */
function longFunctions(path: string, text: string): Finding[] {
  const findings: Finding[] = [];
  const lines = codeOnly(text).split("\n");
  const open: { indent: number; line: number }[] = [];
  lines.forEach((line, index) => {
    const indent = line.length - line.trimStart().length;
    const last = open.at(-1);
    if (last !== undefined && indent === last.indent && line.trimStart().startsWith("}")) {
      open.pop();
      const length = index - last.line + 1;
      if (length > FUNCTION_LINES_MAX) {
        const message = `this function has ${length} lines, at most ${FUNCTION_LINES_MAX}`;
        findings.push({ path, line: last.line + 1, message });
      }
    }
    if (opensFunction(line)) open.push({ indent, line: index });
  });
  return findings;
}

function opensFunction(line: string): boolean {
  if (!line.trimEnd().endsWith("{")) return false;
  if (/=>\s*\{$/.test(line.trimEnd()) || /\bfunction\b/.test(line)) return true;
  if (
    /^\s*\}?\s*(if|else|for|while|switch|do|try|catch|finally|class|interface|return|export (const|interface|class))\b/.test(
      line,
    )
  ) {
    return false;
  }
  // A method `name(...) {`, or the last line of a header over several lines: `): Type {`.
  return /^\s*([\w#*[\]. ]+\(.*\)|\))(:.*)?\s*\{$/.test(line.trimEnd()) && !/[=;]\s*\{$/.test(line);
}
