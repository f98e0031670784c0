// pika as a scenario client: a Python process that is driven by JSON lines (pika-driver.py).

import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
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
import type { ChannelRecord, ConnectionRecord, SeenMessage } from "../record.ts";
import { sourceFile } from "../paths.ts";

interface Line {
  readonly id?: number;
  readonly result?: unknown;
  readonly error?: string;
  readonly event?: string;
  readonly [key: string]: unknown;
}

interface WireMessage {
  readonly tag: number;
  readonly redelivered: boolean;
  readonly exchange: string;
  readonly key: string;
  readonly properties: Record<string, unknown>;
  readonly body: string;
}

function seen(message: WireMessage, consumer?: string): SeenMessage {
  const { tag, redelivered, exchange, key, properties } = message;
  const body = Buffer.from(message.body, "base64");
  return { ...(consumer === undefined ? {} : { consumer }), tag, redelivered, exchange, key, properties, body };
}

/** The process, its open questions, and the records that its events go to. */
class PikaProcess {
  readonly #process: ChildProcess;
  readonly #asked = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  readonly connections = new Map<string, ConnectionRecord>();
  readonly channels = new Map<string, ChannelRecord>();
  #lastId = 0;
  #ended = false;

  constructor(python: string) {
    this.#process = spawn(python, [sourceFile("test/interop/clients/pika-driver.py")], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const output = this.#process.stdout;
    if (output === null) throw new Error("the pika process has no output");
    createInterface({ input: output }).on("line", (line) => this.#take(JSON.parse(line) as Line));
    this.#process.on("exit", () => {
      this.#ended = true;
      for (const { reject } of this.#asked.values()) reject(new Error("the pika process ended"));
    });
  }

  newId(): string {
    this.#lastId += 1;
    return String(this.#lastId);
  }

  ask(op: string, fields: object): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    if (this.#ended) return Promise.reject(new Error("the pika process has ended"));
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#process.stdin?.write(`${JSON.stringify({ ...fields, id, op })}\n`);
    });
  }

  end(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.#process.once("exit", () => resolve());
      this.#process.stdin?.end();
    });
  }

  #take(line: Line): void {
    if (line.event !== undefined) {
      this.#takeEvent(line.event, line);
      return;
    }
    const asked = this.#asked.get(line.id ?? -1);
    this.#asked.delete(line.id ?? -1);
    if (line.error === undefined) asked?.resolve(line.result);
    else asked?.reject(new Error(line.error));
  }

  #takeEvent(event: string, line: Line): void {
    const code = Number(line["code"] ?? 0);
    const text = String(line["text"] ?? "");
    if (event === "connection-closed") {
      this.connections.get(String(line["connection"]))?.noteClosed({ level: "connection", code, text });
      return;
    }
    const channel = this.channels.get(String(line["channel"]));
    if (channel === undefined) return;
    if (event === "channel-closed") {
      // A channel that ends with its connection has no reason of its own.
      if (code !== 0 && code < 500 && code !== 320) channel.noteClosed({ level: "channel", code, text });
    } else if (event === "return") channel.noteReturn(code, text, Buffer.from(String(line["body"]), "base64"));
    else if (event === "confirm") channel.noteConfirm(line["positive"] === true);
    else if (event === "cancelled") channel.noteCancelled(String(line["consumer"]));
    else if (event === "deliver") {
      channel.noteDelivery(seen(line as unknown as WireMessage, String(line["consumer"])));
    }
  }
}

class PikaChannel implements ClientChannel {
  readonly #pika: PikaProcess;
  readonly #id: string;
  readonly #record: ChannelRecord;
  readonly #confirms: boolean;

  constructor(pika: PikaProcess, id: string, record: ChannelRecord, confirms: boolean) {
    this.#pika = pika;
    this.#id = id;
    this.#record = record;
    this.#confirms = confirms;
  }

