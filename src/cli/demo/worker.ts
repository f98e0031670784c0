// One worker process: takes lines from the queue, transforms them, stores them in its own file, and only
// then acks. A line is acked when it is on the disk and never before; a worker that is killed in between
// leaves the line to another one, which stores it again: duplicates are possible, loss is not.
//
// Arguments: AMQP URL, queue, number of the worker, file. Tells its parent the ids that it has stored.

import { closeSync, openSync } from "node:fs";
import { type FileHandle, open, readFile, truncate } from "node:fs/promises";
import type { Channel, ConsumeMessage } from "amqplib";
import { closeQuietly, connectPatiently, loadConnect } from "./amqp-library.ts";
import { type StoredLine, transform } from "./transform.ts";

/** What a worker tells its parent. */
export interface WorkerReport {
  readonly stored: readonly string[];
  readonly redelivered: number;
}

const PREFETCH = 100;

/** A killed worker may have left half a line; it was never acked, so it is cut off before new ones follow. */
async function openForAppend(path: string): Promise<FileHandle> {
  closeSync(openSync(path, "a"));
  const content = await readFile(path);
  const whole = content.lastIndexOf("\n") + 1;
  if (whole < content.length) await truncate(path, whole);
  return open(path, "a");
}

/** Stores what one channel delivers, in batches: whatever arrives during one fsync is the next batch. */
class Store {
  readonly #file: FileHandle;
  readonly #worker: number;
  #waiting: { message: ConsumeMessage; channel: Channel }[] = [];
  #working: Promise<void> | undefined;

  constructor(file: FileHandle, worker: number) {
    this.#file = file;
    this.#worker = worker;
  }

  take(message: ConsumeMessage, channel: Channel): void {
    this.#waiting.push({ message, channel });
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  /** Resolves when everything taken so far is stored and acked. */
  async settled(): Promise<void> {
    while (this.#working !== undefined) await this.#working;
  }

  /** Messages of a lost channel will come again; storing them now would only make duplicates. */
  forget(channel: Channel): void {
    this.#waiting = this.#waiting.filter((each) => each.channel !== channel);
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      const lines = batch.map(({ message }) => this.#line(message));
      await this.#file.appendFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
      await this.#file.datasync();
      const report: WorkerReport = {
        stored: lines.map(({ id }) => id),
        redelivered: lines.filter((line) => line.redelivered).length,
      };
      process.send?.(report);
      for (const { message, channel } of batch) this.#ack(message, channel);
    }
  }

  #line(message: ConsumeMessage): StoredLine {
    const line = transform({
      id: String(message.properties.messageId),
      text: message.content.toString("utf8"),
      redelivered: message.fields.redelivered,
      worker: this.#worker,
    });
    const sent: unknown = message.properties.headers?.["digest"];
    if (line.digest !== sent) throw new Error(`line ${line.id} arrived damaged: ${line.digest} is not ${String(sent)}`);
    return line;
  }

  /** On a channel that is gone the ack is void, and the broker delivers the line again. */
  #ack(message: ConsumeMessage, channel: Channel): void {
    try {
      channel.ack(message);
    } catch (error) {
      if (!(error instanceof Error) || error.name !== "IllegalOperationError") throw error;
    }
  }
}

async function work(url: string, queue: string, worker: number, path: string): Promise<void> {
  const connect = await loadConnect();
  const store = new Store(await openForAppend(path), worker);
  let stopping = false;
  let wake: () => void = () => undefined;
  const stop = (): void => {
    stopping = true;
    wake();
  };
  process.once("SIGTERM", stop);
  process.once("disconnect", () => process.exit(1)); // the parent is gone: nobody will read the result
  while (!stopping) {
    const connection = await connectPatiently(connect, url, () => stopping);
    if (connection === undefined) break;
    const over = new Promise<void>((resolve) => {
      wake = resolve;
      connection.once("close", () => resolve());
      if (stopping) resolve(); // told while it connected
    });
    connection.on("error", () => undefined); // "close" follows
    const channel = await openChannel();
    async function openChannel(): Promise<Channel | undefined> {
      try {
        const opened = await connection?.createChannel();
        opened?.on("error", () => undefined); // the connection's end tells enough
        await opened?.assertQueue(queue, { durable: true }); // the worker may come before the publisher
        await opened?.prefetch(PREFETCH);
        await opened?.consume(queue, (message) => {
          if (message !== null) store.take(message, opened);
        });
        return opened;
      } catch {
        return undefined; // the broker went away again
      }
    }
    await over;
    if (stopping) {
      await store.settled();
      await closeQuietly(connection);
    } else if (channel !== undefined) store.forget(channel);
  }
  await store.settled();
}

const [url = "", queue = "", worker = "0", path = ""] = process.argv.slice(2);
await work(url, queue, Number(worker), path);
process.exit(0);
