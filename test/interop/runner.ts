// Runs the steps of a scenario with one client against one broker and returns what each step showed.

import { createHash } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type {
  Client,
  ClientChannel,
  ClientConnection,
  ConnectOptions,
  ExchangeBinding,
  Properties,
  Table,
  Value,
} from "./client.ts";
import { askForCount, askUntilGone } from "./asking.ts";
import { deletePolicy, putPolicy } from "./policies.ts";
import { ChannelRecord, ConnectionRecord } from "./record.ts";
import type { CloseReason, SeenMessage } from "./record.ts";
import type { Body, Expected, Shown, Step } from "./scenario.ts";

/** Where the broker listens. */
export type Address = Pick<ConnectOptions, "host" | "port" | "certificateFile"> & {
  /** The management interface, for policies. */
  readonly httpPort?: number;
};

interface OpenChannel {
  readonly connection: string;
  readonly record: ChannelRecord;
  readonly calls: ClientChannel;
}
interface OpenConnection {
  readonly record: ConnectionRecord;
  readonly calls: ClientConnection;
}
type StepOf<K extends Step["do"]> = Extract<Step, { readonly do: K }>;

/** Bodies up to so many bytes are shown as text. */
const SHORT_BODY = 64;

export function bodyBytes(body: Body): Buffer {
  if (typeof body === "string") return Buffer.from(body);
  const bytes = Buffer.allocUnsafe(body.bytes);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = (i * 31 + (i >>> 8)) & 0xff;
  return bytes;
}

/** Long bodies are shown by length and digest. */
export function showBody(body: Buffer): string {
  if (body.length <= SHORT_BODY) return body.toString("latin1");
  return `${body.length} bytes, sha256 ${createHash("sha256").update(body).digest("hex").slice(0, 16)}`;
}

function showReason(reason: CloseReason): Shown {
  return { closed: reason.level, code: reason.code, text: reason.text };
}

/** The moments in `x-death` are another in each run; they are shown as the word "moment". */
function withoutTimes(properties: SeenMessage["properties"]): SeenMessage["properties"] {
  const headers = properties["headers"] as Table | undefined;
  const deaths = headers?.["x-death"];
  if (!Array.isArray(deaths)) return properties;
  const shown = deaths.map((death: Table) => ({ ...death, time: "moment" }));
  return { ...properties, headers: { ...headers, "x-death": shown } };
}

function showMessage(message: SeenMessage, full: boolean): Shown {
  const body = showBody(message.body);
  if (!full) return message.redelivered ? `${body} (again)` : body;
  const { consumer, redelivered, exchange, key } = message;
  const properties = withoutTimes(message.properties) as { readonly [key: string]: Shown };
  return { ...(consumer === undefined ? {} : { consumer }), redelivered, exchange, key, properties, body };
}

/** "ack", "ack", "ack" -> "ack x3". */
function compress(events: readonly string[]): string[] {
  const runs: { event: string; count: number }[] = [];
  for (const event of events) {
    const last = runs.at(-1);
    if (last?.event === event) last.count += 1;
    else runs.push({ event, count: 1 });
  }
  return runs.map(({ event, count }) => (count === 1 ? event : `${event} x${count}`));
}

/** Counts alone; a count that came with deliveries must not be asked for again. */
function isCount(shown: Shown): boolean {
  if (typeof shown !== "object" || shown === null || Array.isArray(shown)) return false;
  const { came, consumers } = shown as { readonly came?: readonly Shown[]; readonly consumers?: number };
  return consumers !== undefined && (came === undefined || came.length === 0);
}

const PATIENCE_MS = 1000;
/** Steps that may be taken again without harm: counts, and a get that found nothing. */
const ASKED_AGAIN: ReadonlySet<Step["do"]> = new Set(["quiet", "declare-queue", "get"]);

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** One run: the open connections and channels by their names in the scenario. */
export class Run {
  readonly #client: Client;
  readonly #address: Address;
  readonly #prefix: string;
  readonly #patient: boolean;
  readonly #connections = new Map<string, OpenConnection>();
  readonly #channels = new Map<string, OpenChannel>();
  readonly #generated = new Map<string, string>();

  constructor(client: Client, address: Address, prefix: string, patient: boolean) {
    this.#client = client;
    this.#address = address;
    this.#prefix = prefix;
    this.#patient = patient;
  }

  /** Runs the steps; one shown value for each. A step never throws: what went wrong is what it shows. */
  async steps(steps: readonly (Step | Expected)[]): Promise<Shown[]> {
    const shown: Shown[] = [];
    for (const each of steps) {
      const step = "step" in each ? each.step : each;
      const one = await this.#patiently(step, "step" in each ? each.shows : undefined);
      shown.push(one);
      // After a wait in vain every later step would only wait in vain too.
      if (typeof one === "object" && one !== null && "failed" in one) break;
    }
    return shown;
  }

