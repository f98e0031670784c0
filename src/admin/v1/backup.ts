// /v1/backup: a copy of everything durable, made by the broker itself while it goes on.

import { BrokerError, DecodeError, StorageError } from "../../model/errors.ts";
import { json } from "../answers.ts";
import type { Answer, Call, Route } from "../route.ts";

export const BACKUP_ROUTES: readonly Route[] = [
  {
    method: "POST",
    path: "/v1/backup",
    summary: "Copies everything durable into {folder}: an absolute path on the broker's machine, missing or empty.",
    role: "admin",
    handler: backUp,
  },
];

async function backUp(call: Call): Promise<Answer> {
  const { folder } = await call.object();
  if (typeof folder !== "string" || !folder.startsWith("/")) {
    throw new DecodeError("folder is an absolute path on the broker's machine");
  }
  try {
    const { files, bytes } = await call.admin.backUp(folder);
    return json({ folder, files, bytes });
  } catch (error) {
    const isRefused = error instanceof StorageError || (error instanceof Error && "syscall" in error);
    if (!isRefused && !(error instanceof TypeError)) throw error;
    throw new BrokerError("precondition-failed", `no backup was made: ${error.message}`, { cause: error });
  }
}
