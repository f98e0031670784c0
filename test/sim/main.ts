// `npm run sim`: simulated lives by the thousand, with progress.

import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import { ShardSim } from "./shard-sim.ts";

const USAGE = `usage: npm run sim -- [options]

Runs the shard and the log engine on a simulated disk and clock that fail.

  --seed N         run this seed (and print what it did)
  --seeds N        run N seeds (default 1000)
  --from N         the first of them (default: random)
  --operations N   operations of a life (default 400)
  --help           this text`;

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string", default: "1000" },
    from: { type: "string" },
    operations: { type: "string", default: "400" },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(USAGE);
} else {
  const from = Number(values.seed ?? values.from ?? randomInt(2 ** 40));
  const seeds = values.seed === undefined ? Number(values.seeds) : 1;
  process.exitCode = await run(from, seeds, Number(values.operations));
}

async function run(from: number, seeds: number, operations: number): Promise<number> {
  let failures = 0;
  const totals = { published: 0, delivered: 0, restarts: 0, snapshots: 0, cleaned: 0, full: 0 };
  for (let i = 0; i < seeds; i++) {
    try {
      const result = await new ShardSim({ seed: from + i, operations }).run();
      totals.published += result.published;
      totals.delivered += result.delivered;
      totals.restarts += result.restarts;
      totals.snapshots += result.snapshots;
      totals.cleaned += result.cleaned;
      if (result.spaceWasLow) totals.full++;
    } catch (error) {
      failures++;
      console.log(`FAILED ${(error as Error).message}\n  again: npm run sim -- --seed ${from + i}`);
    }
    if ((i + 1) % 100 === 0) console.log(`${i + 1} of ${seeds} lives, ${failures} failed`);
  }
  console.log(
    `${seeds} lives from seed ${from}: ${totals.published} messages published, ${totals.delivered} delivered, ` +
      `${totals.restarts} restarts, ${totals.snapshots} snapshots, ${totals.cleaned} extents cleaned, ` +
      `${totals.full} lives with a full disk; ${failures} failed`,
  );
  return failures === 0 ? 0 : 1;
}
