// package.json and package-lock.json: what is taken from others, and that it can be had everywhere.

import { importsOf } from "./layers.ts";
import type { Finding, Repository } from "./repository.ts";

interface LockEntry {
  readonly resolved?: string;
  readonly hasInstallScript?: boolean;
  readonly dev?: boolean;
  readonly optional?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** The lock names no host, and lists the native package of every platform of the tools it pins. */
export function lockRule(repository: Repository): Finding[] {
  const path = "package-lock.json";
  const lock = JSON.parse(repository.get(path) ?? "{}") as { packages?: Record<string, LockEntry> };
  const packages = new Map(Object.entries(lock.packages ?? {}));
  const findings: Finding[] = [];
  const report = (message: string): void => void findings.push({ path, line: 0, message });
  if (packages.size === 0) report("lists no package");
  for (const [name, entry] of packages) {
    if (/^https?:/.test(entry.resolved ?? "")) report(`${name} names a host: ${entry.resolved}`);
    if (entry.hasInstallScript === true && entry.dev !== true) report(`${name} needs an install script`);
    for (const optional of Object.keys(entry.optionalDependencies ?? {})) {
      if (!packages.has(`node_modules/${optional}`)) report(`${name} lacks its platform package ${optional}`);
    }
  }
  return findings;
}

/** Every package that runs with the broker stands in ARCHITECTURE.md with its reason. */
export function dependencyRule(repository: Repository): Finding[] {
  const architecture = repository.get("ARCHITECTURE.md") ?? "";
  const section = /^## Runtime dependencies$([\s\S]*?)(?=^## |(?![\s\S]))/m.exec(architecture)?.[1] ?? "";
  const { dependencies = {} } = JSON.parse(repository.get("package.json") ?? "{}") as {
    dependencies?: Record<string, string>;
  };
  const findings: Finding[] = [];
  const listed = (name: string): boolean => section.includes(`\`${name}\``);
  for (const name of Object.keys(dependencies)) {
    if (!listed(name))
      findings.push({ path: "package.json", line: 0, message: `${name} has no reason in ARCHITECTURE.md` });
  }
  for (const [path, text] of repository) {
    if (!path.startsWith("src/") || !path.endsWith(".ts")) continue;
    for (const { line, target } of importsOf(path, text)) {
      if (target.startsWith("src/") || target.startsWith("node:")) continue;
      if (!listed(target))
        findings.push({ path, line, message: `imports ${target}, which ARCHITECTURE.md does not list` });
    }
  }
  return findings;
}
