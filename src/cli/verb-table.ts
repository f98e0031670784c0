// Every verb, in the order of the help text.

import { startVerb } from "../process.ts";
import { CONFIG_VERBS } from "./config-verbs.ts";
import { DATA_VERBS } from "./data-verbs.ts";
import { demoVerb } from "./demo.ts";
import { MESSAGE_VERBS } from "./message-verbs.ts";
import { TOPOLOGY_VERBS } from "./topology-verbs.ts";
import type { Verb } from "./verb.ts";

export const VERBS: readonly Verb[] = [
  {
    name: "start",
    words: "[--NAME VALUE ...]",
    summary: "runs a broker; `quayside start --help` lists its settings",
    raw: true,
    run: (_args, argv) => startVerb(argv),
  },
  ...CONFIG_VERBS,
  ...MESSAGE_VERBS,
  ...TOPOLOGY_VERBS,
  ...DATA_VERBS,
  {
    name: "demo",
    words: "[--keep] [FILE ...]",
    summary: "sends the lines of log files through a broker that is killed half-way; none is lost",
    raw: true,
    run: (_args, argv) => demoVerb(argv),
  },
];
