// The demo talks to the broker as any program would: through amqplib. The broker itself does not need it,
// so the package does not depend on it.

import type { ChannelModel } from "amqplib";

/** amqplib is not installed. */
export class MissingLibraryError extends Error {
  override readonly name = "MissingLibraryError";
}

export type Connect = (url: string) => Promise<ChannelModel>;

/** How long a lost broker is left alone before the next attempt to connect, ms. */
const RETRY_MS = 50;

/** Throws MissingLibraryError with what to install. */
export async function loadConnect(): Promise<Connect> {
  try {
    const { connect } = await import("amqplib");
    return (url) => connect(url, { noDelay: true });
  } catch (error) {
    throw new MissingLibraryError("the demo needs the client library amqplib: npm install amqplib", { cause: error });
  }
}

/** Tries until the broker answers or `stopped` says that nobody wants the connection any more. */
export async function connectPatiently(
  connect: Connect,
  url: string,
  stopped: () => boolean,
): Promise<ChannelModel | undefined> {
  while (!stopped()) {
    try {
      return await connect(url);
    } catch {
      // The broker is away because the demo killed it; it comes back on the same port.
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
  return undefined;
}

/** Closes; a connection that is gone already, or that goes while it closes, is as good as closed. */
export function closeQuietly(connection: ChannelModel): Promise<void> {
  return new Promise((resolve) => {
    // The library's own promise never settles when the broker dies between close and close-ok.
    connection.once("close", () => resolve());
    connection.close().then(resolve, () => resolve());
  });
}
