import assert from "node:assert/strict";
import { test } from "node:test";
import { ShardTime } from "../../src/queues/shard-time.ts";

test("a wall clock that is set while the shard runs changes nothing, and time goes on", () => {
  let [wallMs, monotonicMs] = [1_700_000_000_000, 500.25];
  const clock = { wallMs: () => wallMs, monotonicMs: () => monotonicMs, after: () => ({ cancel: () => undefined }) };
  const time = new ShardTime(clock);
  assert.equal(time.nowMs(), 1_700_000_000_000);
  for (const stepMs of [3_600_000, -7_200_000]) {
    wallMs += stepMs;
    const before = time.nowMs();
    monotonicMs += 10;
    assert.equal(time.nowMs(), before + 10);
  }
});
