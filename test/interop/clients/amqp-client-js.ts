// @cloudamqp/amqp-client (amqp-client.js) as a scenario client.

import { readFileSync } from "node:fs";
import { AMQPClient } from "@cloudamqp/amqp-client";
import type { AMQPChannel, AMQPMessage } from "@cloudamqp/amqp-client";
import type {
  Binding,
  Client,
  ClientChannel,
  ClientConnection,
  ConnectOptions,
  ConsumeOptions,
  ExchangeBinding,
  ExchangeOptions,
  OutgoingMessage,
  QueueOptions,
  TransactionStep,
} from "../client.ts";
import type { ChannelRecord, CloseReason, ConnectionRecord, SeenMessage } from "../record.ts";
import { fromClientProperties, toClientProperties, toClientTable } from "../values.ts";
import type { Notation } from "../values.ts";

const date = (seconds: number): Date => new Date(seconds * 1000);
const NOTATION: Notation = { timestamp: date, bytes: (bytes) => new Uint8Array(bytes) };

/**
 * The library says `channel 1 closed: NOT_FOUND - ... (404)` or `connection closed: ... (530)`, the latter
 * also as the reason of its own channel 0.
 */
function reasonOf(message: string): CloseReason {
  const found = /(?:^|: )(channel|connection)(?: \d+)? closed: ([\s\S]*) \((\d{3})\)$/.exec(message);
  if (found === null) return { level: "connection", code: 0, text: "" };
  return { level: found[1] === "channel" ? "channel" : "connection", code: Number(found[3]), text: found[2] ?? "" };
}

function bodyBytes(message: AMQPMessage): Buffer {
  return Buffer.from((message.body as Uint8Array | null) ?? new Uint8Array(0));
}

function seen(message: AMQPMessage, consumer?: string): SeenMessage {
  return {
    ...(consumer === undefined ? {} : { consumer }),
    tag: message.deliveryTag,
    redelivered: message.redelivered,
    exchange: message.exchange,
    key: message.routingKey,
    properties: fromClientProperties({ ...message.properties }),
    body: bodyBytes(message),
  };
}

class AmqpClientJsChannel implements ClientChannel {
  readonly #channel: AMQPChannel;
  readonly #record: ChannelRecord;
  readonly #confirms: boolean;

  constructor(channel: AMQPChannel, record: ChannelRecord, confirms: boolean) {
    this.#channel = channel;
    this.#record = record;
    this.#confirms = confirms;
    channel.onerror = (message: string) => record.noteClosed(reasonOf(message));
    channel.onReturn = (message: AMQPMessage) =>
      record.noteReturn(message.replyCode ?? 0, message.replyText ?? "", bodyBytes(message));
  }

  async declareQueue(
    name: string,
    options: QueueOptions,
  ): Promise<{ queue: string; messages: number; consumers: number }> {
    const ok = await this.#channel.queueDeclare(name, options, toClientTable(options.arguments, NOTATION));
    return { queue: ok.name, messages: ok.messageCount, consumers: ok.consumerCount };
  }

