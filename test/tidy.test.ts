// The style and the layers as a test. Each rule is shown to fire on a planted violation: a rule that
// cannot fire guards nothing.

import assert from "node:assert/strict";
import { test } from "node:test";
import { banRule, nameRule } from "./tidy/bans.ts";
import * as docs from "./tidy/docs.ts";
import { routesRule } from "./tidy/http-docs.ts";
import { cliRule } from "./tidy/cli-docs.ts";
import { deadFileRule, layerRule } from "./tidy/layers.ts";
import { dependencyRule, lockRule } from "./tidy/packages.ts";
import { codeOnly, readRepository, type Repository, type Rule } from "./tidy/repository.ts";
import { sizeRule } from "./tidy/sizes.ts";
import { repositoryRoot } from "./unit/repository-root.ts";

const repository = readRepository(repositoryRoot(import.meta.url));

/** The repository with one file put in place of, or next to, what is there. */
function planted(path: string, change: string | ((text: string) => string)): Repository {
  const text = typeof change === "string" ? change : change(repository.get(path) ?? "");
  return new Map([...repository, [path, text]]);
}

interface Plant {
  readonly path: string;
  readonly change: string | ((text: string) => string);
  readonly finds: RegExp;
}

function rule(sentence: string, check: Rule, plants: readonly Plant[]): void {
  test(sentence, () => {
    const findings = check(repository).map(({ path, line, message }) => `${path}:${line}: ${message}`);
    if (findings.length > 0) assert.fail(findings.join("\n"));
    for (const { path, change, finds } of plants) {
      const found = check(planted(path, change)).map(({ path: at, message }) => `${at}: ${message}`);
      assert(
        found.some((line) => finds.test(line)),
        `planted in ${path}, not found: ${finds}`,
      );
    }
  });
}

const core = "src/queues/planted.ts";

rule("every import follows the layer table of ARCHITECTURE.md", layerRule, [
  { path: core, change: 'import { x } from "../broker/broker.ts";', finds: /queues may not import src\/broker/ },
  { path: core, change: 'import { x } from "../log/memory.ts";', finds: /queues may not import src\/log\/memory/ },
  { path: "src/model/planted.ts", change: 'export * from "../ports/net.ts";', finds: /model may not import/ },
  {
    path: "src/protocols/amqp091/planted.ts",
    change: 'const x = await import("../../queues/shard.ts");',
    finds: /may not import src\/queues/,
  },
  { path: "src/somewhere/planted.ts", change: "", finds: /belongs to no layer/ },
]);

rule("every source file is reached by the program or the public interface", deadFileRule, [
  { path: core, change: "export const unused = 1;", finds: /is reached by no program/ },
]);

