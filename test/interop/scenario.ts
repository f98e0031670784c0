// A scenario is data: steps in the words of the specification, and what each step must show. The same
// steps run with every client library against every broker. Names of queues and exchanges are short here;
// the runner puts a prefix of the run before them and takes it away from what was seen.

import type { ClientName, Properties, Table, TransactionStep } from "./client.ts";

/** What a step shows: plain data, so that two brokers can be compared. */
export type Shown = null | boolean | number | string | readonly Shown[] | { readonly [key: string]: Shown };

/** A body: text, or so many bytes of a fixed pattern. */
export type Body = string | { readonly bytes: number };

export type Step =
  | ({ readonly do: "open"; readonly channel: string; readonly on: string } & OpenOptions)
  | {
      readonly do: "close-channel" | "close-connection" | "drop-connection" | "ends" | "connection-ends";
      readonly channel: string;
    }
  | ({ readonly do: "declare-queue"; readonly channel: string; readonly queue: string } & QueueWords)
  | {
      readonly do: "delete-queue";
      readonly channel: string;
      readonly queue: string;
      readonly ifUnused?: boolean;
      readonly ifEmpty?: boolean;
    }
  | { readonly do: "purge"; readonly channel: string; readonly queue: string }
  | ({
      readonly do: "bind" | "unbind";
      readonly channel: string;
      readonly queue: string;
      readonly exchange: string;
    } & BindWords)
  | ({
      readonly do: "bind-exchange" | "unbind-exchange";
      readonly channel: string;
      readonly destination: string;
      readonly source: string;
    } & BindWords)
  | { readonly do: "transaction"; readonly channel: string; readonly word: TransactionStep }
  | { readonly do: "becomes"; readonly channel: string; readonly queue: string; readonly messages: number }
  | { readonly do: "vanishes"; readonly channel: string; readonly queue: string }
  | ({ readonly do: "set-policy"; readonly channel: string; readonly policy: string } & PolicyWords)
  | { readonly do: "delete-policy"; readonly channel: string; readonly policy: string }
  | ({
      readonly do: "declare-exchange";
      readonly channel: string;
      readonly exchange: string;
      readonly type: string;
    } & ExchangeWords)
  | { readonly do: "delete-exchange"; readonly channel: string; readonly exchange: string; readonly ifUnused?: boolean }
  | ({ readonly do: "publish"; readonly channel: string; readonly body: Body } & PublishWords)
  | { readonly do: "confirms"; readonly channel: string }
  | ({ readonly do: "consume"; readonly channel: string; readonly queue: string; readonly tag: string } & ConsumeWords)
  | { readonly do: "cancel" | "cancelled"; readonly channel: string; readonly tag: string }
  | { readonly do: "deliveries"; readonly channel: string; readonly count: number; readonly full?: boolean }
  | { readonly do: "quiet"; readonly channel: string; readonly queue: string }
  | {
      readonly do: "get";
      readonly channel: string;
      readonly queue: string;
      readonly noAck?: boolean;
      readonly full?: boolean;
    }
  | ({
      readonly do: "ack" | "nack" | "reject";
      readonly channel: string;
      readonly message: string | number;
    } & SettleWords)
  | { readonly do: "qos"; readonly channel: string; readonly count: number; readonly global: boolean }
  | { readonly do: "recover"; readonly channel: string; readonly requeue: boolean };

