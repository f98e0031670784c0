// Steps that ask until something has happened by itself: a time to live ended, a queue expired.

import type { ClientChannel, QueueOptions } from "./client.ts";
import type { ChannelRecord } from "./record.ts";
import type { Shown } from "./scenario.ts";

const DEADLINE_MS = 10_000;
const PAUSE_MS = 20;
/** A question counts as a use of a queue, so that one with a shorter lifetime ends between two of them. */
const USE_PAUSE_MS = 400;
const PASSIVE: QueueOptions = { passive: true, durable: false, exclusive: false, autoDelete: false, arguments: {} };

const pause = (ms = PAUSE_MS): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Asks for the count of ready messages until it is `messages`; shows the last answer. */
export async function askForCount(calls: ClientChannel, queue: string, messages: number): Promise<Shown> {
  const until = performance.now() + DEADLINE_MS;
  let found = await calls.declareQueue(queue, PASSIVE);
  while (found.messages !== messages && performance.now() < until) {
    await pause();
    found = await calls.declareQueue(queue, PASSIVE);
  }
  return { messages: found.messages };
}

/** Asks on a channel of its own each time, since the answer "there is none" ends the channel. */
export async function askUntilGone(
  open: () => Promise<{ calls: ClientChannel; record: ChannelRecord }>,
  queue: string,
): Promise<Shown> {
  const until = performance.now() + DEADLINE_MS;
  while (performance.now() < until) {
    const { calls, record } = await open();
    try {
      await calls.declareQueue(queue, PASSIVE);
    } catch {
      const reason = await record.until("the reason of a refusal", () => record.closed);
      return reason.code === 404 ? "gone" : { closed: reason.level, code: reason.code, text: reason.text };
    }
    await calls.close();
    await pause(USE_PAUSE_MS);
  }
  return "still there";
}
