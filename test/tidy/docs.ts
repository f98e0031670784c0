// Documents that must agree with the code, with each other and with the tests they name.

import { posix } from "node:path";
import { BROKER_ERRORS } from "../../src/model/errors.ts";
import { type Setting, SETTINGS, variableOf } from "../../src/settings.ts";
import { type Finding, findAll, lineAt, type Repository } from "./repository.ts";

const REQUIREMENTS_LAST = 100;
const TABLE_BEGIN = "<!-- works: made from docs/requirements.md by npm run docs -->";
const TABLE_END = "<!-- /works -->";

/** docs/errors.md lists every refusal of the table in model/errors.ts, and no other. */
export function errorsRule(repository: Repository): Finding[] {
  const path = "docs/errors.md";
  const text = repository.get(path) ?? "";
  const expected = Object.entries(BROKER_ERRORS).map(([code, { scope, retryable, meaning }]) => {
    return `| \`${code}\` | ${scope} | ${retryable ? "yes" : "no"} | ${meaning} |`;
  });
  const rows = text.split("\n").filter((line) => /^\| `[a-z-]+` \| (request|channel|connection) \|/.test(line));
  const missing = expected.filter((row) => !rows.includes(row)).map((row) => `lacks the row ${row}`);
  const surplus = rows.filter((row) => !expected.includes(row)).map((row) => `differs from model/errors.ts: ${row}`);
  return [...missing, ...surplus].map((message) => ({ path, line: 0, message }));
}

export interface Requirement {
  readonly number: number;
  readonly text: string;
  readonly status: string;
  readonly tests: readonly string[];
}

/** Rows `| 1 | text | works | `test`, ... |` of docs/requirements.md. */
export function readRequirements(text: string): Requirement[] {
  return [...text.matchAll(/^\| (\d+) \| (.+?) \| (\w+) \|(.*)\|$/gm)].map(([, number, words, status, tests]) => ({
    number: Number(number),
    text: words ?? "",
    status: status ?? "",
    tests: [...(tests ?? "").matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ""),
  }));
}

/** Every number once; what works names a test, and every test that is named exists. */
export function requirementsRule(repository: Repository): Finding[] {
  const path = "docs/requirements.md";
  const requirements = readRequirements(repository.get(path) ?? "");
  const findings: Finding[] = [];
  const report = (message: string): void => void findings.push({ path, line: 0, message });
  for (let number = 1; number <= REQUIREMENTS_LAST; number++) {
    const count = requirements.filter((requirement) => requirement.number === number).length;
    if (count !== 1) report(`number ${number} is there ${count} times`);
  }
  for (const { number, status, tests } of requirements) {
    if (!["works", "partly", "planned"].includes(status)) report(`number ${number} has the unknown status ${status}`);
    if (status !== "planned" && tests.length === 0) report(`number ${number} ${status} without a test that shows it`);
    for (const test of tests) if (!repository.has(test)) report(`number ${number} names ${test}, which does not exist`);
  }
  return findings;
}

/** The README's table of what works, as docs/requirements.md has it. */
export function worksTable(requirementsText: string): string {
  const rows = readRequirements(requirementsText)
    .filter(({ status }) => status !== "planned")
    .map(({ number, text, status }) => `| ${number} | ${text} | ${status} |`);
  return [TABLE_BEGIN, "| # | What | Today |", "|---|---|---|", ...rows, TABLE_END].join("\n");
}

/** `readme` with its table replaced; unchanged when it has no place for one. */
export function withWorksTable(readme: string, requirementsText: string): string {
  const begin = readme.indexOf(TABLE_BEGIN);
  const end = readme.indexOf(TABLE_END);
  if (begin < 0 || end < begin) return readme;
  return readme.slice(0, begin) + worksTable(requirementsText) + readme.slice(end + TABLE_END.length);
}

export function readmeRule(repository: Repository): Finding[] {
  const path = "README.md";
  const readme = repository.get(path) ?? "";
  if (readme.includes(worksTable(repository.get("docs/requirements.md") ?? ""))) return [];
  return [{ path, line: 0, message: "its table of what works differs from docs/requirements.md: npm run docs" }];
}

/** Relative links, and tests and sources named in backticks, lead somewhere. */
export function linkRule(repository: Repository): Finding[] {
  const findings: Finding[] = [];
  for (const [path, text] of repository) {
    if (!path.endsWith(".md")) continue;
    for (const match of text.matchAll(/\]\(([^)#\s]+)(#[^)]*)?\)/g)) {
      const link = match[1] ?? "";
      if (/^[a-z]+:/.test(link)) continue;
      const target = posix.normalize(posix.join(posix.dirname(path), link)).replace(/\/$/, "");
      const known = repository.has(target) || [...repository.keys()].some((file) => file.startsWith(`${target}/`));
      if (!known) findings.push({ path, line: lineAt(text, match.index), message: `the link ${link} leads nowhere` });
    }
    for (const match of text.matchAll(/`((?:src|test|bench|scripts|docs)\/[\w./-]+\.(?:ts|mjs|md))`/g)) {
      const target = match[1] ?? "";
      if (repository.has(target)) continue;
      findings.push({ path, line: lineAt(text, match.index), message: `names ${target}, which does not exist` });
    }
  }
  return findings;
}

/** docs/guarantees.md promises nothing without a link to the test that shows it. */
export function guaranteesRule(repository: Repository): Finding[] {
  const path = "docs/guarantees.md";
  const text = repository.get(path) ?? "";
  // A promise is a list item with its continuation lines.
  const promises = text.match(/^- .*(\n {2}.*)*/gm) ?? [];
  if (promises.length === 0) return [{ path, line: 0, message: "has no promise" }];
  return promises
    .filter((line) => !/\]\(\.\.\/test\/[^)]+\)/.test(line))
    .map((line) => ({ path, line: 0, message: `no test is linked: ${line}` }));
}

/** Every npm script is explained in CONTRIBUTING.md, every setting in docs/configuration.md. */
export function interfaceRule(repository: Repository): Finding[] {
  const findings: Finding[] = [];
  const { scripts } = JSON.parse(repository.get("package.json") ?? "{}") as { scripts: Record<string, string> };
  const contributing = repository.get("CONTRIBUTING.md") ?? "";
  for (const name of Object.keys(scripts)) {
    const command = name === "start" || name === "test" ? `npm ${name}` : `npm run ${name}`;
    if (name === "prepack" || contributing.includes(command)) continue;
    findings.push({ path: "CONTRIBUTING.md", line: 0, message: `does not explain ${command}` });
  }
  const configuration = repository.get("docs/configuration.md") ?? "";
  for (const setting of SETTINGS) {
    const { name, fallback, secret }: Setting = setting;
    const quoted = (text: string): string => (text === "" ? "" : `\`${text}\` `);
    const row = `| ${quoted(secret === true ? "" : `--${name}`)}| ${quoted(variableOf(name))}| ${quoted(fallback)}|`;
    if (configuration.includes(row)) continue;
    findings.push({ path: "docs/configuration.md", line: 0, message: `lacks a row that begins ${row}` });
  }
  return findings;
}

/** A page that nobody keeps short is a page that nobody reads. */
export function architectureRule(repository: Repository): Finding[] {
  const path = "ARCHITECTURE.md";
  const text = repository.get(path) ?? "";
  const lines = text.split("\n").length - 1;
  const findings = lines > 300 ? [{ path, line: 0, message: `has ${lines} lines, at most 300` }] : [];
  return [...findings, ...findAll(path, text, /\bplaceholder\b|\btbd\b/gi, "say it or leave it out")];
}
