// What may not be written, each with what to do instead.

import { codeOnly, findAll, type Finding, type Repository } from "./repository.ts";

interface Ban {
  readonly pattern: RegExp;
  readonly message: string;
  readonly applies: (path: string) => boolean;
  /** Look at comments and strings too. */
  readonly inText?: boolean;
}

const isTypeScript = (path: string): boolean => path.endsWith(".ts");
/** runtime/ is the one place that touches the world; the demo is a client program that happens to ship. */
const isCore = (path: string): boolean =>
  path.startsWith("src/") && !path.startsWith("src/runtime/") && !path.startsWith("src/cli/demo");
const isOurs = (path: string): boolean => /\.(ts|mjs)$/.test(path);

const BANS: readonly Ban[] = [
  { pattern: /\bDate\.now\b|\bnew Date\(\)/g, message: "time comes from the Clock port", applies: isCore },
  { pattern: /\bperformance\.now\b/g, message: "time comes from the Clock port", applies: isCore },
  { pattern: /\b(setTimeout|setInterval)\(/g, message: "timers come from the Clock port", applies: isCore },
  { pattern: /\b(setImmediate|process\.nextTick)\(/g, message: "turns come from the Turn port", applies: isCore },
  {
    pattern: /\bMath\.random\b|\brandom(Bytes|UUID|Int|FillSync|Fill)\b|\bgetRandomValues\b/g,
    message: "randomness comes from the Random port",
    applies: isCore,
  },
  {
    pattern:
      /["']node:(fs|net|tls|http|https|http2|dgram|dns|os|worker_threads|child_process|perf_hooks|timers)(\/\w+)?["']/g,
    message: "the outside world is reached through ports/ and runtime/",
    applies: isCore,
    inText: true,
  },
  { pattern: /\bexport default\b/g, message: "export by name", applies: isTypeScript },
  { pattern: /\benum\s+\w+\s*\{/g, message: "use a union of literals or constants", applies: isTypeScript },
  {
    pattern: /(:|\bas|<|\||=>)\s*any\b|\bany(\[\]|>)/g,
    message: "use unknown and look at the value",
    applies: isTypeScript,
  },
  {
    pattern: /\bcatch\s*(\([^)]*\))?\s*\{\s*\}/g,
    message: "a catch answers, rethrows or says why not",
    applies: isOurs,
  },
  {
    pattern: /\b(TODO|FIXME|XXX|HACK)\b/g,
    message: "do it, or say in a sentence why it is as it is",
    applies: (path) => isOurs(path) && !path.startsWith("test/tidy"),
    inText: true,
  },
  {
    pattern: /@ts-(ignore|nocheck|expect-error)|(biome|oxlint|eslint)-(ignore|disable)/g,
    message: "repair it instead of silencing the check",
    applies: (path) => isTypeScript(path) && !path.startsWith("test/tidy"),
    inText: true,
  },
  {
    pattern: /(^|[\s"'`(=])(\/work\/|\/home\/\w|\/Users\/\w|\/root\/|\/tmp\/\w|[A-Z]:\\Users\\)|(\.\.\/)+shared\//g,
    message: "no paths of one machine",
    applies: (path) => !path.startsWith("test/tidy"),
    inText: true,
  },
  {
    pattern: /registry\.\w+\.(org|com|io)\b/g,
    message: "no host names of package registries",
    applies: (path) => !path.startsWith("test/tidy"),
    inText: true,
  },
];

export function banRule(repository: Repository): Finding[] {
  const findings: Finding[] = [];
  for (const [path, text] of repository) {
    const code = isOurs(path) ? codeOnly(text) : text;
    for (const { pattern, message, applies, inText } of BANS) {
      if (applies(path)) findings.push(...findAll(path, inText === true ? text : code, pattern, message));
    }
  }
  return findings;
}

/** Names that say nothing about what is inside, and names that are not kebab-case. */
export function nameRule(repository: Repository): Finding[] {
  const findings: Finding[] = [];
  for (const path of repository.keys()) {
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (/(^|-)(utils?|helpers?|managers?|commons?|misc)[-.]/i.test(name)) {
      findings.push({ path, line: 0, message: "the name says nothing: name the noun or verb inside" });
    }
    if (path.endsWith(".ts") && !/^[a-z0-9]+(-[a-z0-9]+)*(\.test|\.d)?\.ts$/.test(name)) {
      findings.push({ path, line: 0, message: "file names are kebab-case" });
    }
  }
  return findings;
}
