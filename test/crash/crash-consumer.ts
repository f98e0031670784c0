// A consumer with manual acks that behaves as badly as a real one: it acks late, one by one or many at
// once, returns messages, holds some, and dies by closing its channel or losing its socket.

import { connect } from "amqplib";
import type { Channel, ChannelModel, ConsumeMessage } from "amqplib";
import type { CheckedChannel, DeliveryChecker } from "./delivery-checker.ts";
import { decodeBody } from "./message-body.ts";
import type { MessageId } from "./message-body.ts";
import type { SeededRandom } from "./random.ts";

const HOLD_MS_MAX = 150;

export interface ConsumerOptions {
  readonly queue: string;
  readonly port: number;
  readonly checker: DeliveryChecker;
  readonly random: SeededRandom;
  readonly onRefused: (reason: string) => void;
}

interface Open {
  readonly message: ConsumeMessage;
  readonly id: MessageId;
}

/** amqplib does not publish its socket; dying without a goodbye needs it. */
interface WithStream {
  readonly stream: { destroy(): void };
}

export class CrashConsumer {
  readonly #options: ConsumerOptions;
  readonly #connection: ChannelModel;
  readonly #channel: Channel;
  readonly #checked: CheckedChannel;
  readonly #prefetch: number;
  /** Unsettled deliveries in the order of their tags. */
  readonly #open = new Map<number, Open>();
  #gentle = false;
  /** Acked, but still in the library's buffers. */
  #leaving: MessageId[] = [];
  #lastDeliveryMs = performance.now();

  private constructor(
    options: ConsumerOptions,
    opened: { connection: ChannelModel; channel: Channel; prefetch: number },
  ) {
    this.#options = options;
    this.#connection = opened.connection;
    this.#channel = opened.channel;
    this.#prefetch = opened.prefetch;
    this.#checked = options.checker.channelOpened(options.queue);
  }

  static async open(options: ConsumerOptions): Promise<CrashConsumer> {
    const connection = await connect(`amqp://guest:guest@127.0.0.1:${options.port}?heartbeat=0`);
    connection.on("error", () => {
      // Expected: the broker is killed under this connection.
    });
    const channel = await connection.createChannel();
    channel.on("error", (error: Error) => options.onRefused(error.message));
    const prefetch = options.random.between(1, 200);
    await channel.prefetch(prefetch);
    const consumer = new CrashConsumer(options, { connection, channel, prefetch });
    await channel.consume(options.queue, (message) => {
      if (message === null) options.onRefused("the broker cancelled a consumer");
      else consumer.#deliver(message);
    });
    return consumer;
  }

  get queue(): string {
    return this.#options.queue;
  }

  get unsettled(): number {
    return this.#open.size;
  }

  get lastDeliveryMs(): number {
    return this.#lastDeliveryMs;
  }

  /** Acks everything from now on, so that the queue drains. */
  beGentle(): void {
    this.#gentle = true;
    for (const tag of [...this.#open.keys()]) this.#ack(tag, false);
  }

  /** Ends without settling what is open: by a lost socket, a closed channel or a closed connection. */
  async die(): Promise<void> {
    this.#options.checker.channelCut(this.#checked, performance.now());
    this.#open.clear();
    const manner = this.#options.random.between(0, 2);
    if (manner === 0) (this.#connection.connection as unknown as WithStream).stream.destroy();
    else if (manner === 1) {
      await this.#channel.close();
      await this.#connection.close();
    } else await this.#connection.close();
  }

  async close(): Promise<void> {
    this.#options.checker.channelCut(this.#checked, performance.now());
    await this.#connection.close();
  }

  get #isCut(): boolean {
    return this.#checked.cutAtMs !== undefined;
  }

  #deliver(message: ConsumeMessage): void {
    if (this.#isCut) return;
    const { checker, onRefused } = this.#options;
    const id = decodeBody(message.content);
    if (id === undefined) {
      onRefused(`${this.queue}: a body of ${message.content.length} bytes is not one that was published`);
      return;
    }
    const header: unknown = message.properties.headers?.["x-delivery-count"];
    const atMs = performance.now();
    this.#lastDeliveryMs = atMs;
    const deliveryCount = typeof header === "number" ? header : undefined;
    checker.delivered(this.#checked, { ...id, redelivered: message.fields.redelivered, deliveryCount, atMs });
    this.#open.set(message.fields.deliveryTag, { message, id });
    if (this.#open.size > this.#prefetch)
      onRefused(`${this.queue}: ${this.#open.size} open, prefetch ${this.#prefetch}`);
    this.#decide(message.fields.deliveryTag);
  }

  #decide(tag: number): void {
    const { random } = this.#options;
    if (this.#gentle || random.chance(0.5)) this.#ack(tag, false);
    else if (random.chance(0.15)) this.#giveBack(tag);
    else if (random.chance(0.1)) this.#ack(tag, true);
    else {
      const later = random.between(0, random.chance(0.2) ? HOLD_MS_MAX : 10);
      setTimeout(() => {
        if (!this.#gentle && random.chance(0.1)) this.#giveBack(tag);
        else this.#ack(tag, random.chance(0.2));
      }, later);
    }
  }

  /** Acks `tag`, and with `upTo` everything before it that is still open. */
  #ack(tag: number, upTo: boolean): void {
    const open = this.#open.get(tag);
    if (open === undefined || this.#isCut) return;
    for (const [each, { id }] of upTo ? [...this.#open] : [[tag, open] as const]) {
      if (each > tag) continue;
      this.#options.checker.acked(this.#checked, id);
      if (this.#leaving.push(id) === 1) this.#noteWhenSent();
      this.#open.delete(each);
    }
    this.#channel.ack(open.message, upTo);
  }

  /** The library writes what a turn collected in the next one; only then has an ack left the process. */
  #noteWhenSent(): void {
    setImmediate(() => {
      setImmediate(() => {
        const nowMs = performance.now();
        for (const id of this.#leaving) this.#options.checker.ackSent(this.#checked, id, nowMs);
        this.#leaving = [];
      });
    });
  }

  #giveBack(tag: number): void {
    const open = this.#open.get(tag);
    if (open === undefined || this.#isCut) return;
    this.#options.checker.returned(this.#checked, open.id);
    this.#open.delete(tag);
    if (this.#options.random.chance(0.5)) this.#channel.nack(open.message, false, true);
    else this.#channel.reject(open.message, true);
  }
}