export interface OpenOptions {
  readonly confirms?: boolean;
  readonly vhost?: string;
  readonly user?: string;
  readonly password?: string;
  readonly heartbeatS?: number;
  readonly frameMaxBytes?: number;
}
export interface QueueWords {
  readonly passive?: boolean;
  readonly durable?: boolean;
  readonly exclusive?: boolean;
  readonly autoDelete?: boolean;
  readonly arguments?: Table;
  /** Remember the broker's name of the queue; later steps call it "$name". */
  readonly as?: string;
}
export interface ExchangeWords {
  readonly passive?: boolean;
  readonly durable?: boolean;
  readonly autoDelete?: boolean;
  readonly internal?: boolean;
  readonly arguments?: Table;
}
export interface BindWords {
  readonly key?: string;
  readonly arguments?: Table;
}
export interface PolicyWords {
  /** The queues or exchanges it applies to begin with this name. */
  readonly beginning: string;
  readonly definition: Readonly<Record<string, string | number>>;
  readonly priority?: number;
  readonly applyTo?: "queues" | "exchanges" | "all";
}
export interface PublishWords {
  /** A queue's name: publish through the default exchange. */
  readonly to?: string;
  readonly exchange?: string;
  readonly key?: string;
  /** The body of a message that this channel got: publish to the address in its reply-to. */
  readonly answering?: string;
  readonly properties?: Properties;
  readonly mandatory?: boolean;
}
export interface ConsumeWords {
  readonly noAck?: boolean;
  readonly exclusive?: boolean;
  readonly arguments?: Table;
}
export interface SettleWords {
  readonly multiple?: boolean;
  readonly requeue?: boolean;
}

/** A step with what it must show. Without `shows` it must merely succeed. */
export interface Expected {
  readonly step: Step;
  readonly shows?: Shown;
  /** Quayside shows something else than the recorded broker on purpose. */
  readonly differs?: { readonly quayside: Shown; readonly why: string };
}

export interface Scenario {
  /** The guarantee, in a sentence; the test's name. */
  readonly guarantee: string;
  readonly steps: readonly (Step | Expected)[];
  /** Run after the broker was stopped and started again; new connections only. */
  readonly afterRestart?: readonly (Step | Expected)[];
  /** The connections stay open over the restart, to see how they end. */
  readonly staysOpen?: boolean;
  /** Clients that cannot express it, each with the reason. */
  readonly cannot?: Partial<Record<ClientName, string>>;
}

/** The step must show exactly this. */
export function see(step: Step, shows: Shown): Expected {
  return { step, shows };
}

/** RabbitMQ 3.10 shows `rabbitmq`; Quayside shows `quayside` on purpose, for the reason `why`. */
export function seeDifferent(step: Step, shown: { rabbitmq: Shown; quayside: Shown; why: string }): Expected {
  return { step, shows: shown.rabbitmq, differs: { quayside: shown.quayside, why: shown.why } };
}

/** The broker closes the channel with this code and text. */
export function refused(step: Step, code: number, text: string): Expected {
  return { step, shows: { closed: "channel", code, text } };
}

/** The broker closes the whole connection with this code and text. */
export function expelled(step: Step, code: number, text: string): Expected {
  return { step, shows: { closed: "connection", code, text } };
}

