import assert from "node:assert/strict";
import { test } from "node:test";
import { memoryLimitBytes, startResourceMonitor } from "../../src/observe/resource-monitor.ts";
import type { Machine } from "../../src/ports/machine.ts";
import { createSilentLogger } from "../../src/runtime/console-logger.ts";

/** A clock whose one timer fires when the test says so. */
function handClock() {
  let next: (() => void) | undefined;
  return {
    wallMs: () => 0,
    monotonicMs: () => 0,
    after(_delayMs: number, run: () => void) {
      next = run;
      return { cancel: () => (next = undefined) };
    },
    /** Lets a second pass, and the promises that it started. */
    async tick(): Promise<void> {
      const run = next;
      next = undefined;
      run?.();
      await new Promise((resolve) => setImmediate(resolve));
    },
    get armed(): boolean {
      return next !== undefined;
    },
  };
}

async function start(usage: { resident: number; free: number | "unknown" }) {
  const clock = handClock();
  const alarms: string[] = [];
  const machine = { residentBytes: () => usage.resident } as Machine;
  const monitor = await startResourceMonitor({
    clock,
    machine,
    logger: createSilentLogger(),
    diskSpace: async () => {
      if (usage.free === "unknown") throw new Error("statfs failed");
      return { freeBytes: usage.free, totalBytes: 10_000 };
    },
    memoryLimitBytes: 1000,
    diskLimitBytes: 500,
    setAlarm: (resource, raised) => alarms.push(`${resource} ${raised}`),
  });
  return { clock, alarms, monitor };
}

test("alarms are up before the start is over when memory or disk are short already", async () => {
  const { alarms } = await start({ resident: 1001, free: 499 });
  assert.deepEqual(alarms, ["memory true", "disk true"]);
});

test("an alarm is lifted only some way below its limit, so that it does not flap", async () => {
  const usage = { resident: 900, free: 600 };
  const { clock, alarms } = await start(usage);
  Object.assign(usage, { resident: 1001, free: 499 });
  await clock.tick();
  Object.assign(usage, { resident: 990, free: 510 });
  await clock.tick();
  assert.deepEqual(alarms, ["memory true", "disk true"]);
  Object.assign(usage, { resident: 900, free: 600 });
  await clock.tick();
  assert.deepEqual(alarms.slice(2), ["memory false", "disk false"]);
});

test("a file system that does not tell its space neither raises nor lifts an alarm, and watching goes on", async () => {
  const usage: { resident: number; free: number | "unknown" } = { resident: 1, free: "unknown" };
  const { clock, alarms, monitor } = await start(usage);
  assert.deepEqual(alarms, []);
  usage.free = 100;
  await clock.tick();
  assert.deepEqual(alarms, ["disk true"]);
  assert.equal(monitor.diskFreeBytes, 100);
  monitor.stop();
  assert.equal(clock.armed, false);
});

test("the memory limit is a share of the machine, but on a small one not less than full caches take", () => {
  const mib = 1024 * 1024;
  assert.equal(memoryLimitBytes(10_000 * mib), 4000 * mib);
  assert.equal(memoryLimitBytes(512 * mib), 256 * mib);
  assert.equal(memoryLimitBytes(100 * mib), 80 * mib);
});
