// The demo end to end: 5,000 lines, a killed worker, a killed broker, nothing missing; and that its proof
// would notice.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { digestOf } from "../../src/cli/demo/lines.ts";
import { prove } from "../../src/cli/demo/proof.ts";
import { transform } from "../../src/cli/demo/transform.ts";
import { BUILD } from "./paths.ts";

const LINES = 5000;
const folder = mkdtempSync(join(tmpdir(), "quayside-demo-test-"));

function runDemo(...args: string[]): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [join(BUILD, "src/cli/quayside.js"), "demo", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const take = (chunk: Buffer): void => {
      output += chunk.toString();
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.once("close", (code) => resolve({ code, output }));
  });
}

/** Lines as a log has them: some empty, some long, some not ASCII. */
function logText(): string {
  const lines = Array.from({ length: LINES }, (_, i) => {
    if (i % 500 === 499) return "";
    const words = i % 7 === 0 ? "größer als ✓ ".repeat(i % 40) : "x ".repeat(i % 30);
    return `2026-11-23T06:${String(i % 60).padStart(2, "0")}:00 ${i % 11 === 0 ? "ERROR" : "info"} line ${i} ${words}`;
  });
  return `${lines.join("\n")}\n`;
}

describe("The demo", () => {
  after(() => rmSync(folder, { recursive: true, force: true }));

  test("stores every line although a worker and the broker are killed in the middle", async () => {
    const file = join(folder, "input.log");
    writeFileSync(file, logText());
    const { code, output } = await runDemo(file);
    assert.equal(code, 0, output);
    assert.match(output, /killed worker \d \(SIGKILL\) after \d+ lines/);
    assert.match(output, /killed the broker \(SIGKILL\) after \d+ lines; it was back in \d+ ms/);
    assert.match(output, new RegExp(`published +${LINES} lines confirmed`));
    assert.match(output, new RegExp(`stored +${LINES} lines`));
    assert.match(output, /missing +0\n/);
    assert.doesNotMatch(output, /NOT marked as redelivered|damaged/);
  });

  test("ends although the broker is killed while everybody closes, as with a single line", async () => {
    const file = join(folder, "one.log");
    writeFileSync(file, "one line\n");
    const { code, output } = await runDemo(file);
    assert.equal(code, 0, output);
    assert.match(output, /missing +0\n/);
  });

  test("names a file that it cannot read, or that is empty, and exits with 66", async () => {
    const empty = join(folder, "empty.log");
    writeFileSync(empty, "");
    for (const path of [join(folder, "absent.log"), empty]) {
      const { code, output } = await runDemo(path);
      assert.equal(code, 66, output);
      assert.ok(output.includes(path), output);
    }
  });

  test("proves a missing, a changed and a doubled line as what they are", () => {
    const lines = ["a", "b", "c", "d"].map((text, i) => ({ id: `f:${i + 1}`, text }));
    const stored = (id: string, text: string, redelivered = false): string =>
      `${JSON.stringify(transform({ id, text, redelivered, worker: 1 }))}\n`;
    const [one, two] = [join(folder, "one.jsonl"), join(folder, "two.jsonl")];
    writeFileSync(one, stored("f:1", "a") + stored("f:2", "changed"));
    writeFileSync(two, `${stored("f:1", "a", true)}${stored("f:4", "d")}${stored("f:4", "d")}{"id":"f:3","dig`);
    const proof = prove(lines, [one, two], new Set());
    assert.deepEqual(proof.missing, ["f:3"]);
    assert.deepEqual(proof.damaged, ["f:2"]);
    assert.deepEqual(proof.duplicates, [
      { id: "f:1", times: 2, explained: true },
      { id: "f:4", times: 2, explained: false },
    ]);
    assert.equal(transform({ id: "f:1", text: "a", redelivered: false, worker: 1 }).digest, digestOf("a"));
  });
});
