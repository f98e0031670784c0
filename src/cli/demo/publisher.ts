// Publishes every line with confirms. A line counts as published when the broker has confirmed it; what
// was not confirmed when the connection is lost is sent again, with the same id.

import type { ChannelModel, ConfirmChannel } from "amqplib";
import { type Connect, closeQuietly, connectPatiently } from "./amqp-library.ts";
import { type Line, digestOf } from "./lines.ts";

export interface PublisherOptions {
  readonly connect: Connect;
  readonly url: string;
  readonly queue: string;
  readonly lines: readonly Line[];
  /** How many lines the publisher may be ahead of what is stored. */
  readonly leadMax: number;
}

const UNCONFIRMED_MAX = 500;

export class Publisher {
  readonly #options: PublisherOptions;
  /** Indexes of lines that were sent and not confirmed. */
  readonly #unconfirmed = new Set<number>();
  /** Indexes to send before the next new one. */
  #again: number[] = [];
  #next = 0;
  #stored = 0;
  #stopped = false;
  #wake: () => void = () => undefined;
  /** Ids of lines that were sent more than once. */
  readonly sentAgain = new Set<string>();
  confirmed = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Tells how many lines are stored, so that the publisher does not run far ahead. */
  noteStored(count: number): void {
    this.#stored = count;
    this.#wake();
  }

  stop(): void {
    this.#stopped = true;
    this.#wake();
  }

  /** Resolves when every line is confirmed. */
  async run(): Promise<void> {
    while (this.confirmed < this.#options.lines.length && !this.#stopped) {
      const connection = await connectPatiently(this.#options.connect, this.#options.url, () => this.#stopped);
      if (connection === undefined) return;
      let lost = false;
      connection.on("error", () => undefined); // "close" follows
      connection.once("close", () => {
        lost = true;
        this.#wake();
      });
      await this.#publishOn(connection, () => lost);
      for (const index of this.#unconfirmed) {
        this.#again.push(index);
        this.sentAgain.add(this.#options.lines[index]?.id ?? "");
      }
      this.#unconfirmed.clear();
      await closeQuietly(connection);
    }
  }

  async #publishOn(connection: ChannelModel, lost: () => boolean): Promise<void> {
    let channel: ConfirmChannel;
    try {
      channel = await connection.createConfirmChannel();
      channel.on("error", () => undefined); // the connection's end tells enough
      channel.on("drain", () => this.#wake());
      await channel.assertQueue(this.#options.queue, { durable: true });
    } catch {
      return; // the broker went away again
    }
    while (!lost() && !this.#stopped && this.confirmed < this.#options.lines.length) {
      const index = this.#nextIndex();
      if (index === undefined || !this.#send(channel, index)) await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** undefined: nothing may be sent before something is confirmed or stored. */
  #nextIndex(): number | undefined {
    if (this.#unconfirmed.size >= UNCONFIRMED_MAX) return undefined;
    const again = this.#again.shift();
    if (again !== undefined) return again;
    const { lines, leadMax } = this.#options;
    if (this.#next >= lines.length || this.#next >= this.#stored + leadMax) return undefined;
    this.#next += 1;
    return this.#next - 1;
  }

  /** False when the client asks to wait for the socket. */
  #send(channel: ConfirmChannel, index: number): boolean {
    const line = this.#options.lines[index];
    if (line === undefined) return true;
    this.#unconfirmed.add(index);
    const properties = { persistent: true, messageId: line.id, headers: { digest: digestOf(line.text) } };
    const confirmed = (error: unknown): void => {
      // Only a confirm of this very sending counts; after a loss the index is no longer in the set.
      if (error === null && this.#unconfirmed.delete(index)) this.confirmed += 1;
      this.#wake();
    };
    try {
      return channel.publish("", this.#options.queue, Buffer.from(line.text), properties, confirmed);
    } catch {
      return false; // the channel ended under us; the line stays unconfirmed and is sent again
    }
  }
}
