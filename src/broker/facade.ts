// The broker as the doors see it: namespaces, publish, subscribe, declare, access, flow control.
// Control-plane calls decide and apply at once and throw BrokerError when refused; a door answers
// them after `whenMetaCommitted`. Names and settings are the field's (AMQP 0-9-1 where it has a word).

import type { FieldTable } from "../model/field-table.ts";
import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import type { IncomingMessage } from "../model/message.ts";
import type { ReturnCause, SettleReason } from "../queues/shard-port.ts";

export type { ReturnCause };
import type { AuthenticatedUser, Login } from "./access/login.ts";
import type { ClientConnection } from "./client-connection.ts";

export type { AuthenticatedUser, Login } from "./access/login.ts";
export type { ChannelView, ClientConnection, ConsumerView } from "./client-connection.ts";

export type { ExchangeType } from "../routing/router-for.ts";

/** A logged-in client connection. Exclusive queues belong to it. */
export interface Session {
  readonly id: number;
  readonly user: string;
  readonly vhost: string;
  /** The user may set another one's name as a message's user-id. */
  readonly mayImpersonate: boolean;
}

/** A session as the management interface sees it. */
export interface SessionView {
  readonly id: number;
  readonly user: string;
  readonly vhost: string;
  /** Undefined for sessions of the broker itself. */
  readonly client: ClientConnection | undefined;
}

export interface ExchangeDeclaration {
  readonly name: string;
  readonly type: string;
  readonly passive: boolean;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly internal: boolean;
  readonly arguments: FieldTable;
}

export interface QueueDeclaration {
  /** "" asks for a server-made name ("amq.gen-..."). */
  readonly name: string;
  readonly passive: boolean;
  readonly durable: boolean;
  readonly exclusive: boolean;
  readonly autoDelete: boolean;
  readonly arguments: FieldTable;
}

export interface QueueStatus {
  readonly name: string;
  readonly messageCount: number;
  readonly consumerCount: number;
}

export interface BindingDeclaration {
  readonly queue: string;
  readonly exchange: string;
  readonly routingKey: string;
  readonly arguments: FieldTable;
}

/** A binding between two exchanges. */
export interface ExchangeBindingDeclaration {
  /** The source. */
  readonly exchange: string;
  readonly destination: string;
  readonly routingKey: string;
  readonly arguments: FieldTable;
}

/** The queues that a publish reaches. Valid while `version` equals `Broker.topologyVersion`. */
export interface Route {
  readonly version: number;
  /** Set when the result depends on more than the routing key and must not be cached by key. */
  readonly perMessage: boolean;
  readonly queueIds: readonly number[];
  /** Those of them that an x-delayed-message exchange leads to: the header x-delay counts there. */
  readonly delayedQueueIds: readonly number[];
}

export type Congestion = "none" | "many" | "all";

export interface BrokerFacade {
  /**
   * Checks name and password, and calls `done` once: with undefined when refused. Hashing takes its time
   * elsewhere, so `done` may be called later; it is called at once when the answer is known.
   */
  logIn(login: Login, done: (user: AuthenticatedUser | undefined) => void): void;
  /** The user that a certificate names, which the door has checked (SASL EXTERNAL); undefined when refused. */
  logInByCertificate(name: string, peerIsLoopback: boolean): AuthenticatedUser | undefined;
  /**
   * Opens a session in a vhost; throws "not-allowed". `client` is what the management interface shows
   * and closes; its `close` may be called at any time until `closeSession`.
   */
  openSession(user: string, vhost: string, client?: ClientConnection): Session;
  /** To be asked before a channel opens. Throws "not-allowed" when the user has as many as it may have. */
  checkChannelLimit(session: Session): void;
  /** Ends a session: its exclusive queues are deleted. The door has cancelled its consumers before. */
  closeSession(session: Session): void;

