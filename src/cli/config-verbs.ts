// `quayside config check|show`: what `quayside start` would run with, without starting anything.

import { tlsOf } from "../broker-options.ts";
import { type Config, loadConfig } from "../config.ts";
import { readTextFile } from "../runtime/text-file.ts";
import { ConfigError, type Setting, SETTINGS } from "../settings.ts";
import { printRows, type Row } from "./output.ts";
import { CliError, EXIT, type Verb } from "./verb.ts";

/** Shown for a secret that is set. */
const MASK = "********";

const MORE = [
  "Takes the flags of `quayside start`, the environment and the config file, and names for each value where it",
  "came from.",
];

export const CONFIG_VERBS: readonly Verb[] = [
  {
    name: "config check",
    words: "[--NAME VALUE ...]",
    summary: "says whether `quayside start` would accept these settings",
    more: [...MORE, "Reads certificates and password files too. Starts nothing and touches no data."],
    raw: true,
    run: async (_args, argv) => {
      const config = load(argv);
      process.stdout.write(`ok: ${describe(config)}\n`);
      return EXIT.ok;
    },
  },
  {
    name: "config show",
    words: "[-o json|table] [--NAME VALUE ...]",
    summary: "prints every setting with its value and where it came from; secrets are masked",
    more: MORE,
    raw: true,
    run: async (_args, argv) => {
      const { format, rest } = takeFormat(argv);
      printRows(rowsOf(load(rest)), format);
      return EXIT.ok;
    },
  },
];

function load(argv: readonly string[]): Config {
  try {
    const config = loadConfig({ argv, env: process.env, readText: readTextFile });
    tlsOf(config);
    return config;
  } catch (error) {
    if (error instanceof ConfigError) throw new CliError(EXIT.usage, error.message, { cause: error });
    throw error;
  }
}

function describe({ data, hosts, amqpPort }: Config): string {
  return `data in ${data}, listening on ${hosts.join(" and ")}, AMQP port ${amqpPort}`;
}

function rowsOf(config: Config): Row[] {
  return SETTINGS.map((setting: Setting) => {
    const given = config.given.get(setting.name as (typeof SETTINGS)[number]["name"]);
    const text = given?.text ?? "";
    return { setting: setting.name, value: setting.secret === true && text !== "" ? MASK : text, from: given?.from };
  });
}

/** `-o json` or `--output json` may stand anywhere between the settings. */
function takeFormat(argv: readonly string[]): { format: "json" | "table"; rest: readonly string[] } {
  const at = argv.findIndex((argument) => /^(-o|--output)(=|$)/.test(argument));
  if (at < 0) return { format: "table", rest: argv };
  const [flag = "", inline] = (argv[at] ?? "").split("=", 2);
  const value = inline ?? argv[at + 1];
  if (value !== "json" && value !== "table") throw new CliError(EXIT.usage, `${flag} must be json or table`);
  return { format: value, rest: argv.filter((_, index) => index !== at && (inline !== undefined || index !== at + 1)) };
}
