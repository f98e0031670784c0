// Help texts and docs/cli.md, both made from the table of verbs.

import { startHelp } from "../process.ts";
import { VERSION } from "../version.ts";
import { CONNECTION_FLAGS } from "./connection-flags.ts";
import type { FlagSpec, Verb } from "./verb.ts";

/** `quayside --help`. */
export function overviewHelp(verbs: readonly Verb[]): string {
  const lines = verbs.map((verb) => `  ${verb.name.padEnd(24)} ${plain(verb.summary)}`);
  return [
    `Quayside ${VERSION}: a message broker that RabbitMQ clients talk to unchanged.`,
    "",
    "usage: quayside VERB [arguments]      (qs is the same command)",
    "",
    ...lines,
    "",
    "quayside VERB --help explains one verb; quayside --version prints the version.",
    "Start here: quayside start, then connect any AMQP 0-9-1 client to amqp://127.0.0.1:5672",
    "",
  ].join("\n");
}

/** `quayside VERB --help`. */
export function verbHelp(verb: Verb): string {
  if (verb.name === "start") return startHelp();
  const lines = [`usage: ${usageOf(verb)}`, "", `${sentence(plain(verb.summary))}`];
  if (verb.more !== undefined) lines.push("", ...verb.more.map(plain));
  const flags = flagsOf(verb);
  if (flags.length > 0) lines.push("", ...flags.map((flag) => `  ${signature(flag).padEnd(28)} ${flag.help}`));
  return `${lines.join("\n")}\n`;
}

export function usageOf(verb: Verb): string {
  const flags = verb.raw === true || flagsOf(verb).length === 0 ? "" : " [flags]";
  return `quayside ${verb.name}${verb.words === undefined ? "" : ` ${verb.words}`}${flags}`;
}

export function flagsOf(verb: Verb): readonly FlagSpec[] {
  return [...(verb.flags ?? []), ...(verb.remote === true ? CONNECTION_FLAGS : [])];
}

function signature({ name, short, value }: FlagSpec): string {
  return `${short === undefined ? "" : `-${short}, `}--${name}${value === undefined ? "" : ` ${value}`}`;
}

/** docs/cli.md without its head. */
export function cliReference(verbs: readonly Verb[]): string {
  const parts: string[] = [];
  for (const verb of verbs) {
    parts.push(`### quayside ${verb.name}`, "", `    ${usageOf(verb)}`, "", sentence(verb.summary));
    if (verb.more !== undefined) parts.push("", verb.more.join("\n"));
    const own = verb.flags ?? [];
    if (own.length > 0) {
      parts.push("", "| Flag | Meaning |", "|---|---|");
      for (const flag of own) parts.push(`| \`${signature(flag)}\` | ${flag.help.replaceAll("|", "\\|")} |`);
    }
    if (verb.remote === true) parts.push("", "Also takes the [flags of a connection](#the-running-broker).");
    parts.push("");
  }
  return parts.join("\n");
}

export function connectionReference(): string {
  const rows = CONNECTION_FLAGS.map((flag) => `| \`${signature(flag)}\` | ${flag.help.replaceAll("|", "\\|")} |`);
  return ["| Flag | Meaning |", "|---|---|", ...rows].join("\n");
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;
}

/** Without Markdown's backticks. */
function plain(text: string): string {
  return text.replaceAll("`", "");
}
