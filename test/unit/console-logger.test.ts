// The operator's log: forms, levels, and repeated lines.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "../../src/ports/clock.ts";
import { createLogger } from "../../src/runtime/console-logger.ts";

interface World {
  readonly clock: Clock;
  readonly lines: string[];
  readonly write: (line: string) => void;
  /** Runs the timers that are due after so many more milliseconds. */
  readonly pass: (ms: number) => void;
}

function world(): World {
  let nowMs = 0;
  let timers: { dueMs: number; run: () => void }[] = [];
  const lines: string[] = [];
  return {
    lines,
    write: (line) => lines.push(line.replace(/^\S+ /, "")),
    clock: {
      wallMs: () => 1_700_000_000_000 + nowMs,
      monotonicMs: () => nowMs,
      after(delayMs, run) {
        const timer = { dueMs: nowMs + delayMs, run };
        timers.push(timer);
        return { cancel: () => (timers = timers.filter((other) => other !== timer)) };
      },
    },
    pass: (ms) => {
      nowMs += ms;
      for (const timer of timers.filter(({ dueMs }) => dueMs <= nowMs)) {
        timers = timers.filter((other) => other !== timer);
        timer.run();
      }
    },
  };
}

test("a line that comes again is counted, and the count is told when the time is over", () => {
  const { clock, lines, write, pass } = world();
  const logger = createLogger({ format: "text", level: "info", clock, write });
  for (let i = 0; i < 1000; i++) {
    logger.warn("login refused", { peer: "10.0.0.1" });
    logger.info("connection closed", { peer: "10.0.0.1" });
  }
  logger.warn("login refused", { peer: "10.0.0.2" });
  assert.equal(lines.length, 3);
  pass(10_000);
  assert.deepEqual(lines.slice(3), [
    "warn  login refused (repeated 999 times) peer=10.0.0.1\n",
    "info  connection closed (repeated 999 times) peer=10.0.0.1\n",
  ]);
  logger.warn("login refused", { peer: "10.0.0.2" });
  assert.equal(lines.at(-1), "warn  login refused peer=10.0.0.2\n");
});

test("what is still counted when the process ends is told, and many different lines are all written", () => {
  const { clock, lines, write } = world();
  const logger = createLogger({ format: "text", level: "info", clock, write });
  logger.error("x");
  logger.error("x");
  logger.flush();
  assert.deepEqual(lines, ["error x\n", "error x (repeated once more)\n"]);
  for (let i = 0; i < 500; i++) logger.info(`line ${i}`);
  assert.equal(lines.length, 502);
});

test("the level may change while the process runs, and JSON lines are JSON", () => {
  const { clock, write, lines } = world();
  const logger = createLogger({ format: "json", level: "warn", clock, write: (line) => write(`x ${line}`) });
  logger.info("hidden");
  logger.setLevel("debug");
  logger.debug("shown", { a: 1, b: 'quo"te\n' });
  assert.equal(lines.length, 1);
  const parsed = JSON.parse(lines[0] ?? "") as Record<string, unknown>;
  assert.deepEqual([parsed.level, parsed.message, parsed.a, parsed.b], ["debug", "shown", 1, 'quo"te\n']);
});

test("text from outside cannot start a line of its own", () => {
  const { clock, write, lines } = world();
  const logger = createLogger({ format: "text", level: "info", clock, write });
  logger.info("evil\n2026 error forged", { user: "a\nb" });
  assert.deepEqual(lines, ['info  evil | 2026 error forged user="a\\nb"\n']);
});