rule("nothing that is banned is written", banRule, [
  { path: core, change: "const now = Date.now();", finds: /Clock port/ },
  { path: core, change: "const now = performance.now();", finds: /Clock port/ },
  { path: core, change: "setTimeout(() => {}, 1);", finds: /Clock port/ },
  { path: core, change: "setImmediate(run);", finds: /Turn port/ },
  { path: core, change: "const r = Math.random();", finds: /Random port/ },
  { path: core, change: 'import { randomBytes } from "node:crypto";', finds: /Random port/ },
  { path: core, change: 'import { readFileSync } from "node:fs";', finds: /ports\/ and runtime\// },
  { path: core, change: 'import { open } from "node:fs/promises";', finds: /ports\/ and runtime\// },
  { path: core, change: "export default function f() {}", finds: /export by name/ },
  { path: core, change: "export enum Kind { A }", finds: /union of literals/ },
  { path: core, change: "function f(x: any): void {}", finds: /use unknown/ },
  { path: core, change: "const x = y as any;", finds: /use unknown/ },
  { path: core, change: "try { f(); } catch {}", finds: /a catch answers/ },
  { path: core, change: "try { f(); } catch (error) { /* nothing */ }", finds: /a catch answers/ },
  { path: core, change: "// TODO later", finds: /say in a sentence/ },
  { path: core, change: "// @ts-ignore", finds: /instead of silencing/ },
  { path: "docs/planted.md", change: "see /home/someone/notes", finds: /paths of one machine/ },
  { path: "docs/planted.md", change: "from registry.npmjs.org", finds: /host names/ },
]);

rule("file names say what is inside", nameRule, [
  { path: "src/log/utils.ts", change: "", finds: /says nothing/ },
  { path: "src/log/queue-helper.ts", change: "", finds: /says nothing/ },
  { path: "src/log/LogStore.ts", change: "", finds: /kebab-case/ },
]);

rule("files, lines and functions stay within their sizes", sizeRule, [
  { path: core, change: "x;\n".repeat(701), finds: /has 701 lines/ },
  { path: core, change: `const sum = ${"a + ".repeat(40)}b;`, finds: /columns, at most 120/ },
  { path: core, change: `export function f(): void {\n${"  g();\n".repeat(70)}}\n`, finds: /function has 72 lines/ },
  {
    path: core,
    change: `class A {\n  f(\n    a: string,\n  ): void {\n${"    g();\n".repeat(70)}  }\n}\n`,
    finds: /function has 72 lines/,
  },
]);

rule("docs/errors.md lists exactly the refusals of model/errors.ts", docs.errorsRule, [
  { path: "docs/errors.md", change: (text) => text.replace("| `not-found` |", "| `lost` |"), finds: /lacks the row/ },
  {
    path: "docs/errors.md",
    change: (text) => `${text}\n| \`new\` | channel | no | x |\n`,
    finds: /differs from model/,
  },
]);

rule("docs/requirements.md has every number once, and what works names tests that exist", docs.requirementsRule, [
  {
    path: "docs/requirements.md",
    change: (text) => text.replace(/^\| 7 \|.*$/m, ""),
    finds: /number 7 is there 0 times/,
  },
  { path: "docs/requirements.md", change: (text) => text.replaceAll("`test/", "`test/no-"), finds: /does not exist/ },
  {
    path: "docs/requirements.md",
    change: (text) => text.replace(/^\| 100 \|.*$/m, "| 100 | x | works | |"),
    finds: /100 works without a test/,
  },
]);

rule("the README's table of what works comes from docs/requirements.md", docs.readmeRule, [
  { path: "docs/requirements.md", change: (text) => text.replace("| works |", "| planned |"), finds: /npm run docs/ },
]);

rule("links and file names in documents lead somewhere", docs.linkRule, [
  { path: "docs/planted.md", change: "[here](nowhere.md)", finds: /leads nowhere/ },
  { path: "docs/planted.md", change: "see `src/nowhere.ts`", finds: /does not exist/ },
]);

rule("docs/guarantees.md promises only what a linked test shows", docs.guaranteesRule, [
  { path: "docs/guarantees.md", change: (text) => `${text}\n- Everything is fine.\n`, finds: /no test is linked/ },
]);

rule("docs/cli.md lists every verb and flag as they are", cliRule, [
  { path: "docs/cli.md", change: (text) => text.replace("--dry-run", "--dry"), finds: /npm run docs/ },
]);

rule("every npm script and every setting is documented", docs.interfaceRule, [
  { path: "CONTRIBUTING.md", change: "", finds: /does not explain npm test/ },
  { path: "docs/configuration.md", change: "", finds: /lacks a row .*--amqp-port/ },
]);

rule("ARCHITECTURE.md stays short and complete", docs.architectureRule, [
  { path: "ARCHITECTURE.md", change: (text) => text + "x\n".repeat(300), finds: /at most 300/ },
]);

rule("the lock file names no host and every platform", lockRule, [
  {
    path: "package-lock.json",
    change: (text) => text.replace('"node_modules/@biomejs/cli-darwin-arm64"', '"node_modules/other"'),
    finds: /lacks its platform package @biomejs\/cli-darwin-arm64/,
  },
  {
    path: "package-lock.json",
    change: '{"packages": {"node_modules/a": {"resolved": "https://host/a.tgz", "hasInstallScript": true}}}',
    finds: /names a host/,
  },
]);

rule("whatever runs with the broker is listed in ARCHITECTURE.md with its reason", dependencyRule, [
  { path: "package.json", change: '{"dependencies": {"left-pad": "1"}}', finds: /left-pad has no reason/ },
  { path: core, change: 'import { pad } from "left-pad";', finds: /imports left-pad/ },
]);

test("the rules look at code only: comments, strings and regular expressions are blanked, ${} is kept", () => {
  const text = 'a("x {"); // b\nc(`d ${e({ f: "g" })} h`); /* i */ j(/[/"]k/, l / m / n);';
  const code = codeOnly(text);
  assert.equal(code.length, text.length);
  for (const name of ["a", "c", "e", "f", "j", "l", "m", "n"]) assert.match(code, new RegExp(`\\b${name}\\b`));
  for (const name of ["x", "b", "d", "g", "h", "i", "k"]) assert.doesNotMatch(code, new RegExp(`\\b${name}\\b`));
});

rule("docs/http-api.md lists the routes that there are", routesRule, [
  {
    path: "docs/http-api.md",
    change: (text) => text.replace("| GET | `/metrics` |", "| GET | `/metric` |"),
    finds: /tables differ/,
  },
]);
