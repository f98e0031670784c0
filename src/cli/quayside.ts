// The command `quayside`: finds the verb, reads its flags, runs it, and turns what went wrong into one
// sentence and an exit code.

import { parseArgs } from "node:util";
import { nearest } from "../settings.ts";
import { VERSION } from "../version.ts";
import { flagsOf, overviewHelp, usageOf, verbHelp } from "./help.ts";
import { VERBS } from "./verb-table.ts";
import { CliError, EXIT, type ParsedArguments, type Verb } from "./verb.ts";

async function main(argv: readonly string[]): Promise<number> {
  const [first] = argv;
  if (first === undefined) {
    process.stderr.write(overviewHelp(VERBS));
    return EXIT.usage;
  }
  if (first === "--version" || first === "-v") {
    process.stdout.write(`${VERSION}\n`);
    return EXIT.ok;
  }
  if (first === "--help" || first === "-h" || first === "help") return printHelp(argv.slice(1));
  const verb = findVerb(argv);
  if (verb === undefined) return unknownVerb(argv);
  const rest = argv.slice(verb.name.split(" ").length);
  if (asksForHelp(rest)) {
    process.stdout.write(verbHelp(verb));
    return EXIT.ok;
  }
  try {
    return await verb.run(verb.raw === true ? NO_ARGUMENTS : parseFor(verb, rest), rest);
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    process.stderr.write(`quayside ${verb.name}: ${error.message}\n`);
    return error.exitCode;
  }
}

/** The verb with the most words that `argv` begins with. */
function findVerb(argv: readonly string[]): Verb | undefined {
  const startsWith = ({ name }: Verb): boolean => name.split(" ").every((word, index) => argv[index] === word);
  return VERBS.filter(startsWith).sort((a, b) => b.name.length - a.name.length)[0];
}

function asksForHelp(argv: readonly string[]): boolean {
  const end = argv.indexOf("--");
  return argv.slice(0, end < 0 ? undefined : end).some((argument) => argument === "--help" || argument === "-h");
}

function printHelp(words: readonly string[]): number {
  const verb = findVerb(words);
  process.stdout.write(verb === undefined ? overviewHelp(VERBS) : verbHelp(verb));
  return EXIT.ok;
}

/** `quayside queue` alone lists what can follow; a word that is near a verb names it. */
function unknownVerb(argv: readonly string[]): number {
  const [first = ""] = argv;
  const family = VERBS.filter(({ name }) => name.startsWith(`${first} `));
  if (family.length > 0) {
    if (asksForHelp(argv)) {
      process.stdout.write(overviewHelp(family));
      return EXIT.ok;
    }
    const words = family.map(({ name }) => name.slice(first.length + 1));
    process.stderr.write(`quayside: "${first}" needs one of ${words.join(", ")}; see quayside ${first} --help\n`);
    return EXIT.usage;
  }
  const names = [...new Set(VERBS.map(({ name }) => name.split(" ")[0] ?? ""))];
  process.stderr.write(`quayside: unknown verb "${first}"${nearest(first, names)} (quayside --help lists them)\n`);
  return EXIT.usage;
}

const NO_ARGUMENTS: ParsedArguments = { words: [], text: () => undefined, all: () => [], has: () => false };

function parseFor(verb: Verb, argv: readonly string[]): ParsedArguments {
  const specs = flagsOf(verb);
  const options = Object.fromEntries(
    specs.map(({ name, short, value }) => [
      name,
      { type: value === undefined ? ("boolean" as const) : ("string" as const), ...(short ? { short } : {}) },
    ]),
  );
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true, allowPositionals: true });
  const words: string[] = [];
  const values = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      words.push(token.value);
      continue;
    }
    const spec = specs.find(({ name }) => name === token.name);
    if (spec === undefined) {
      const near = nearest(
        token.name,
        specs.map(({ name }) => name),
        "--",
      );
      throw new CliError(EXIT.usage, `unknown flag ${token.rawName}${near} (quayside ${verb.name} --help lists them)`);
    }
    if ((spec.value === undefined) !== (token.value === undefined)) {
      const needs = spec.value === undefined ? "takes no value" : `needs a value: ${spec.value}`;
      throw new CliError(EXIT.usage, `flag --${spec.name} ${needs}`);
    }
    values.set(spec.name, [...(values.get(spec.name) ?? []), token.value ?? ""]);
  }
  checkWords(verb, words);
  return {
    words,
    text: (flag) => values.get(flag)?.at(-1),
    all: (flag) => values.get(flag) ?? [],
    has: (flag) => values.has(flag),
  };
}

/** "NAME [OTHER] ...": as many words as the usage line asks for. */
function checkWords(verb: Verb, words: readonly string[]): void {
  const wanted = (verb.words ?? "").split(" ").filter((word) => word !== "" && word !== "...");
  const needed = wanted.filter((word) => !word.startsWith("[")).length;
  const many = (verb.words ?? "").includes("...");
  if (words.length < needed || (!many && words.length > wanted.length)) {
    throw new CliError(EXIT.usage, `usage: ${usageOf(verb)}`);
  }
}

process.exitCode = await main(process.argv.slice(2));
