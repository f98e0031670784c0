// The planted violations: for each order that no optimisation may break (ARCHITECTURE.md), the built
// code with that order broken. The simulator runs on the broken copy and must find out; a mutant that
// survives means that the simulator is blind there.

import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

export interface Mutant {
  readonly order: string;
  /** Path below src/, without the extension. */
  readonly file: string;
  readonly from: RegExp;
  readonly to: string;
  /** Who lives the lives that find it; default: the shard's. */
  readonly lives?: "features";
}

/** A life from a seed; it throws when a check fails. */
export type Life = new (options: { readonly seed: number }) => { run(): Promise<unknown> };

export const MUTANTS: readonly Mutant[] = [
  {
    order: "1: an extent is freed only when what emptied it is committed",
    file: "queues/extents",
    from: /extent\.emptiedAt <= committed && end <= before/,
    to: "true",
  },
  {
    order: "2: a snapshot counts only once the log is committed beyond what it contains",
    file: "queues/snapshotter",
    from: /this\.shard\.journal\.committed >= run\.end/,
    to: "true",
  },
  {
    // The chain alone (stale entries that line up with a new epoch) has a test in unit/log-local.test.ts:
    // a random life hardly ever gets there.
    order: "3: a torn tail is told from damage, and stale entries never line up",
    file: "log/local/scan",
    from: /found\.prevCrc !== crc \|\| !entryIsIntact\(window\.view\(offset\), 0, found, key\)/,
    to: "false",
  },
  {
    order: "4: a full disk must still allow draining: publishers stop earlier",
    file: "queues/open-shard",
    from: /setup\.events\.onSpace\(space\);/,
    to: "",
  },
  {
    order: "5: a duplicate is confirmed only when its original is committed",
    file: "queues/enqueuing",
    from: /waitFor = Math\.max\(waitFor, original\)/,
    to: "waitFor = 0",
    lives: "features",
  },
  {
    order: "6: a confirm leaves after the watermark passed it",
    file: "queues/shard",
    from: /get committed\(\) \{\s*return this\.journal\.committed;/,
    to: "get committed() { return this.journal.openPosition;",
  },
];

/** The simulator class of a copy of the built tree in which `mutant` is planted. */
export async function plant(mutant: Mutant, folder: string): Promise<Life> {
  const built = fileURLToPath(new URL("../../", import.meta.url));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const part of ["src", "test/sim", "test/unit"])
    cpSync(join(built, part), join(folder, part), { recursive: true });
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
  const path = join(folder, "src", `${mutant.file}.js`);
  const code = readFileSync(path, "utf8");
  if (code.match(mutant.from) === null)
    throw new Error(`${dirname(path)}: the place to plant "${mutant.order}" is gone`);
  writeFileSync(path, code.replace(mutant.from, mutant.to));
  const life = mutant.lives === "features" ? "feature-sim" : "shard-sim";
  const module = (await import(pathToFileURL(join(folder, `test/sim/${life}.js`)).href)) as {
    readonly ShardSim?: Life;
    readonly FeatureSim?: Life;
  };
  const Sim = module.ShardSim ?? module.FeatureSim;
  if (Sim === undefined) throw new Error(`${life} exports no life`);
  return Sim;
}

/** The first seed from `from` on whose life finds the violation, or undefined. */
export async function firstKill(
  Sim: Life,
  { from, seeds }: { readonly from: number; readonly seeds: number },
): Promise<{ readonly seed: number; readonly message: string } | undefined> {
  for (let seed = from; seed < from + seeds; seed++) {
    try {
      await new Sim({ seed }).run();
    } catch (error) {
      return { seed, message: (error as Error).message };
    }
  }
  return undefined;
}
