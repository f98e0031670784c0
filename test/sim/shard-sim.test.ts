// The shard and the local log engine under simulation. QUAYSIDE_SIM_SEEDS=N tries N new seeds,
// QUAYSIDE_SIM_SEED=S runs one; `npm run sim -- --seeds N` does it with progress.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { firstKill, MUTANTS, plant } from "./mutants.ts";
import { ShardSim } from "./shard-sim.ts";

/** Seeds that failed once; each found a bug that is mended. */
const CORPUS = [6, 12, 18, 22, 39, 48, 113, 184, 195, 200, 225, 247, 284, 317, 327, 339, 375, 1546];
const NEW_SEEDS = Number(process.env["QUAYSIDE_SIM_SEEDS"] ?? 40);
const ONE_SEED = process.env["QUAYSIDE_SIM_SEED"];
/** A check of a change must not depend on luck: CI lives the same lives each time, developers new ones. */
const FIRST_SEED = process.env["CI"] === "true" ? 900_000 : randomInt(2 ** 40);

test("the same seed lives the same life twice", async () => {
  const first = await new ShardSim({ seed: 7 }).run();
  const second = await new ShardSim({ seed: 7 }).run();
  assert.deepEqual(first, second);
});

test("no confirmed message is lost, and nothing else goes wrong, in lives that once failed", async () => {
  for (const seed of CORPUS) await new ShardSim({ seed }).run();
});

test("no confirmed message is lost, and nothing else goes wrong, in new lives", async () => {
  const from = ONE_SEED === undefined ? FIRST_SEED : Number(ONE_SEED);
  const seeds = ONE_SEED === undefined ? NEW_SEEDS : 1;
  const totals = { published: 0, restarts: 0, snapshots: 0, cleaned: 0 };
  for (let seed = from; seed < from + seeds; seed++) {
    const result = await new ShardSim({ seed }).run();
    totals.published += result.published;
    totals.restarts += result.restarts;
    totals.snapshots += result.snapshots;
    totals.cleaned += result.cleaned;
  }
  assert.ok(totals.published > 0 && totals.restarts > 0, `seeds from ${from} did nothing`);
  if (seeds >= 40) assert.ok(totals.snapshots > 0 && totals.cleaned > 0, `seeds from ${from} never cleaned`);
});

for (const [index, mutant] of MUTANTS.entries()) {
  test(`the simulator finds a planted violation of order ${mutant.order}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), `quayside-mutant-${index}-`));
    try {
      const Sim = await plant(mutant, folder);
      const kill = await firstKill(Sim, { from: 1, seeds: 1000 });
      assert.ok(kill !== undefined, "not found within 1,000 seeds");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
}