  /**
   * RabbitMQ answers a question for counts, or a get, ahead of publishes, acks and returns that reached the
   * queue before it, so a patient run asks again until the answer is as expected, or a second has passed.
   */
  async #patiently(step: Step, expected: Shown | undefined): Promise<Shown> {
    let shown = this.#withoutPrefix(await this.#guarded(step));
    if (!this.#patient || expected === undefined || !ASKED_AGAIN.has(step.do)) return shown;
    const until = performance.now() + PATIENCE_MS;
    while ((isCount(shown) || shown === "empty") && !isDeepStrictEqual(shown, expected) && performance.now() < until) {
      await turn();
      shown = this.#withoutPrefix(await this.#guarded(step));
    }
    return shown;
  }

  /** Closes what is open; errors of connections that are already over do not matter. */
  async end(): Promise<void> {
    for (const { calls, record } of this.#connections.values()) {
      if (record.closed === undefined) await calls.close().catch((error: unknown) => record.closed ?? error);
    }
    this.#connections.clear();
    this.#channels.clear();
  }

  async #guarded(step: Step): Promise<Shown> {
    try {
      return await this.#run(step);
    } catch (error) {
      const record = this.#channels.get(step.channel)?.record;
      const over = record ?? (step.do === "open" ? this.#connections.get(step.on)?.record : undefined);
      const reason = await this.#reasonOf(over);
      return reason ?? { failed: error instanceof Error ? error.message : String(error) };
    }
  }

