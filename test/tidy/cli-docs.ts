// docs/cli.md comes from the table of verbs.

import { cliReference, connectionReference } from "../../src/cli/help.ts";
import { VERBS } from "../../src/cli/verb-table.ts";
import type { Finding, Repository } from "./repository.ts";

const PATH = "docs/cli.md";

/** The text with its two made parts as they should be. */
export function withVerbs(text: string): string {
  return between(between(text, "connection flags", connectionReference()), "verbs", cliReference(VERBS).trimEnd());
}

function between(text: string, what: string, made: string): string {
  const [begin, end] = [`<!-- ${what}: made by npm run docs -->`, `<!-- /${what} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  return from < 0 || to < from ? text : `${text.slice(0, from)}${begin}\n${made}\n${text.slice(to)}`;
}

export function cliRule(repository: Repository): Finding[] {
  const text = repository.get(PATH) ?? "";
  if (text.includes("### quayside start") && withVerbs(text) === text) return [];
  return [{ path: PATH, line: 0, message: "differs from the table of verbs: npm run docs" }];
}
