// npm run crash -- --cycles 200: kills the broker again and again, and says whether a promise was broken.

import { parseArgs } from "node:util";
import { runCrashLoop } from "./crash-loop.ts";

const HELP = `usage: npm run crash -- [options]

Publishes, consumes, kills the broker with kill -9, restarts it on the same data, and checks that
nothing that was promised is lost, out of order or unmarked.

  --cycles N      kills (default 50)
  --seed N        repeats the plan of an earlier run (default: a new seed, printed)
  --slack-ms N    how long before a kill marks and acks may be forgotten (default 1000)
  --drain-every N cycles between two complete drains (default 5)
`;

function wholeNumber(text: string | undefined, fallback: number): number {
  const value = Number(text ?? fallback);
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`not a whole number: ${text}`);
  return value;
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      cycles: { type: "string" },
      seed: { type: "string" },
      "slack-ms": { type: "string" },
      "drain-every": { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const seed = wholeNumber(values.seed, Date.now() % 0x1_0000_0000);
  process.stdout.write(`seed ${seed}\n`);
  const result = await runCrashLoop({
    seed,
    cycles: wholeNumber(values.cycles, 50),
    slackMs: wholeNumber(values["slack-ms"], 1000),
    drainEvery: Math.max(1, wholeNumber(values["drain-every"], 5)),
    report: (line) => process.stdout.write(`${line}\n`),
  });
  for (const violation of result.violations) process.stdout.write(`VIOLATION ${violation}\n`);
  process.stdout.write(`seed ${seed}: ${result.violations.length} violations\n`);
  return result.violations.length === 0 ? 0 : 1;
}

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`crash: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
});
