// A publisher with confirms that goes on with the next sequence number after each restart. It never
// publishes a message again: one whose confirm did not come may be there or not.

import { connect } from "amqplib";
import type { ChannelModel, ConfirmChannel } from "amqplib";
import type { DeliveryChecker, Publication } from "./delivery-checker.ts";
import { encodeBody, randomBodyBytes } from "./message-body.ts";
import type { SeededRandom } from "./random.ts";

const BURST_MAX = 20;
const TRANSIENT_SHARE = 0.05;

/** Where a message goes: an exchange with a key, and the queues that it reaches. */
export interface Target {
  readonly exchange: string;
  readonly routingKey: string;
  readonly queues: readonly string[];
}

export interface PublisherOptions {
  readonly publisher: number;
  readonly port: number;
  readonly targets: readonly Target[];
  readonly checker: DeliveryChecker;
  readonly random: SeededRandom;
  /** True while the queues hold as much as the harness wants. */
  readonly isFull: () => boolean;
  /** Reports a refusal; losing the connection is none. */
  readonly onRefused: (reason: string) => void;
}

export class CrashPublisher {
  readonly #options: PublisherOptions;
  #sequence = 0;
  #unconfirmed = 0;
  #running = false;
  #connection: ChannelModel | undefined;
  #closed: Promise<void> = Promise.resolve();
  #onIdle: () => void = () => {};

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  async start(): Promise<void> {
    const connection = await connect(`amqp://guest:guest@127.0.0.1:${this.#options.port}?heartbeat=0`);
    connection.on("error", () => {
      // Expected: the broker is killed under this connection. "close" follows.
    });
    const channel = await connection.createConfirmChannel();
    // The library hands over confirms that had arrived before the end, then reports the channel closed.
    this.#closed = new Promise((resolve) => channel.once("close", () => resolve()));
    channel.on("error", (error: Error) => this.#options.onRefused(error.message));
    this.#connection = connection;
    this.#running = true;
    this.#burst(channel, this.#options.random.between(20, 500));
  }

  /** Stops publishing and waits until everything is confirmed. */
  async quiesce(): Promise<void> {
    this.#running = false;
    if (this.#unconfirmed === 0) return;
    await new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
  }

  /** After a kill: waits until the confirms that were on their way are counted. */
  async lost(): Promise<void> {
    this.#running = false;
    await this.#closed;
    this.#unconfirmed = 0;
    this.#connection = undefined;
  }

  async close(): Promise<void> {
    this.#running = false;
    await this.#connection?.close();
    this.#connection = undefined;
  }

  #burst(channel: ConfirmChannel, window: number): void {
    if (!this.#running) return;
    const { random, isFull } = this.#options;
    const count = isFull() ? 0 : random.between(1, BURST_MAX);
    for (let i = 0; i < count && this.#unconfirmed < window; i++) this.#publish(channel);
    const pauseMs = count === 0 ? 5 : random.between(0, 2);
    setTimeout(() => this.#burst(channel, window), pauseMs);
  }

  #publish(channel: ConfirmChannel): void {
    const { publisher, random, targets, checker, onRefused } = this.#options;
    const target = random.pick(targets);
    const sequence = ++this.#sequence;
    const persistent = !random.chance(TRANSIENT_SHARE);
    const publication: Publication = { publisher, sequence, queues: target.queues, persistent };
    const body = encodeBody(publication, randomBodyBytes(random));
    checker.published(publication);
    this.#unconfirmed++;
    const onConfirm = (error: Error | null): void => {
      this.#unconfirmed--;
      if (error === null) checker.confirmed(publication);
      else if (this.#running && !error.message.includes("channel closed")) onRefused(error.message);
      if (this.#unconfirmed === 0) this.#onIdle();
    };
    try {
      channel.publish(target.exchange, target.routingKey, body, { persistent, messageId: String(sequence) }, onConfirm);
    } catch (error) {
      // The channel closed between two events: this message was never sent.
      this.#running = false;
      this.#unconfirmed--;
      if ((error as Error).name !== "IllegalOperationError") throw error;
    }
  }
}
