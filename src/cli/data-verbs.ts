// Verbs that work on a data folder, not on a running broker; and the backup, which the running broker makes.

import { restoreData, verifyData } from "../data-folder.ts";
import { putUser } from "../main.ts";
import { RemoteBroker } from "./remote-broker.ts";
import { secretOf } from "./secret.ts";
import { CliError, EXIT, type FlagSpec, type ParsedArguments, type Verb } from "./verb.ts";

const DATA: FlagSpec = { name: "data", value: "DIR", help: "data folder that no broker runs on [QUAYSIDE_DATA]" };

export const DATA_VERBS: readonly Verb[] = [
  {
    name: "backup",
    words: "FOLDER",
    summary: "has the running broker copy everything durable into a new folder of its machine",
    more: [
      "The broker goes on meanwhile; what was confirmed before the backup began is in it. FOLDER is an absolute path",
      "that is missing or empty. Needs an administrator.",
    ],
    remote: true,
    run: async (args) => {
      const broker = new RemoteBroker(args);
      const { files, bytes } = (await broker.post("/v1/backup", { folder: args.words[0] })) as Record<string, number>;
      process.stdout.write(`backed up ${files} files, ${bytes} bytes\n`);
      return EXIT.ok;
    },
  },
  {
    name: "restore",
    words: "BACKUP",
    summary: "fills an empty data folder from a backup",
    more: ["Every file is compared with the backup's list first; the data get their place when all are there."],
    flags: [DATA],
    run: async (args) => {
      const data = dataOf(args);
      const { files, bytes } = await failing(() => restoreData(args.words[0] ?? "", data));
      process.stdout.write(`restored ${files} files, ${bytes} bytes into ${data}\n`);
      return EXIT.ok;
    },
  },
  {
    name: "verify",
    summary: "reads and checks every entry of a data folder; changes nothing",
    more: ["A backup is a data folder too. Exit code 74 when something is damaged."],
    flags: [DATA],
    run: async (args) => {
      let isDamaged = false;
      await failing(() =>
        verifyData(dataOf(args), ({ id, entries, bytes, damage }) => {
          isDamaged ||= damage.length > 0;
          process.stdout.write(`${damage.length > 0 ? "DAMAGED" : "ok"}  ${id}  ${entries} entries  ${bytes} bytes\n`);
          for (const sentence of damage) process.stdout.write(`    ${sentence}\n`);
        }),
      );
      return isDamaged ? EXIT.storage : EXIT.ok;
    },
  },
];

/** `user add --data DIR`: without a running broker. */
export async function addUserOffline(args: ParsedArguments, tags: readonly string[]): Promise<number> {
  const password = secretOf(args, "new-password-file", "QUAYSIDE_NEW_PASSWORD");
  const name = args.words[0] ?? "";
  await failing(() => putUser(dataOf(args), { name, password, tags }));
  process.stdout.write(`user ${name} may log in when the broker is started\n`);
  return EXIT.ok;
}

function dataOf(args: ParsedArguments): string {
  const data = args.text("data") ?? process.env.QUAYSIDE_DATA;
  if (data === undefined) throw new CliError(EXIT.usage, "which data folder? give --data DIR");
  return data;
}

/** What the system, the lock or the storage says becomes one sentence. */
async function failing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const isKnown = error instanceof Error && ("kind" in error || "syscall" in error || "pid" in error);
    if (!isKnown) throw error;
    throw new CliError("pid" in error ? EXIT.failed : EXIT.storage, error.message, { cause: error });
  }
}
