// Passwords come from a file or the environment, never from the command line, which others can read.

import { readTextFile } from "../runtime/text-file.ts";
import { CliError, EXIT, type ParsedArguments } from "./verb.ts";

/** The first line of the file that `flag` names, or the variable. Throws CliError when there is neither. */
export function secretOf(args: ParsedArguments, flag: string, variable: string): string {
  const secret = optionalSecret(args, flag, variable);
  if (secret === undefined) throw new CliError(EXIT.usage, `a password is needed: --${flag} FILE or ${variable}`);
  return secret;
}

export function optionalSecret(args: ParsedArguments, flag: string, variable: string): string | undefined {
  const file = args.text(flag);
  if (file === undefined) return process.env[variable];
  try {
    return readTextFile(file).split(/\r?\n/, 1)[0] ?? "";
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new CliError(EXIT.noInput, `cannot read --${flag} ${file}: ${why}`, { cause: error });
  }
}