  async #reasonOf(record: ChannelRecord | ConnectionRecord | undefined): Promise<Shown | undefined> {
    if (record === undefined) return undefined;
    try {
      return showReason(await record.until("the reason of a refusal", () => record.closed));
    } catch {
      return undefined;
    }
  }

  #withoutPrefix(shown: Shown): Shown {
    const text = JSON.stringify(shown)
      .replaceAll(`${this.#prefix}.`, "")
      .replaceAll(/amq\.gen-[\w-]+/g, "amq.gen-*")
      .replaceAll(/amq\.rabbitmq\.reply-to\.[^"']+/g, "amq.rabbitmq.reply-to.*");
    return JSON.parse(text) as Shown;
  }

  #name(name: string): string {
    if (name === "" || name.startsWith("amq.")) return name;
    if (name.startsWith("$")) return this.#generated.get(name.slice(1)) ?? name;
    return `${this.#prefix}.${name}`;
  }

  /** Arguments and headers, where "@name" stands for the name of a queue or exchange of this run. */
  #table(table: Table | undefined): Table {
    const named = (value: Value): Value => {
      if (Array.isArray(value)) return value.map(named);
      return typeof value === "string" && value.startsWith("@") ? this.#name(value.slice(1)) : value;
    };
    return Object.fromEntries(Object.entries(table ?? {}).map(([key, value]) => [key, named(value)]));
  }

  #channel(name: string): OpenChannel {
    const found = this.#channels.get(name);
    if (found === undefined) throw new Error(`the scenario has not opened channel ${name}`);
    return found;
  }

  #run(step: Step): Promise<Shown> {
    if (step.do === "open") return this.#open(step);
    const { record, calls } = this.#channel(step.channel);
    switch (step.do) {
      case "close-channel":
        return calls.close().then(() => null);
      case "close-connection":
        return this.#leave(step.channel, "close");
      case "drop-connection":
        return this.#leave(step.channel, "drop");
      case "ends":
        return record.until("the end of the channel", () => record.closed).then(showReason);
      case "connection-ends":
        return this.#connectionEnds(step.channel);
      case "publish":
        return this.#publish(step, calls);
      case "confirms":
        return this.#confirms(record);
      case "deliveries":
        return this.#deliveries(step, record);
      case "cancelled":
        return record
          .until(`cancel of ${step.tag}`, () => record.cancelled.has(step.tag) || undefined)
          .then(() => "cancelled");
      case "quiet":
        return this.#quiet(step, record, calls);
      case "get":
        return this.#get(step, record, calls);
      case "ack":
      case "nack":
      case "reject":
        return this.#settle(step, record, calls);
      case "qos":
        return calls.qos(step.count, step.global).then(() => null);
      case "recover":
        return calls.recover(step.requeue).then(() => null);
      case "transaction":
        return calls.transaction(step.word).then(() => null);
      case "becomes":
        return askForCount(calls, this.#name(step.queue), step.messages);
      case "vanishes":
        return askUntilGone(() => this.#sideChannel(step.channel), this.#name(step.queue));
      case "set-policy":
        return putPolicy(this.#address, this.#name(step.policy), {
          pattern: `^${this.#name(step.beginning).replaceAll(".", "[.]")}`,
          definition: this.#table(step.definition) as Record<string, string | number>,
          priority: step.priority ?? 0,
          "apply-to": step.applyTo ?? "all",
        });
      case "delete-policy":
        return deletePolicy(this.#address, this.#name(step.policy));
      case "consume":
        return this.#consume(step, calls);
      case "cancel":
        return calls.cancel(step.tag).then(() => null);
      default:
        return this.#runTopology(step, calls);
    }
  }

  #runTopology(
    step: StepOf<
      | "declare-queue"
      | "delete-queue"
      | "purge"
      | "bind"
      | "unbind"
      | "bind-exchange"
      | "unbind-exchange"
      | "declare-exchange"
      | "delete-exchange"
    >,
    calls: ClientChannel,
  ): Promise<Shown> {
    switch (step.do) {
      case "declare-queue":
        return this.#declareQueue(step, calls);
      case "delete-queue": {
        const options = { ifUnused: step.ifUnused ?? false, ifEmpty: step.ifEmpty ?? false };
        return calls.deleteQueue(this.#name(step.queue), options).then((messages) => ({ messages }));
      }
      case "purge":
        return calls.purgeQueue(this.#name(step.queue)).then((messages) => ({ messages }));
      case "bind":
        return calls.bindQueue(this.#binding(step)).then(() => null);
      case "unbind":
        return calls.unbindQueue(this.#binding(step)).then(() => null);
      case "bind-exchange":
        return calls.bindExchange(this.#exchangeBinding(step)).then(() => null);
      case "unbind-exchange":
        return calls.unbindExchange(this.#exchangeBinding(step)).then(() => null);
      case "declare-exchange": {
        const options = {
          passive: step.passive ?? false,
          durable: step.durable ?? false,
          autoDelete: step.autoDelete ?? false,
          internal: step.internal ?? false,
          arguments: this.#table(step.arguments),
        };
        return calls.declareExchange(this.#name(step.exchange), step.type, options).then(() => null);
      }
      case "delete-exchange":
        return calls.deleteExchange(this.#name(step.exchange), step.ifUnused ?? false).then(() => null);
    }
  }

  #binding(step: StepOf<"bind" | "unbind">): {
    queue: string;
    exchange: string;
    key: string;
    arguments: NonNullable<typeof step.arguments>;
  } {
    return {
      queue: this.#name(step.queue),
      exchange: this.#name(step.exchange),
      key: step.key ?? "",
      arguments: this.#table(step.arguments),
    };
  }

  #exchangeBinding(step: StepOf<"bind-exchange" | "unbind-exchange">): ExchangeBinding {
    return {
      destination: this.#name(step.destination),
      source: this.#name(step.source),
      key: step.key ?? "",
      arguments: this.#table(step.arguments),
    };
  }

  /** A fresh channel on the connection of `channel`, for a question whose answer may end it. */
  async #sideChannel(channel: string): Promise<{ calls: ClientChannel; record: ChannelRecord }> {
    const connection = this.#connectionOf(channel);
    const record = new ChannelRecord();
    connection.record.channels.add(record);
    return { record, calls: await connection.calls.openChannel(record, false) };
  }

  async #open(step: StepOf<"open">): Promise<Shown> {
    let connection = this.#connections.get(step.on);
    if (connection === undefined) {
      const record = new ConnectionRecord();
      try {
        const calls = await this.#client.connect(
          {
            ...this.#address,
            vhost: step.vhost ?? "/",
            user: step.user ?? "guest",
            password: step.password ?? "guest",
            heartbeatS: step.heartbeatS ?? 0,
            frameMaxBytes: step.frameMaxBytes ?? 131_072,
          },
          record,
        );
        connection = { record, calls };
      } catch (error) {
        const reason = await this.#reasonOf(record);
        return reason ?? { failed: error instanceof Error ? error.message : String(error) };
      }
      this.#connections.set(step.on, connection);
    }
    const record = new ChannelRecord();
    connection.record.channels.add(record);
    const calls = await connection.calls.openChannel(record, step.confirms ?? false);
    this.#channels.set(step.channel, { connection: step.on, record, calls });
    return null;
  }

  #connectionOf(channel: string): OpenConnection {
    const found = this.#connections.get(this.#channel(channel).connection);
    if (found === undefined) throw new Error(`the connection of ${channel} is gone`);
    return found;
  }

  /** Closes or cuts the connection; its channels are forgotten, so that their names can be used again. */
  async #leave(channel: string, how: "close" | "drop"): Promise<Shown> {
    const name = this.#channel(channel).connection;
    const { calls } = this.#connectionOf(channel);
    this.#connections.delete(name);
    for (const [key, each] of this.#channels) if (each.connection === name) this.#channels.delete(key);
    await (how === "close" ? calls.close() : calls.drop());
    return null;
  }

  #connectionEnds(channel: string): Promise<Shown> {
    const { record } = this.#connectionOf(channel);
    return record.until("the end of the connection", () => record.closed).then(showReason);
  }

  async #declareQueue(step: StepOf<"declare-queue">, calls: ClientChannel): Promise<Shown> {
    const ok = await calls.declareQueue(this.#name(step.queue), {
      passive: step.passive ?? false,
      durable: step.durable ?? false,
      exclusive: step.exclusive ?? false,
      autoDelete: step.autoDelete ?? false,
      arguments: this.#table(step.arguments),
    });
    if (step.as !== undefined) this.#generated.set(step.as, ok.queue);
    return ok;
  }

  #publishKey(step: StepOf<"publish">): string {
    if (step.answering !== undefined) {
      const address = this.#channel(step.channel).record.replyAddresses.get(step.answering);
      if (address === undefined) throw new Error(`"${step.answering}" asked for no reply`);
      return address;
    }
    return step.to === undefined ? (step.key ?? "") : this.#name(step.to);
  }

  async #publish(step: StepOf<"publish">, calls: ClientChannel): Promise<Shown> {
    const properties: Properties = step.properties ?? {};
    const exchange = step.to === undefined ? this.#name(step.exchange ?? "") : "";
    const key = this.#publishKey(step);
    const replyTo = properties["reply-to"];
    const headers = properties.headers === undefined ? {} : { headers: this.#table(properties.headers) };
    await calls.publish({
      exchange,
      key,
      body: bodyBytes(step.body),
      mandatory: step.mandatory ?? false,
      properties: {
        ...properties,
        ...headers,
        ...(replyTo === undefined ? {} : { "reply-to": this.#name(replyTo) }),
      },
    });
    return null;
  }

  async #confirms(record: ChannelRecord): Promise<Shown> {
    await record.until("confirms", () => record.unconfirmed === 0 || record.closed !== undefined || undefined);
    await turn();
    const shown = compress(record.events);
    record.events = [];
    return shown;
  }

  async #consume(step: StepOf<"consume">, calls: ClientChannel): Promise<Shown> {
    await calls.consume(this.#name(step.queue), {
      tag: step.tag,
      noAck: step.noAck ?? false,
      exclusive: step.exclusive ?? false,
      arguments: this.#table(step.arguments),
    });
    return null;
  }

  async #deliveries(step: StepOf<"deliveries">, record: ChannelRecord): Promise<Shown> {
    const enough = (): boolean | undefined =>
      record.deliveries.length >= step.count || record.closed !== undefined || undefined;
    await record.until(`${step.count} deliveries`, enough);
    return record.deliveries.splice(0, step.count).map((message) => showMessage(message, step.full ?? false));
  }

  /**
   * Asks the queue twice on the same channel: what the queue had sent to the channel before the first
   * answer reaches the client before the second one.
   */
  async #quiet(step: StepOf<"quiet">, record: ChannelRecord, calls: ClientChannel): Promise<Shown> {
    const passive = { passive: true, durable: false, exclusive: false, autoDelete: false, arguments: {} };
    await calls.declareQueue(this.#name(step.queue), passive);
    const { messages, consumers } = await calls.declareQueue(this.#name(step.queue), passive);
    await turn();
    const came = record.deliveries.splice(0).map((message) => showMessage(message, false));
    return { ready: messages, consumers, came };
  }

  async #get(step: StepOf<"get">, record: ChannelRecord, calls: ClientChannel): Promise<Shown> {
    const found = await calls.get(this.#name(step.queue), step.noAck ?? false);
    if (found === undefined) return "empty";
    record.noteTag(found.message);
    return { message: showMessage(found.message, step.full ?? false), left: found.left };
  }

  async #settle(step: StepOf<"ack" | "nack" | "reject">, record: ChannelRecord, calls: ClientChannel): Promise<Shown> {
    const tag = typeof step.message === "number" ? step.message : record.tags.get(step.message);
    if (tag === undefined) throw new Error(`no delivery of "${step.message}" on channel ${step.channel}`);
    const multiple = step.multiple ?? false;
    if (step.do === "ack") await calls.ack(tag, multiple);
    else if (step.do === "nack") await calls.nack(tag, { multiple, requeue: step.requeue ?? true });
    else await calls.reject(tag, step.requeue ?? true);
    return null;
  }
}
