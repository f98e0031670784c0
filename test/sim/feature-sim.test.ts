// Queues with features under simulation. QUAYSIDE_SIM_SEEDS=N tries N new seeds, QUAYSIDE_SIM_SEED=S runs one.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test } from "node:test";
import { FeatureSim } from "./feature-sim.ts";

/** A life with features takes about a quarter of a second. */
const NEW_SEEDS = Math.min(Number(process.env["QUAYSIDE_SIM_SEEDS"] ?? 40), 400);
const ONE_SEED = process.env["QUAYSIDE_SIM_SEED"];
/** A check of a change must not depend on luck: CI lives the same lives each time, developers new ones. */
const FIRST_SEED = process.env["CI"] === "true" ? 800_000 : randomInt(2 ** 40);

test("the same seed lives the same featured life twice", async () => {
  assert.deepEqual(await new FeatureSim({ seed: 3 }).run(), await new FeatureSim({ seed: 3 }).run());
});

test("whatever a queue's settings, a confirmed message is in exactly one place after a crash", async () => {
  const from = ONE_SEED === undefined ? FIRST_SEED : Number(ONE_SEED);
  const seeds = ONE_SEED === undefined ? NEW_SEEDS : 1;
  let deadLettered = 0;
  for (let seed = from; seed < from + seeds; seed++) {
    deadLettered += (await new FeatureSim({ seed }).run()).deadLettered;
  }
  assert.ok(deadLettered > 0 || seeds === 1, `seeds from ${from} had no dead letter`);
});
