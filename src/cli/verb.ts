// What a verb of the command line is. Parsing, help texts and docs/cli.md all come from these tables.

/** Exit codes of every verb but `start`, as sysexits.h names them where it does. */
export const EXIT = { ok: 0, failed: 1, usage: 64, noInput: 66, unreachable: 69, bug: 70, storage: 74 } as const;

export interface FlagSpec {
  readonly name: string;
  /** One letter, without the dash. */
  readonly short?: string;
  /** How a value looks; without one the flag is a switch. */
  readonly value?: string;
  readonly help: string;
}

export interface ParsedArguments {
  readonly words: readonly string[];
  /** The value of a flag that was given; the last one counts. */
  text(flag: string): string | undefined;
  all(flag: string): readonly string[];
  has(flag: string): boolean;
}

export interface Verb {
  /** One or more words: "queue delete". */
  readonly name: string;
  /** The words behind the verb, as in the usage line: "NAME", "[NAME]", "NAME ...". */
  readonly words?: string;
  readonly summary: string;
  /** Sentences for the help text. */
  readonly more?: readonly string[];
  readonly flags?: readonly FlagSpec[];
  /** Talks to a running broker: takes the flags of `CONNECTION_FLAGS`. */
  readonly remote?: true;
  /** Gets its arguments as they are, `--help` excepted. */
  readonly raw?: true;
  /** Resolves with the exit code. Throws CliError. */
  readonly run: (args: ParsedArguments, argv: readonly string[]) => Promise<number>;
}

/** A verb that could not do what it was asked. `message`: what happened, why, what to do. */
export class CliError extends Error {
  override readonly name = "CliError";
  readonly exitCode: number;
  constructor(exitCode: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.exitCode = exitCode;
  }
}
