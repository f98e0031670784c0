// The package as its users get it: packed, installed without a network, run, and embedded.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { VERSION } from "../../src/version.ts";
import { repositoryRoot } from "./repository-root.ts";

const run = promisify(execFile);
const root = repositoryRoot(import.meta.url);
const folder = mkdtempSync(join(tmpdir(), "quayside-package-"));
const installed = join(folder, "app");
/** The packed files, bytes. */
const SIZE_MAX = 1_000_000;

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}
let packed: Packed;

before(async () => {
  const pack = ["pack", "--ignore-scripts", "--json", "--pack-destination", folder];
  const { stdout } = await run("npm", pack, { cwd: root });
  packed = (JSON.parse(stdout) as Packed[])[0]!;
  mkdirSync(installed);
  writeFileSync(join(installed, "package.json"), '{"name": "app", "private": true, "type": "module"}');
  // What the package depends on comes from where it was tested: a cache of packages need not know it.
  const dependencies = runtimePackages().map((name) => join(root, name));
  const flags = ["--offline", "--ignore-scripts", "--install-links", "--no-audit", "--no-fund"];
  const install = ["install", ...flags, join(folder, packed.filename), ...dependencies];
  await run("npm", install, { cwd: installed });
});

/** Folders of the packages that run with the broker, from the lock file. */
function runtimePackages(): readonly string[] {
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { dev?: boolean; devOptional?: boolean }>;
  };
  const isRuntime = ([name, { dev, devOptional }]: [string, { dev?: boolean; devOptional?: boolean }]): boolean => {
    return name !== "" && dev !== true && devOptional !== true;
  };
  return Object.entries(lock.packages)
    .filter(isRuntime)
    .map(([name]) => name);
}

after(() => rmSync(folder, { recursive: true, force: true }));

test("the package holds the program, its types and the documents, and nothing else", () => {
  const paths = packed.files.map(({ path }) => path);
  const needed = ["package.json", "README.md", "LICENSE", "NOTICE", "bin/quayside.mjs", "dist/src/index.js"];
  for (const path of [...needed, "dist/src/index.d.ts"]) assert(paths.includes(path), `${path} is missing`);
  const allowed = /^(package\.json|README\.md|LICENSE|NOTICE|[A-Z]+\.md|bin\/|docs\/|dist\/src\/|examples\/)/;
  assert.deepEqual(
    paths.filter((path) => !allowed.test(path) || path.endsWith(".map") || path.includes(".test.")),
    [],
  );
  assert(packed.size < SIZE_MAX, `${packed.size} bytes packed`);
});

test("an installed package runs as a command and knows its version", async () => {
  const { stdout } = await run("npx", ["--offline", "quayside", "--version"], { cwd: installed });
  assert.equal(stdout.trim(), VERSION);
  const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  assert.equal(manifest.version, VERSION);
});

const EMBEDDING = `
import { type RunningBroker, startBroker, VERSION } from "quayside";
const broker: RunningBroker = await startBroker({ memory: true, amqpPort: 0, hosts: ["127.0.0.1"] });
const port: number | undefined = broker.addresses[0]?.port;
if (port === undefined || VERSION === "") throw new Error("no address");
await broker.close();
export const done: string = "closed";
`;

test("an embedding program type-checks strictly against the package and runs", async () => {
  writeFileSync(join(installed, "embed.ts"), EMBEDDING);
  const options = ["--strict", "--module", "nodenext", "--target", "es2023", "--types", "", "--outDir", "out"];
  const tsc = join(root, "node_modules", "typescript", "bin", "tsc");
  await run(process.execPath, [tsc, ...options, "embed.ts"], { cwd: installed });
  const program = 'const { done } = await import("./out/embed.js"); console.log(done);';
  const { stdout } = await run(process.execPath, ["--input-type=module", "-e", program], { cwd: installed });
  assert.equal(stdout.trim(), "closed");
});