  async deleteQueue(name: string, options: { ifUnused: boolean; ifEmpty: boolean }): Promise<number> {
    return (await this.#channel.queueDelete(name, options)).messageCount;
  }

  async purgeQueue(name: string): Promise<number> {
    return (await this.#channel.queuePurge(name)).messageCount;
  }

  async bindQueue(b: Binding): Promise<void> {
    await this.#channel.queueBind(b.queue, b.exchange, b.key, toClientTable(b.arguments, NOTATION));
  }

  async unbindQueue(b: Binding): Promise<void> {
    await this.#channel.queueUnbind(b.queue, b.exchange, b.key, toClientTable(b.arguments, NOTATION));
  }

  async bindExchange(b: ExchangeBinding): Promise<void> {
    await this.#channel.exchangeBind(b.destination, b.source, b.key, toClientTable(b.arguments, NOTATION));
  }

  async unbindExchange(b: ExchangeBinding): Promise<void> {
    await this.#channel.exchangeUnbind(b.destination, b.source, b.key, toClientTable(b.arguments, NOTATION));
  }

  async declareExchange(name: string, type: string, options: ExchangeOptions): Promise<void> {
    await this.#channel.exchangeDeclare(name, type, options, toClientTable(options.arguments, NOTATION));
  }

  async deleteExchange(name: string, ifUnused: boolean): Promise<void> {
    await this.#channel.exchangeDelete(name, { ifUnused });
  }

  async publish(message: OutgoingMessage): Promise<void> {
    const properties = toClientProperties(message.properties, NOTATION, date);
    const { exchange, key, body, mandatory } = message;
    const sent = this.#channel.basicPublish(exchange, key, body, properties, mandatory);
    if (!this.#confirms) {
      await sent;
      return;
    }
    this.#record.unconfirmed += 1;
    sent.then(
      () => this.#record.noteConfirm(true),
      () => {
        if (this.#record.closed === undefined) this.#record.noteConfirm(false);
      },
    );
  }

  async consume(queue: string, options: ConsumeOptions): Promise<void> {
    const { tag, noAck, exclusive } = options;
    const args = toClientTable(options.arguments, NOTATION);
    const consumer = await this.#channel.basicConsume(queue, { tag, noAck, exclusive, args }, (message) => {
      this.#record.noteDelivery(seen(message, tag));
    });
    // `wait` ends cleanly for a cancel by this side and with an error for one by the broker.
    consumer.wait().catch(() => this.#record.noteCancelled(tag));
  }

  async cancel(consumer: string): Promise<void> {
    await this.#channel.basicCancel(consumer);
  }

  async get(queue: string, noAck: boolean): Promise<{ message: SeenMessage; left: number } | undefined> {
    const message = await this.#channel.basicGet(queue, { noAck });
    return message === null ? undefined : { message: seen(message), left: message.messageCount ?? -1 };
  }

  ack(tag: number, multiple: boolean): Promise<void> {
    return this.#channel.basicAck(tag, multiple);
  }

  nack(tag: number, options: { multiple: boolean; requeue: boolean }): Promise<void> {
    return this.#channel.basicNack(tag, options.requeue, options.multiple);
  }

  reject(tag: number, requeue: boolean): Promise<void> {
    return this.#channel.basicReject(tag, requeue);
  }

  qos(count: number, global: boolean): Promise<void> {
    return this.#channel.basicQos(count, 0, global);
  }

  recover(requeue: boolean): Promise<void> {
    return this.#channel.basicRecover(requeue);
  }

  async transaction(step: TransactionStep): Promise<void> {
    if (step === "select") await this.#channel.txSelect();
    else if (step === "commit") await this.#channel.txCommit();
    else await this.#channel.txRollback();
  }

  close(): Promise<void> {
    return this.#channel.close();
  }
}

class AmqpClientJsConnection implements ClientConnection {
  readonly #client: AMQPClient;
  constructor(client: AMQPClient) {
    this.#client = client;
  }

  async openChannel(record: ChannelRecord, confirms: boolean): Promise<ClientChannel> {
    const channel = await this.#client.channel();
    if (confirms) await channel.confirmSelect();
    return new AmqpClientJsChannel(channel, record, confirms);
  }

  close(): Promise<void> {
    return this.#client.close();
  }

  drop(): Promise<void> {
    this.#client.socket?.destroy();
    return Promise.resolve();
  }
}

export function amqpClientJs(): Client {
  return {
    name: "amqp-client.js",
    async connect(options: ConnectOptions, record: ConnectionRecord): Promise<ClientConnection> {
      const { host, port, user, password, certificateFile } = options;
      const scheme = certificateFile === undefined ? "amqp" : "amqps";
      const path = encodeURIComponent(options.vhost);
      const query = `frameMax=${options.frameMaxBytes}&heartbeat=${options.heartbeatS}`;
      const url = `${scheme}://${user}:${password}@${host}:${port}/${path}?${query}`;
      const client = new AMQPClient(url, certificateFile === undefined ? {} : { ca: readFileSync(certificateFile) });
      client.onerror = (error: Error) => record.noteClosed(reasonOf(error.message));
      try {
        const connected = client.connect();
        client.socket?.setNoDelay(true);
        await connected;
      } catch (error) {
        record.noteClosed(reasonOf(error instanceof Error ? error.message : String(error)));
        throw error;
      }
      return new AmqpClientJsConnection(client);
    },
    end: () => Promise.resolve(),
  };
}
