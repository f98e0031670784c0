// Command line of the benchmark.

import { parseArgs } from "node:util";
import { defaultQuaysideCommand } from "./servers.ts";

export interface BenchOptions {
  readonly quick: boolean;
  /** Names of scenarios; empty runs them all. */
  readonly only: readonly string[];
  readonly rounds: number;
  readonly peer: boolean;
  readonly json: string | undefined;
  readonly markdown: string | undefined;
  readonly quaysideCommand: readonly string[];
}

export const HELP = `usage: npm run bench -- [options]

Compares Quayside with RabbitMQ on this machine: interleaved rounds, medians, ratios.

  --quick              short runs, one round, figures are shown but not judged
  --only NAME[,NAME]   run these scenarios only
  --rounds N           rounds (default 3)
  --no-peer            measure Quayside alone
  --json FILE          write every sample to FILE
  --markdown FILE      write the table to FILE as well as to the screen
  --quayside-cmd CMD   the command that starts Quayside, without its flags
  --list               print the names of the scenarios
`;

export interface Parsed {
  readonly options: BenchOptions;
  readonly list: boolean;
  readonly help: boolean;
}

/** Throws an Error with one sentence when an option is unknown or has a wrong value. */
export function parseOptions(args: readonly string[]): Parsed {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      rounds: { type: "string" },
      "no-peer": { type: "boolean", default: false },
      json: { type: "string" },
      markdown: { type: "string" },
      "quayside-cmd": { type: "string" },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const rounds = Number(values.rounds ?? (values.quick ? 1 : 3));
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error("--rounds takes a whole number from 1");
  const command = values["quayside-cmd"]?.split(" ").filter((word) => word !== "") ?? defaultQuaysideCommand();
  const options = {
    quick: values.quick,
    only: values.only?.split(",") ?? [],
    rounds,
    peer: !values["no-peer"],
    json: values.json,
    markdown: values.markdown,
    quaysideCommand: command,
  };
  return { options, list: values.list, help: values.help };
}