  #ask(op: string, fields: object): Promise<unknown> {
    return this.#pika.ask(op, { ...fields, channel: this.#id });
  }

  async #do(op: string, fields: object): Promise<void> {
    await this.#ask(op, fields);
  }

  async declareQueue(
    queue: string,
    options: QueueOptions,
  ): Promise<{ queue: string; messages: number; consumers: number }> {
    return (await this.#ask("declare-queue", { queue, ...options })) as {
      queue: string;
      messages: number;
      consumers: number;
    };
  }

  async deleteQueue(queue: string, options: { ifUnused: boolean; ifEmpty: boolean }): Promise<number> {
    return Number(await this.#ask("delete-queue", { queue, ...options }));
  }

  async purgeQueue(queue: string): Promise<number> {
    return Number(await this.#ask("purge-queue", { queue }));
  }

  bindQueue(binding: Binding): Promise<void> {
    return this.#do("bind-queue", binding);
  }

  unbindQueue(binding: Binding): Promise<void> {
    return this.#do("unbind-queue", binding);
  }

  bindExchange(binding: ExchangeBinding): Promise<void> {
    return this.#do("bind-exchange", binding);
  }

  unbindExchange(binding: ExchangeBinding): Promise<void> {
    return this.#do("unbind-exchange", binding);
  }

  declareExchange(exchange: string, type: string, options: ExchangeOptions): Promise<void> {
    return this.#do("declare-exchange", { exchange, type, ...options });
  }

  deleteExchange(exchange: string, ifUnused: boolean): Promise<void> {
    return this.#do("delete-exchange", { exchange, ifUnused });
  }

  publish(message: OutgoingMessage): Promise<void> {
    if (this.#confirms) this.#record.unconfirmed += 1;
    return this.#do("publish", { ...message, body: message.body.toString("base64"), confirms: this.#confirms });
  }

  consume(queue: string, options: ConsumeOptions): Promise<void> {
    return this.#do("consume", { queue, ...options });
  }

  cancel(consumer: string): Promise<void> {
    return this.#do("cancel", { consumer });
  }

  async get(queue: string, noAck: boolean): Promise<{ message: SeenMessage; left: number } | undefined> {
    const found = (await this.#ask("get", { queue, noAck })) as (WireMessage & { left: number }) | null;
    return found === null ? undefined : { message: seen(found), left: found.left };
  }

  ack(tag: number, multiple: boolean): Promise<void> {
    return this.#do("ack", { tag, multiple });
  }

  nack(tag: number, options: { multiple: boolean; requeue: boolean }): Promise<void> {
    return this.#do("nack", { tag, ...options });
  }

  reject(tag: number, requeue: boolean): Promise<void> {
    return this.#do("reject", { tag, requeue });
  }

  qos(count: number, global: boolean): Promise<void> {
    return this.#do("qos", { count, global });
  }

  recover(requeue: boolean): Promise<void> {
    return this.#do("recover", { requeue });
  }

  transaction(step: TransactionStep): Promise<void> {
    return this.#do("transaction", { step });
  }

  close(): Promise<void> {
    return this.#do("close-channel", {});
  }
}

class PikaConnection implements ClientConnection {
  readonly #pika: PikaProcess;
  readonly #id: string;

  constructor(pika: PikaProcess, id: string) {
    this.#pika = pika;
    this.#id = id;
  }

  async openChannel(record: ChannelRecord, confirms: boolean): Promise<ClientChannel> {
    const id = this.#pika.newId();
    this.#pika.channels.set(id, record);
    await this.#pika.ask("open-channel", { connection: this.#id, channel: id, confirms });
    return new PikaChannel(this.#pika, id, record, confirms);
  }

  async close(): Promise<void> {
    await this.#pika.ask("close-connection", { connection: this.#id });
  }

  async drop(): Promise<void> {
    await this.#pika.ask("drop-connection", { connection: this.#id });
  }
}

/** @param python a Python that has pika (see brokers.ts) */
export function pikaClient(python: string): Client {
  const pika = new PikaProcess(python);
  return {
    name: "pika",
    async connect(options: ConnectOptions, record: ConnectionRecord): Promise<ClientConnection> {
      const id = pika.newId();
      pika.connections.set(id, record);
      await pika.ask("connect", { connection: id, options });
      return new PikaConnection(pika, id);
    },
    end: () => pika.end(),
  };
}
