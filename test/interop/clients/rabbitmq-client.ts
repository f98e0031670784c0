// rabbitmq-client as a scenario client. It reconnects by itself; here a connection that the broker
// closes stays closed, because the scenario wants to see exactly what the broker did.

import { readFileSync } from "node:fs";
import { Connection } from "rabbitmq-client";
import type { AsyncMessage, Channel, ReturnedMessage, SyncMessage } from "rabbitmq-client";
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

/** The library has no way to write a timestamp or raw bytes into a header table. */
const NOTATION: Notation = {
  timestamp: () => {
    throw new Error("rabbitmq-client cannot encode a timestamp header");
  },
  bytes: () => {
    throw new Error("rabbitmq-client cannot encode a byte header");
  },
};

const REPLY_CODES = new Map([
  ["CONNECTION_FORCED", 320],
  ["INVALID_PATH", 402],
  ["ACCESS_REFUSED", 403],
  ["NOT_FOUND", 404],
  ["RESOURCE_LOCKED", 405],
  ["PRECONDITION_FAILED", 406],
  ["FRAME_ERROR", 501],
  ["SYNTAX_ERROR", 502],
  ["COMMAND_INVALID", 503],
  ["CHANNEL_ERROR", 504],
  ["UNEXPECTED_FRAME", 505],
  ["RESOURCE_ERROR", 506],
  ["NOT_ALLOWED", 530],
  ["NOT_IMPLEMENTED", 540],
  ["INTERNAL_ERROR", 541],
]);

/** The library puts "QueueDeclare: " before the broker's words. */
function reasonOf(level: CloseReason["level"], error: unknown): CloseReason {
  const { code, message } = error as { code?: string; message?: string };
  const replyCode = REPLY_CODES.get(code ?? "");
  if (replyCode === undefined) return { level, code: 0, text: "" };
  return { level, code: replyCode, text: (message ?? "").replace(/^([A-Z][A-Za-z]+|undefined): /, "") };
}

/** The library decodes text and JSON bodies by content type; scenarios compare bytes. */
function bodyBytes(body: unknown): Buffer {
  if (Buffer.isBuffer(body)) return body;
  return Buffer.from(typeof body === "string" ? body : JSON.stringify(body));
}

function seen(message: AsyncMessage | SyncMessage, consumer?: string): SeenMessage {
  return {
    ...(consumer === undefined ? {} : { consumer }),
    tag: message.deliveryTag,
    redelivered: message.redelivered ?? false,
    exchange: message.exchange,
    key: message.routingKey,
    properties: fromClientProperties({ ...message }),
    body: bodyBytes(message.body),
  };
}

function exchangeWords(b: ExchangeBinding): {
  destination: string;
  source: string;
  routingKey: string;
  arguments: Record<string, unknown>;
} {
  const { destination, source, key } = b;
  return { destination, source, routingKey: key, arguments: toClientTable(b.arguments, NOTATION) };
}

class RabbitmqClientChannel implements ClientChannel {
  readonly #channel: Channel;
  readonly #record: ChannelRecord;
  readonly #confirms: boolean;

  constructor(channel: Channel, record: ChannelRecord, confirms: boolean) {
    this.#channel = channel;
    this.#record = record;
    this.#confirms = confirms;
    channel.on("error", (error: unknown) => record.noteClosed(reasonOf("channel", error)));
    channel.on("basic.return", (m: ReturnedMessage) => record.noteReturn(m.replyCode, m.replyText, bodyBytes(m.body)));
    channel.on("basic.cancel", (consumer: string) => record.noteCancelled(consumer));
  }

