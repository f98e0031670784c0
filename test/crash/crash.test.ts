// A short crash loop on the built broker. `npm run crash -- --cycles 200` is the long one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { runCrashLoop } from "./crash-loop.ts";

/** A slow disk or a busy machine stretches the lazy commit; `npm run crash -- --slack-ms 50` asks for less. */
const SLACK_MS = 1000;
const CYCLES = process.env["QUAYSIDE_TEST_ALL"] === "1" ? 20 : 4;

test("after kill -9 every confirmed message is still delivered, in order, and repeats are marked", async (context) => {
  const seed = Date.now() % 0x1_0000_0000;
  const result = await runCrashLoop({
    seed,
    cycles: CYCLES,
    slackMs: SLACK_MS,
    drainEvery: 2,
    report: (line) => context.diagnostic(line),
  });
  assert.deepEqual(result.violations, [], `seed ${seed}`);
  assert.ok(result.counts.confirmed > 0, "the loop confirmed nothing");
  assert.ok(result.counts.acked > 0, "the loop acked nothing");
});

test("the crash loop itself reports a confirmed message that is missing", async (context) => {
  const result = await runCrashLoop({
    seed: 1,
    cycles: 1,
    slackMs: SLACK_MS,
    drainEvery: 1,
    plantLoss: true,
    report: (line) => context.diagnostic(line),
  });
  assert.equal(result.violations.length, 1, result.violations.join("\n"));
  assert.match(result.violations[0] ?? "", /^crash\.classic: message 4:1 is lost/);
});
