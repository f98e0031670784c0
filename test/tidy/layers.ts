// Who may import whom. The table in ARCHITECTURE.md is the rule; here it is read and applied.

import { posix } from "node:path";
import { codeOnly, type Finding, lineAt, type Repository } from "./repository.ts";

export interface Layer {
  readonly name: string;
  /** Path prefixes that make up the layer. */
  readonly paths: readonly string[];
  /** Path prefixes that it may import; everything when it contains "*". */
  readonly mayImport: readonly string[];
}

/** Everybody may import the layer of this name. */
const SHARED_LAYER = "model";

/** Rows `| name | `path`, ... | `path`, ... |` below the heading "Layers". */
export function readLayers(architecture: string): Layer[] {
  const section = /^## Layers$([\s\S]*?)(?=^## )/m.exec(architecture)?.[1] ?? "";
  const layers: Layer[] = [];
  for (const line of section.split("\n")) {
    const cells = line.split("|").map((cell) => cell.trim());
    if (cells.length !== 5 || cells[1] === "Layer" || /^-+$/.test(cells[1] ?? "")) continue;
    layers.push({ name: cells[1] ?? "", paths: quoted(cells[2]), mayImport: quoted(cells[3]) });
  }
  return layers;
}

function quoted(cell = ""): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? "");
}

export function layerRule(repository: Repository): Finding[] {
  const layers = readLayers(repository.get("ARCHITECTURE.md") ?? "");
  if (layers.length < 5) return [{ path: "ARCHITECTURE.md", line: 0, message: "the layer table is missing" }];
  const findings: Finding[] = [];
  const shared = layers.find(({ name }) => name === SHARED_LAYER)?.paths ?? [];
  for (const [path, text] of repository) {
    if (!path.startsWith("src/") || !path.endsWith(".ts")) continue;
    const layer = layerOf(layers, path);
    if (layer === undefined) {
      findings.push({ path, line: 0, message: "belongs to no layer of ARCHITECTURE.md" });
      continue;
    }
    if (layer.mayImport.includes("*")) continue;
    const allowed = [...layer.paths, ...layer.mayImport, ...shared];
    for (const { line, target } of importsOf(path, text)) {
      if (!target.startsWith("src/") || allowed.some((prefix) => target.startsWith(prefix))) continue;
      findings.push({ path, line, message: `${layer.name} may not import ${target} (ARCHITECTURE.md, Layers)` });
    }
  }
  return findings;
}

/** The layer with the longest path prefix. */
function layerOf(layers: readonly Layer[], path: string): Layer | undefined {
  let best: Layer | undefined;
  let bestLength = -1;
  for (const layer of layers) {
    for (const prefix of layer.paths) {
      if (path.startsWith(prefix) && prefix.length > bestLength) [best, bestLength] = [layer, prefix.length];
    }
  }
  return best;
}

export interface Import {
  readonly line: number;
  /** Path from the root for a relative import, the name itself for a package. */
  readonly target: string;
}

/** Static, re-exporting and dynamic imports. */
export function importsOf(path: string, text: string): Import[] {
  const code = codeOnly(text);
  const imports: Import[] = [];
  for (const match of code.matchAll(/\b(?:from|import|import\s*\()\s*["']/g)) {
    const start = match.index + match[0].length;
    const target = text.slice(start, text.indexOf(text[start - 1] ?? '"', start));
    const resolved = target.startsWith(".") ? posix.normalize(posix.join(posix.dirname(path), target)) : target;
    imports.push({ line: lineAt(text, match.index), target: resolved });
  }
  return imports;
}

/** Source files that no program, test or public interface reaches: dead weight. */
export function deadFileRule(repository: Repository): Finding[] {
  const roots = [...repository.keys()].filter((path) => {
    return /^(test|bench|examples)\/.*\.ts$/.test(path) || path === "src/index.ts" || path === "src/cli/quayside.ts";
  });
  // What only tests reach is dead too: a file of src/ must be reached from src/.
  const reached = new Set<string>();
  const queue = roots.filter((path) => path.startsWith("src/") || /(^|\/)(main|gates)\.ts$/.test(path));
  for (const path of queue) {
    if (reached.has(path)) continue;
    reached.add(path);
    for (const { target } of importsOf(path, repository.get(path) ?? ""))
      if (repository.has(target)) queue.push(target);
  }
  return [...repository.keys()]
    .filter((path) => path.startsWith("src/") && path.endsWith(".ts") && !reached.has(path))
    .map((path) => ({ path, line: 0, message: "is reached by no program: remove it or use it" }));
}