  /** The library rejects the call that the broker refused; only such an error tells the reason. */
  async #asked<T>(call: Promise<T>): Promise<T> {
    try {
      return await call;
    } catch (error) {
      const reason = reasonOf("channel", error);
      if (reason.code !== 0 && reason.code < 500) this.#record.noteClosed(reason);
      throw error;
    }
  }

  async declareQueue(
    name: string,
    options: QueueOptions,
  ): Promise<{ queue: string; messages: number; consumers: number }> {
    const ok = await this.#asked(
      this.#channel.queueDeclare({
        ...options,
        queue: name,
        arguments: toClientTable(options.arguments, NOTATION),
      }),
    );
    return { queue: ok.queue, messages: ok.messageCount, consumers: ok.consumerCount };
  }

  async deleteQueue(name: string, options: { ifUnused: boolean; ifEmpty: boolean }): Promise<number> {
    return (await this.#asked(this.#channel.queueDelete({ queue: name, ...options }))).messageCount;
  }

  async purgeQueue(name: string): Promise<number> {
    return (await this.#asked(this.#channel.queuePurge({ queue: name }))).messageCount;
  }

  async bindQueue(b: Binding): Promise<void> {
    const table = toClientTable(b.arguments, NOTATION);
    await this.#asked(
      this.#channel.queueBind({ queue: b.queue, exchange: b.exchange, routingKey: b.key, arguments: table }),
    );
  }

  async unbindQueue(b: Binding): Promise<void> {
    const table = toClientTable(b.arguments, NOTATION);
    await this.#asked(
      this.#channel.queueUnbind({ queue: b.queue, exchange: b.exchange, routingKey: b.key, arguments: table }),
    );
  }

  async bindExchange(b: ExchangeBinding): Promise<void> {
    await this.#asked(this.#channel.exchangeBind(exchangeWords(b)));
  }

  async unbindExchange(b: ExchangeBinding): Promise<void> {
    await this.#asked(this.#channel.exchangeUnbind(exchangeWords(b)));
  }

  async declareExchange(name: string, type: string, options: ExchangeOptions): Promise<void> {
    const table = toClientTable(options.arguments, NOTATION);
    await this.#asked(this.#channel.exchangeDeclare({ ...options, exchange: name, type, arguments: table }));
  }

  async deleteExchange(name: string, ifUnused: boolean): Promise<void> {
    await this.#asked(this.#channel.exchangeDelete({ exchange: name, ifUnused }));
  }

  async publish(message: OutgoingMessage): Promise<void> {
    const envelope = {
      ...toClientProperties(message.properties, NOTATION, (seconds) => seconds),
      exchange: message.exchange,
      routingKey: message.key,
      mandatory: message.mandatory,
    };
    const sent = this.#asked(this.#channel.basicPublish(envelope, message.body));
    if (!this.#confirms) return sent;
    this.#record.unconfirmed += 1;
    // basic.return is emitted by setImmediate, so the confirm is noted by setImmediate too: the order
    // in the record is then the order on the wire.
    sent.then(
      () => setImmediate(() => this.#record.noteConfirm(true)),
      () => {
        if (this.#record.closed === undefined) setImmediate(() => this.#record.noteConfirm(false));
      },
    );
  }

  async consume(queue: string, options: ConsumeOptions): Promise<void> {
    const { tag, noAck, exclusive } = options;
    const table = toClientTable(options.arguments, NOTATION);
    await this.#asked(
      this.#channel.basicConsume(
        { queue, consumerTag: tag, noAck, exclusive, arguments: table },
        (message: AsyncMessage) => this.#record.noteDelivery(seen(message, tag)),
      ),
    );
  }

  async cancel(consumer: string): Promise<void> {
    await this.#asked(this.#channel.basicCancel({ consumerTag: consumer }));
  }

  async get(queue: string, noAck: boolean): Promise<{ message: SeenMessage; left: number } | undefined> {
    const message = await this.#asked(this.#channel.basicGet({ queue, noAck }));
    return message === undefined ? undefined : { message: seen(message), left: message.messageCount };
  }

  ack(tag: number, multiple: boolean): Promise<void> {
    this.#channel.basicAck({ deliveryTag: tag, multiple });
    return Promise.resolve();
  }

  nack(tag: number, options: { multiple: boolean; requeue: boolean }): Promise<void> {
    this.#channel.basicNack({ deliveryTag: tag, ...options });
    return Promise.resolve();
  }

  /** The library has no basic.reject; basic.nack of one message means the same. */
  reject(tag: number, requeue: boolean): Promise<void> {
    return this.nack(tag, { multiple: false, requeue });
  }

  async qos(count: number, global: boolean): Promise<void> {
    await this.#asked(this.#channel.basicQos({ prefetchCount: count, global }));
  }

  async recover(requeue: boolean): Promise<void> {
    await this.#asked(this.#channel.basicRecover({ requeue }));
  }

  async transaction(step: TransactionStep): Promise<void> {
    if (step === "select") await this.#asked(this.#channel.txSelect());
    else if (step === "commit") await this.#asked(this.#channel.txCommit());
    else await this.#asked(this.#channel.txRollback());
  }

  async close(): Promise<void> {
    await this.#channel.close();
  }
}

class RabbitmqClientConnection implements ClientConnection {
  readonly #connection: Connection;
  readonly #channels = new Set<Channel>();
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  async openChannel(record: ChannelRecord, confirms: boolean): Promise<ClientChannel> {
    const channel = await this.#connection.acquire({ emitErrorsFromChannel: true });
    this.#channels.add(channel);
    if (confirms) await channel.confirmSelect();
    return new RabbitmqClientChannel(channel, record, confirms);
  }

  /** The library's close waits for its channels, so they are closed first. */
  async close(): Promise<void> {
    for (const channel of this.#channels) await channel.close();
    await this.#connection.close();
  }

  drop(): Promise<void> {
    this.#connection.unsafeDestroy();
    return Promise.resolve();
  }
}

export function rabbitmqClient(): Client {
  return {
    name: "rabbitmq-client",
    async connect(options: ConnectOptions, record: ConnectionRecord): Promise<ClientConnection> {
      const { host, port, user, password, vhost, certificateFile } = options;
      const connection = new Connection({
        hostname: host,
        port,
        username: user,
        password,
        vhost,
        heartbeat: options.heartbeatS,
        frameMax: options.frameMaxBytes,
        noDelay: true,
        ...(certificateFile === undefined ? {} : { tls: { ca: [readFileSync(certificateFile)] } }),
      });
      connection.on("error", (error: unknown) => {
        record.noteClosed(reasonOf("connection", error));
        connection.unsafeDestroy();
      });
      await new Promise<void>((resolve, reject) => {
        connection.once("connection", resolve);
        connection.once("error", reject);
      });
      return new RabbitmqClientConnection(connection);
    },
    end: () => Promise.resolve(),
  };
}