  declareExchange(session: Session, declaration: ExchangeDeclaration): void;
  /** A missing exchange is fine. Throws "precondition-failed" when in use and `ifUnused`. */
  deleteExchange(session: Session, name: string, ifUnused: boolean): void;
  declareQueue(session: Session, declaration: QueueDeclaration): QueueStatus;
  /** Returns the messages dropped; a missing queue is fine (0). */
  deleteQueue(
    session: Session,
    name: string,
    options: { readonly ifUnused: boolean; readonly ifEmpty: boolean },
  ): number;
  purgeQueue(session: Session, name: string): number;
  bindQueue(session: Session, binding: BindingDeclaration): void;
  unbindQueue(session: Session, binding: BindingDeclaration): void;
  bindExchange(session: Session, binding: ExchangeBindingDeclaration): void;
  unbindExchange(session: Session, binding: ExchangeBindingDeclaration): void;

  /** Rises with every change of exchanges, bindings or queues; caches of routes hang on it. */
  readonly topologyVersion: number;
  /**
   * Resolves where a publish goes. Throws "not-found" for a missing exchange, "access-refused" for an
   * internal one and where the user may not write. `properties` are the message's raw properties (some
   * exchanges read them); `copies` are further routing keys (AMQP headers CC and BCC), and an answer for
   * them is not to be cached.
   */
  route(session: Session, exchange: string, routingKey: string, properties: Buffer, copies?: readonly string[]): Route;
  /**
   * Enqueues on the route's queues. Returns the log position to wait for (see `committed`) or 0 when the
   * confirm may be sent at once, or a negative number when a full queue rejected the message. Throws
   * "unavailable" when storage has failed. May change `message` where it delays it.
   */
  publish(message: IncomingMessage, route: Route): number;

  /** Runs `work`; its publishes (`bytes` with their records) and `settles` are durable together or not at all. */
  atomically(size: { readonly bytes: number; readonly settles: number }, work: () => void): void;

  /** Throws "not-found", "access-refused" (exclusive use), "resource-locked". */
  consume(session: Session, queue: string, sink: DeliverySink, options: ConsumeOptions): Consumer;
  /** basic.get: `done(readyLeft)` after sink.deliver, or `done(-1)` when empty. May complete later. */
  take(session: Session, queue: string, noAck: boolean, sink: DeliverySink, done: (readyLeft: number) => void): void;
  /** In-flight messages first..last (inclusive; all in flight on this queue and lane) are done. */
  settle(queueId: number, lane: number, first: number, last: number, reason: SettleReason): void;
  /** An in-flight message goes back to its place; it will be redelivered. */
  requeue(queueId: number, lane: number, sequence: number, cause: ReturnCause): void;
  /** How long a delivery of this queue may wait for its ack, ms; undefined: for ever. */
  consumerTimeoutMs(queueId: number): number | undefined;
  /** True when the queue's deliveries carry `x-delivery-count` (quorum-type queues). */
  countsDeliveries(queueId: number): boolean;

  /** The durable watermark that positions from `publish` are compared with. */
  readonly committed: number;
  /** Calls `done` once everything published, settled and declared so far is durable. */
  whenStored(done: () => void): void;
  /** Calls `done` once all control-plane changes made so far are durable (at once when they are). */
  whenMetaCommitted(done: () => void): void;
  /** `listener` is called after each group commit. */
  onCommitted(listener: () => void): void;

  /** The largest body that is taken, bytes. May change while the broker runs. */
  readonly messageBytesMax: number;
  /** Why publishers must wait now; undefined when they need not. Alarms are told to clients. */
  readonly publishBlocked: "memory" | "disk" | undefined;
  /**
   * Uncommitted bytes are above the limit for connections that publish much ("many"), or for all that
   * publish ("all"): stop reading from those until it changes.
   */
  readonly congestion: Congestion;
  /** `listener` is called when `publishBlocked` changed or `congestion` eased. */
  onFlow(listener: () => void): void;

  /** Runs `work` once at the end of this turn, after deliveries: doors write their sockets there. */
  atTurnEnd(work: () => void): void;
}
