// amqplib (promise API) as a scenario client.

import { readFileSync } from "node:fs";
import { connect } from "amqplib";
import type { Channel, ChannelModel, ConsumeMessage, GetMessage, Message } from "amqplib";
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

const NOTATION: Notation = {
  timestamp: (seconds) => ({ "!": "timestamp", value: seconds }),
  bytes: (bytes) => bytes,
};

/** amqplib puts the broker's words into a sentence: `... 404 (NOT-FOUND) with message "NOT_FOUND - ..."`. */
function reasonOf(level: CloseReason["level"], error: unknown): CloseReason {
  const text = error instanceof Error ? error.message : String(error);
  const found = /(\d{3}) \([A-Z-]+\) with message "([\s\S]*)"/.exec(text);
  if (found === null) return { level, code: 0, text: "" };
  return { level, code: Number(found[1]), text: found[2] ?? "" };
}

function seen(message: Message, consumer?: string): SeenMessage {
  const fields = message.fields;
  return {
    ...(consumer === undefined ? {} : { consumer }),
    tag: fields.deliveryTag,
    redelivered: fields.redelivered,
    exchange: fields.exchange,
    key: fields.routingKey,
    properties: fromClientProperties({ ...message.properties }),
    body: message.content,
  };
}

/** What amqplib's typings do not show: any method can be sent, and it decodes the reply. */
interface RpcChannel {
  rpc(method: number, fields: Record<string, unknown>, expected: number): Promise<unknown>;
}
const BASIC_RECOVER = 0x003c006e;
const BASIC_RECOVER_OK = 0x003c006f;
const TRANSACTION_METHODS: Readonly<Record<TransactionStep, number>> = {
  select: 0x005a000a,
  commit: 0x005a0014,
  rollback: 0x005a001e,
};

class AmqplibChannel implements ClientChannel {
  readonly #channel: Channel;
  readonly #record: ChannelRecord;
  readonly #confirms: boolean;

  constructor(channel: Channel, record: ChannelRecord, confirms: boolean) {
    this.#channel = channel;
    this.#record = record;
    this.#confirms = confirms;
    channel.on("error", (error: unknown) => record.noteClosed(reasonOf("channel", error)));
    channel.on("return", (message: Message) => {
      const fields = message.fields as unknown as { replyCode: number; replyText: string };
      record.noteReturn(fields.replyCode, fields.replyText, message.content);
    });
  }