/** Opens channel `channel` on the connection `on`, which is made when it is new (default: the same name). */
export function open(channel: string, options: OpenOptions & { on?: string } = {}): Step {
  return { do: "open", channel, ...options, on: options.on ?? channel };
}
export const closeChannel = (channel: string): Step => ({ do: "close-channel", channel });
export const closeConnection = (channel: string): Step => ({ do: "close-connection", channel });
export const dropConnection = (channel: string): Step => ({ do: "drop-connection", channel });
/** Waits until the broker closes the channel; shows why. */
export const ends = (channel: string): Step => ({ do: "ends", channel });
/** Waits until the connection of the channel is over; shows why. */
export const connectionEnds = (channel: string): Step => ({ do: "connection-ends", channel });
export const declareQueue = (channel: string, queue: string, words: QueueWords = {}): Step => ({
  do: "declare-queue",
  channel,
  queue,
  ...words,
});
export const deleteQueue = (
  channel: string,
  queue: string,
  words: { ifUnused?: boolean; ifEmpty?: boolean } = {},
): Step => ({ do: "delete-queue", channel, queue, ...words });
export const purge = (channel: string, queue: string): Step => ({ do: "purge", channel, queue });
export const bind = (channel: string, queue: string, exchange: string, words: BindWords = {}): Step => ({
  do: "bind",
  channel,
  queue,
  exchange,
  ...words,
});
export const unbind = (channel: string, queue: string, exchange: string, words: BindWords = {}): Step => ({
  do: "unbind",
  channel,
  queue,
  exchange,
  ...words,
});
/** Messages of the exchange `source` also go to the exchange `destination`. */
export const bindExchange = (channel: string, destination: string, source: string, words: BindWords = {}): Step => ({
  do: "bind-exchange",
  channel,
  destination,
  source,
  ...words,
});
export const unbindExchange = (channel: string, destination: string, source: string, words: BindWords = {}): Step => ({
  do: "unbind-exchange",
  channel,
  destination,
  source,
  ...words,
});
export const transaction = (channel: string, word: TransactionStep): Step => ({ do: "transaction", channel, word });
/** Asks until the queue holds so many ready messages; shows the last count. */
export const becomes = (channel: string, queue: string, messages: number): Expected => ({
  step: { do: "becomes", channel, queue, messages },
  shows: { messages },
});
/** Asks until the queue is no more; shows "gone". */
export const vanishes = (channel: string, queue: string): Expected => ({
  step: { do: "vanishes", channel, queue },
  shows: "gone",
});
/** Sets a policy through the management interface. */
export const setPolicy = (channel: string, policy: string, words: PolicyWords): Step => ({
  do: "set-policy",
  channel,
  policy,
  ...words,
});
export const deletePolicy = (channel: string, policy: string): Step => ({ do: "delete-policy", channel, policy });
export const declareExchange = (channel: string, exchange: string, type: string, words: ExchangeWords = {}): Step => ({
  do: "declare-exchange",
  channel,
  exchange,
  type,
  ...words,
});
export const deleteExchange = (channel: string, exchange: string, words: { ifUnused?: boolean } = {}): Step => ({
  do: "delete-exchange",
  channel,
  exchange,
  ...words,
});
export const publish = (channel: string, body: Body, words: PublishWords): Step => ({
  do: "publish",
  channel,
  body,
  ...words,
});
/** Waits until every publish of the channel is confirmed; shows returns and confirms in order. */
export const confirms = (channel: string): Step => ({ do: "confirms", channel });
export const consume = (channel: string, queue: string, tag: string, words: ConsumeWords = {}): Step => ({
  do: "consume",
  channel,
  queue,
  tag,
  ...words,
});
export const cancel = (channel: string, tag: string): Step => ({ do: "cancel", channel, tag });
/** Waits until the broker cancels the consumer. */
export const cancelled = (channel: string, tag: string): Step => ({ do: "cancelled", channel, tag });
/** Waits for so many deliveries; shows bodies, "(again)" where redelivered. `full`: everything. */
export const deliveries = (channel: string, count: number, full = false): Step => ({
  do: "deliveries",
  channel,
  count,
  full,
});
/** Makes sure that nothing more is on its way to the channel; shows the queue's counts and what came. */
export const quiet = (channel: string, queue: string): Step => ({ do: "quiet", channel, queue });
export const get = (channel: string, queue: string, words: { noAck?: boolean; full?: boolean } = {}): Step => ({
  do: "get",
  channel,
  queue,
  ...words,
});
/** `message`: the body of the latest delivery on this channel, or a raw delivery tag. */
export const ack = (channel: string, message: string | number, words: SettleWords = {}): Step => ({
  do: "ack",
  channel,
  message,
  ...words,
});
export const nack = (channel: string, message: string | number, words: SettleWords = {}): Step => ({
  do: "nack",
  channel,
  message,
  ...words,
});
export const reject = (channel: string, message: string | number, words: SettleWords = {}): Step => ({
  do: "reject",
  channel,
  message,
  ...words,
});
export const qos = (channel: string, count: number, global = false): Step => ({ do: "qos", channel, count, global });
export const recover = (channel: string, requeue: boolean): Step => ({ do: "recover", channel, requeue });

/** Publishes of several bodies to one queue. */
export function publishAll(channel: string, bodies: readonly string[], words: PublishWords): Step[] {
  return bodies.map((body) => publish(channel, body, words));
}
