// What every client library must be able to do for a scenario. An adapter translates these calls into
// its library's words and writes what happens into the records; it decides nothing.

import type { ChannelRecord, ConnectionRecord, SeenMessage } from "./record.ts";

export type ClientName = "amqplib" | "rabbitmq-client" | "amqp-client.js" | "pika";

export const CLIENT_NAMES: readonly ClientName[] = ["amqplib", "rabbitmq-client", "amqp-client.js", "pika"];

/**
 * A header or argument as plain data: null, booleans, whole numbers, strings, lists and objects stand for
 * themselves; `$` names the wire types that plain data cannot tell apart.
 */
export type Value =
  | null
  | boolean
  | number
  | string
  | readonly Value[]
  | { readonly $: "timestamp"; readonly seconds: number }
  | { readonly $: "double"; readonly value: number }
  | { readonly $: "bytes"; readonly hex: string }
  | { readonly [key: string]: Value };

export type Table = Readonly<Record<string, Value>>;

/** The basic properties by their names in the specification. `timestamp` is in seconds. */
export interface Properties {
  readonly "content-type"?: string;
  readonly "content-encoding"?: string;
  readonly headers?: Table;
  readonly "delivery-mode"?: number;
  readonly priority?: number;
  readonly "correlation-id"?: string;
  readonly "reply-to"?: string;
  readonly expiration?: string;
  readonly "message-id"?: string;
  readonly timestamp?: number;
  readonly type?: string;
  readonly "user-id"?: string;
  readonly "app-id"?: string;
  readonly "cluster-id"?: string;
}

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  readonly vhost: string;
  readonly user: string;
  readonly password: string;
  /** Seconds; 0 switches heartbeats off. */
  readonly heartbeatS: number;
  readonly frameMaxBytes: number;
  /** PEM file of the certificate to trust; present: TLS. */
  readonly certificateFile?: string;
}

export interface QueueOptions {
  readonly passive: boolean;
  readonly durable: boolean;
  readonly exclusive: boolean;
  readonly autoDelete: boolean;
  readonly arguments: Table;
}

export interface ExchangeOptions {
  readonly passive: boolean;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly internal: boolean;
  readonly arguments: Table;
}

export interface OutgoingMessage {
  readonly exchange: string;
  readonly key: string;
  readonly body: Buffer;
  readonly properties: Properties;
  readonly mandatory: boolean;
}

export interface Binding {
  readonly queue: string;
  readonly exchange: string;
  readonly key: string;
  readonly arguments: Table;
}

/** From exchange to exchange. */
export interface ExchangeBinding {
  readonly destination: string;
  readonly source: string;
  readonly key: string;
  readonly arguments: Table;
}

export type TransactionStep = "select" | "commit" | "rollback";

export interface ConsumeOptions {
  readonly tag: string;
  readonly noAck: boolean;
  readonly exclusive: boolean;
  readonly arguments: Table;
}

/** Calls reject when the broker closes the channel or connection; the record then holds the reason. */
export interface ClientChannel {
  declareQueue(name: string, options: QueueOptions): Promise<{ queue: string; messages: number; consumers: number }>;
  deleteQueue(name: string, options: { ifUnused: boolean; ifEmpty: boolean }): Promise<number>;
  purgeQueue(name: string): Promise<number>;
  bindQueue(binding: Binding): Promise<void>;
  unbindQueue(binding: Binding): Promise<void>;
  bindExchange(binding: ExchangeBinding): Promise<void>;
  unbindExchange(binding: ExchangeBinding): Promise<void>;
  declareExchange(name: string, type: string, options: ExchangeOptions): Promise<void>;
  deleteExchange(name: string, ifUnused: boolean): Promise<void>;
  /** Returns when the message is handed over; its confirm goes to the record. */
  publish(message: OutgoingMessage): Promise<void>;
  consume(queue: string, options: ConsumeOptions): Promise<void>;
  cancel(consumer: string): Promise<void>;
  get(queue: string, noAck: boolean): Promise<{ message: SeenMessage; left: number } | undefined>;
  ack(tag: number, multiple: boolean): Promise<void>;
  nack(tag: number, options: { multiple: boolean; requeue: boolean }): Promise<void>;
  reject(tag: number, requeue: boolean): Promise<void>;
  qos(count: number, global: boolean): Promise<void>;
  recover(requeue: boolean): Promise<void>;
  transaction(step: TransactionStep): Promise<void>;
  close(): Promise<void>;
}

export interface ClientConnection {
  openChannel(record: ChannelRecord, confirms: boolean): Promise<ClientChannel>;
  close(): Promise<void>;
  /** Cuts the socket without a word, as a killed process does. */
  drop(): Promise<void>;
}

export interface Client {
  readonly name: ClientName;
  connect(options: ConnectOptions, record: ConnectionRecord): Promise<ClientConnection>;
  /** Ends what the client started outside this process. */
  end(): Promise<void>;
}
