// Listening on several addresses with one port number. Port 0 means a free port, and then the same one
// on every address: one address is bound, the others follow on its number, and all start over when one
// of them is taken there.

import type { Logger } from "../ports/logger.ts";
import type { Listener } from "../ports/net.ts";

/** How often a free number is looked for that is free on every address. */
const ATTEMPTS_MAX = 20;

export interface ListenAllOptions {
  /** What listens, for messages: "amqp", "http". */
  readonly name: string;
  readonly hosts: readonly string[];
  /** Every host must be there; otherwise an absent address is passed over with one log line. */
  readonly hostsChosen: boolean;
  readonly port: number;
  readonly logger: Logger;
  readonly listen: (host: string, port: number) => Promise<Listener>;
}

/** A listener that could not start. `message` is one sentence for the operator. */
export class ListenError extends Error {
  override readonly name = "ListenError";
}

/** Listens on every host. Throws ListenError, and then nothing listens. */
export async function listenOnAll(options: ListenAllOptions): Promise<Listener[]> {
  for (let attempt = 1; ; attempt++) {
    const listeners: Listener[] = [];
    try {
      for (const host of options.hosts) {
        const port = listeners[0]?.port ?? options.port;
        const listener = await listenOnOne(options, host, port);
        if (listener !== undefined) listeners.push(listener);
      }
      if (listeners.length === 0) throw new ListenError(`${options.name}: none of the addresses to listen on exists`);
      return listeners;
    } catch (error) {
      await Promise.all(listeners.map((listener) => listener.close()));
      const takenElsewhere = options.port === 0 && codeOf(error) === "EADDRINUSE" && attempt < ATTEMPTS_MAX;
      if (!takenElsewhere) throw error;
    }
  }
}

async function listenOnOne(options: ListenAllOptions, host: string, port: number): Promise<Listener | undefined> {
  try {
    return await options.listen(host, port);
  } catch (error) {
    const code = codeOf(error);
    if (!options.hostsChosen && host === "::1" && (code === "EADDRNOTAVAIL" || code === "EAFNOSUPPORT")) {
      options.logger.info("this machine has no ::1; listening on IPv4 only");
      return undefined;
    }
    throw new ListenError(listenSentence(options.name, host, port, error), { cause: error });
  }
}

function listenSentence(name: string, host: string, port: number, error: unknown): string {
  const where = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  switch (codeOf(error)) {
    case "EADDRINUSE":
      return `${name}: port ${port} on ${host} is taken by another program; stop it or choose --${name}-port`;
    case "EACCES":
      return `${name}: this user may not listen on ${where}; choose --${name}-port above 1023`;
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAFNOSUPPORT":
      return `${name}: this machine has no address ${host}; choose another --host`;
    default:
      return `${name}: cannot listen on ${where}: ${error instanceof Error ? error.message : String(error)}`;
  }
}

function codeOf(error: unknown): unknown {
  const cause = error instanceof ListenError ? error.cause : error;
  return typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined;
}