  async declareQueue(
    name: string,
    options: QueueOptions,
  ): Promise<{ queue: string; messages: number; consumers: number }> {
    const { durable, exclusive, autoDelete } = options;
    const ok = options.passive
      ? await this.#channel.checkQueue(name)
      : await this.#channel.assertQueue(name, {
          durable,
          exclusive,
          autoDelete,
          arguments: toClientTable(options.arguments, NOTATION),
        });
    return { queue: ok.queue, messages: ok.messageCount, consumers: ok.consumerCount };
  }

  async deleteQueue(name: string, options: { ifUnused: boolean; ifEmpty: boolean }): Promise<number> {
    return (await this.#channel.deleteQueue(name, options)).messageCount;
  }

  async purgeQueue(name: string): Promise<number> {
    return (await this.#channel.purgeQueue(name)).messageCount;
  }

  async bindQueue(b: Binding): Promise<void> {
    await this.#channel.bindQueue(b.queue, b.exchange, b.key, toClientTable(b.arguments, NOTATION));
  }

  async unbindQueue(b: Binding): Promise<void> {
    await this.#channel.unbindQueue(b.queue, b.exchange, b.key, toClientTable(b.arguments, NOTATION));
  }

  async bindExchange(b: ExchangeBinding): Promise<void> {
    await this.#channel.bindExchange(b.destination, b.source, b.key, toClientTable(b.arguments, NOTATION));
  }

  async unbindExchange(b: ExchangeBinding): Promise<void> {
    await this.#channel.unbindExchange(b.destination, b.source, b.key, toClientTable(b.arguments, NOTATION));
  }

  async declareExchange(name: string, type: string, options: ExchangeOptions): Promise<void> {
    const { durable, autoDelete, internal } = options;
    if (options.passive) await this.#channel.checkExchange(name);
    else {
      const table = toClientTable(options.arguments, NOTATION);
      await this.#channel.assertExchange(name, type, { durable, autoDelete, internal, arguments: table });
    }
  }

  async deleteExchange(name: string, ifUnused: boolean): Promise<void> {
    await this.#channel.deleteExchange(name, { ifUnused });
  }

  publish(message: OutgoingMessage): Promise<void> {
    const options = {
      ...toClientProperties(message.properties, NOTATION, (seconds) => seconds),
      mandatory: message.mandatory,
    };
    const confirmed = (error: unknown): void => {
      if (this.#record.closed === undefined) this.#record.noteConfirm(error === null);
    };
    if (this.#confirms) {
      this.#record.unconfirmed += 1;
      const channel = this.#channel as Channel & {
        publish(x: string, key: string, body: Buffer, o: object, done: (error: unknown) => void): boolean;
      };
      channel.publish(message.exchange, message.key, message.body, options, confirmed);
    } else this.#channel.publish(message.exchange, message.key, message.body, options);
    return Promise.resolve();
  }

  async consume(queue: string, options: ConsumeOptions): Promise<void> {
    const { tag, noAck, exclusive } = options;
    const take = (message: ConsumeMessage | null): void => {
      if (message === null) this.#record.noteCancelled(tag);
      else this.#record.noteDelivery(seen(message, tag));
    };
    const table = toClientTable(options.arguments, NOTATION);
    await this.#channel.consume(queue, take, { consumerTag: tag, noAck, exclusive, arguments: table });
  }

  async cancel(consumer: string): Promise<void> {
    await this.#channel.cancel(consumer);
  }

  async get(queue: string, noAck: boolean): Promise<{ message: SeenMessage; left: number } | undefined> {
    const message: GetMessage | false = await this.#channel.get(queue, { noAck });
    return message === false ? undefined : { message: seen(message), left: message.fields.messageCount };
  }

  #settled(tag: number): Message {
    return { fields: { deliveryTag: tag } } as Message;
  }

  ack(tag: number, multiple: boolean): Promise<void> {
    this.#channel.ack(this.#settled(tag), multiple);
    return Promise.resolve();
  }

  nack(tag: number, options: { multiple: boolean; requeue: boolean }): Promise<void> {
    this.#channel.nack(this.#settled(tag), options.multiple, options.requeue);
    return Promise.resolve();
  }

  reject(tag: number, requeue: boolean): Promise<void> {
    this.#channel.reject(this.#settled(tag), requeue);
    return Promise.resolve();
  }

  async qos(count: number, global: boolean): Promise<void> {
    await this.#channel.prefetch(count, global);
  }

  async recover(requeue: boolean): Promise<void> {
    await (this.#channel as unknown as RpcChannel).rpc(BASIC_RECOVER, { requeue }, BASIC_RECOVER_OK);
  }

  async transaction(step: TransactionStep): Promise<void> {
    const method = TRANSACTION_METHODS[step];
    await (this.#channel as unknown as RpcChannel).rpc(method, {}, method + 1);
  }

  async close(): Promise<void> {
    await this.#channel.close();
  }
}

class AmqplibConnection implements ClientConnection {
  readonly #model: ChannelModel;
  constructor(model: ChannelModel) {
    this.#model = model;
  }

  async openChannel(record: ChannelRecord, confirms: boolean): Promise<ClientChannel> {
    const channel = confirms ? await this.#model.createConfirmChannel() : await this.#model.createChannel();
    return new AmqplibChannel(channel, record, confirms);
  }

  async close(): Promise<void> {
    await this.#model.close();
  }

  drop(): Promise<void> {
    const connection = this.#model.connection as unknown as { stream: { destroy(): void } };
    connection.stream.destroy();
    return Promise.resolve();
  }
}

export function amqplibClient(): Client {
  return {
    name: "amqplib",
    async connect(options: ConnectOptions, record: ConnectionRecord): Promise<ClientConnection> {
      const { host, port, user, password, vhost, certificateFile } = options;
      const tls = certificateFile === undefined ? {} : { ca: [readFileSync(certificateFile)] };
      try {
        const model = await connect(
          {
            protocol: certificateFile === undefined ? "amqp" : "amqps",
            hostname: host,
            port,
            username: user,
            password,
            vhost,
            heartbeat: options.heartbeatS,
            frameMax: options.frameMaxBytes,
          },
          { ...tls, noDelay: true },
        );
        model.on("error", (error: unknown) => record.noteClosed(reasonOf("connection", error)));
        model.on("close", (error: unknown) => {
          if (error instanceof Error) record.noteClosed(reasonOf("connection", error));
        });
        return new AmqplibConnection(model);
      } catch (error) {
        record.noteClosed(reasonOf("connection", error));
        throw error;
      }
    },
    end: () => Promise.resolve(),
  };
}
