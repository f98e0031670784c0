// A broker in memory for tests of the AMQP door: honest about routing by name, competing consumers,
// in-flight messages and redelivery; commits, flow and turns happen when the test says so.

import type {
  AuthenticatedUser,
  BindingDeclaration,
  BrokerFacade,
  ClientConnection,
  Congestion,
  ExchangeBindingDeclaration,
  ExchangeDeclaration,
  Login,
  QueueDeclaration,
  QueueStatus,
  ReturnCause,
  Route,
  Session,
} from "../../src/broker/facade.ts";
import { LIMITS } from "../../src/limits.ts";
import type { Consumer, ConsumeOptions, DeliverySink } from "../../src/model/delivery.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { type IncomingMessage, recordSize, writeRecord } from "../../src/model/message.ts";
import type { SettleReason } from "../../src/queues/shard-port.ts";

interface StoredMessage {
  readonly sequence: number;
  readonly record: Buffer;
  deliveries: number;
}

interface FakeConsumer extends Consumer {
  readonly sink: DeliverySink;
  readonly options: ConsumeOptions;
  ready: boolean;
}

export class FakeQueue {
  readonly id: number;
  readonly name: string;
  readonly quorum: boolean;
  ready: StoredMessage[] = [];
  readonly inFlight = new Map<number, StoredMessage>();
  consumers: FakeConsumer[] = [];
  takes: (() => void)[] = [];
  nextSequence = 0;
  /** Rejects publishes. */
  isFull = false;
  consumerTimeoutMs: number | undefined = undefined;

  constructor(id: number, name: string, quorum: boolean) {
    this.id = id;
    this.name = name;
    this.quorum = quorum;
  }
}

export class FakeBroker implements BrokerFacade {
  readonly queues = new Map<string, FakeQueue>();
  readonly exchanges = new Set(["", "amq.direct", "amq.fanout"]);
  readonly bindings: BindingDeclaration[] = [];
  exchangeBindings: ExchangeBindingDeclaration[] = [];
  readonly settled: { queueId: number; first: number; last: number; reason: SettleReason }[] = [];
  /** Why messages came back, in order. */
  readonly returns: ReturnCause[] = [];
  readonly sessions = new Set<Session>();
  readonly clients = new Map<Session, ClientConnection>();
  topologyVersion = 1;
  committed = 0;
  publishBlocked: "memory" | "disk" | undefined = undefined;
  congestion: Congestion = "none";
  messageBytesMax: number = LIMITS.messageBytesMax;
  /** Control-plane changes are durable at once. */
  metaIsDurable = true;
  /** Set to make the next publish throw. */
  failure: Error | undefined = undefined;
  /** Set to keep the answers to logins until the test gives them. */
  logins: (() => void)[] | undefined = undefined;
  /** No further channel may be opened. */
  channelsAreUp = false;
  /** What the broker was told of each message beside its bytes. */
  readonly messages: { priority: number; expirationMs: number; delayMs: number }[] = [];
  routeLookups = 0;
  atomicWorks = 0;
  published = 0;
  private position = 0;
  private lastQueueId = 0;
  private turnWork: (() => void)[] = [];
  private readonly storedWaiters: (() => void)[] = [];
  private readonly metaWaiters: (() => void)[] = [];
  private readonly commitListeners: (() => void)[] = [];
  private readonly flowListeners: (() => void)[] = [];

  // What a test does

  /** One turn: deliveries, then the doors' writes. */
  turn(): void {
    for (const queue of this.queues.values()) this.serve(queue);
    const work = this.turnWork;
    this.turnWork = [];
    for (const run of work) run();
  }

  /** Turns until nobody has anything left to do. */
  settleDown(): void {
    for (let i = 0; i < 1000; i++) {
      this.turn();
      const asked = [...this.queues.values()].some((queue) => queue.takes.length > 0);
      if (this.turnWork.length === 0 && !asked) return;
    }
    throw new Error("the door never comes to rest");
  }

  commit(): void {
    this.committed = this.position;
    for (const done of this.storedWaiters.splice(0)) done();
    for (const listener of this.commitListeners) listener();
  }

  commitMeta(): void {
    for (const done of this.metaWaiters.splice(0)) done();
  }

  flow(change: { blocked?: "memory" | "disk" | undefined; congestion?: Congestion }): void {
    if ("blocked" in change) this.publishBlocked = change.blocked;
    if (change.congestion !== undefined) this.congestion = change.congestion;
    for (const listener of this.flowListeners) listener();
  }

  add(name: string, settings: { readonly quorum?: boolean } = {}): FakeQueue {
    const queue = new FakeQueue(++this.lastQueueId, name, settings.quorum === true);
    this.queues.set(name, queue);
    this.topologyVersion++;
    return queue;
  }

  // BrokerFacade

  logIn({ user, password, peerIsLoopback }: Login, done: (found: AuthenticatedUser | undefined) => void): void {
    const accepted = peerIsLoopback && user === "guest" && password === "guest";
    const answer = (): void => done(accepted ? { name: user, tags: ["administrator"] } : undefined);
    if (this.logins === undefined) answer();
    else this.logins.push(answer);
  }

  openSession(user: string, vhost: string, client?: ClientConnection): Session {
    if (vhost !== "/") throw new BrokerError("not-allowed", `vhost ${vhost} not found`);
    const session = { id: this.sessions.size + 1, user, vhost, mayImpersonate: false };
    this.sessions.add(session);
    if (client !== undefined) this.clients.set(session, client);
    return session;
  }

  logInByCertificate(name: string): AuthenticatedUser | undefined {
    return name === "guest" ? { name, tags: [] } : undefined;
  }

  checkChannelLimit(): void {
    if (this.channelsAreUp) throw new BrokerError("not-allowed", "number of channels has reached the maximum");
  }

  closeSession(session: Session): void {
    this.sessions.delete(session);
    this.clients.delete(session);
  }

  declareExchange(_session: Session, declaration: ExchangeDeclaration): void {
    if (declaration.passive && !this.exchanges.has(declaration.name)) throw noExchange(declaration.name);
    this.exchanges.add(declaration.name);
    this.topologyVersion++;
  }

  deleteExchange(_session: Session, name: string): void {
    this.exchanges.delete(name);
    this.topologyVersion++;
  }

  declareQueue(_session: Session, declaration: QueueDeclaration): QueueStatus {
    const name = declaration.name === "" ? `amq.gen-${this.queues.size + 1}` : declaration.name;
    let queue = this.queues.get(name);
    if (queue === undefined && declaration.passive) throw noQueue(name);
    queue ??= this.add(name, { quorum: declaration.arguments.get("x-queue-type") === "quorum" });
    return { name, messageCount: queue.ready.length, consumerCount: queue.consumers.length };
  }

  deleteQueue(_session: Session, name: string): number {
    const queue = this.queues.get(name);
    if (queue === undefined) return 0;
    this.queues.delete(name);
    this.topologyVersion++;
    for (const consumer of queue.consumers.splice(0)) consumer.sink.cancelled();
    queue.inFlight.clear();
    return queue.ready.length;
  }

  purgeQueue(_session: Session, name: string): number {
    return this.queueOf(name).ready.splice(0).length;
  }

  bindQueue(_session: Session, binding: BindingDeclaration): void {
    this.queueOf(binding.queue);
    if (!this.exchanges.has(binding.exchange)) throw noExchange(binding.exchange);
    this.bindings.push(binding);
    this.topologyVersion++;
  }

  /** Kept for the test to look at; the fake routes to queues only. */
  bindExchange(_session: Session, binding: ExchangeBindingDeclaration): void {
    this.exchangeBindings.push(binding);
  }

  unbindExchange(_session: Session, binding: ExchangeBindingDeclaration): void {
    this.exchangeBindings = this.exchangeBindings.filter((each) => each.destination !== binding.destination);
  }

  unbindQueue(_session: Session, binding: BindingDeclaration): void {
    this.queueOf(binding.queue);
    this.topologyVersion++;
  }

  route(
    _session: Session,
    exchange: string,
    routingKey: string,
    _properties?: Buffer,
    copies: readonly string[] = [],
  ): Route {
    this.routeLookups++;
    if (!this.exchanges.has(exchange)) throw noExchange(exchange);
    const found = new Set<number>();
    for (const key of exchange === "" ? [routingKey, ...copies] : []) {
      const queue = this.queues.get(key);
      if (queue !== undefined) found.add(queue.id);
    }
    for (const binding of this.bindings) {
      const matches = exchange === "amq.fanout" || [routingKey, ...copies].includes(binding.routingKey);
      const queue = this.queues.get(binding.queue);
      if (binding.exchange === exchange && matches && queue !== undefined) found.add(queue.id);
    }
    return { version: this.topologyVersion, perMessage: false, queueIds: [...found], delayedQueueIds: [] };
  }

  publish(message: IncomingMessage, route: Route): number {
    if (this.failure !== undefined) throw this.failure;
    if ([...this.queues.values()].some((queue) => queue.isFull && route.queueIds.includes(queue.id))) return -1;
    this.published++;
    this.messages.push({
      priority: message.priority,
      expirationMs: message.expirationMs,
      delayMs: message.delayMs,
    });
    for (const queue of this.queues.values()) {
      if (!route.queueIds.includes(queue.id)) continue;
      const record = Buffer.alloc(recordSize(message));
      writeRecord(message, record, 0);
      queue.ready.push({ sequence: queue.nextSequence++, record, deliveries: 0 });
    }
    return message.persistent && route.queueIds.length > 0 ? ++this.position : 0;
  }

  atomically(_size: object, work: () => void): void {
    this.atomicWorks++;
    work();
  }

  consume(_session: Session, name: string, sink: DeliverySink, options: ConsumeOptions): Consumer {
    const queue = this.queueOf(name);
    const consumer: FakeConsumer = {
      queueId: queue.id,
      sink,
      options,
      isActive: true,
      ready: true,
      resume: () => {
        consumer.ready = true;
        this.atTurnEnd(() => undefined);
      },
      pause: () => {
        consumer.ready = false;
      },
      cancel: () => {
        queue.consumers = queue.consumers.filter((other) => other !== consumer);
      },
    };
    queue.consumers.push(consumer);
    return consumer;
  }

  take(_session: Session, name: string, noAck: boolean, sink: DeliverySink, done: (readyLeft: number) => void): void {
    const queue = this.queueOf(name);
    queue.takes.push(() => {
      const message = queue.ready.shift();
      if (message === undefined) return done(-1);
      this.hand(queue, message, sink, noAck);
      done(queue.ready.length);
    });
  }

  settle(queueId: number, _lane: number, first: number, last: number, reason: SettleReason): void {
    this.settled.push({ queueId, first, last, reason });
    const queue = this.byId(queueId);
    if (queue === undefined) return;
    for (let sequence = first; sequence <= last; sequence++) {
      if (!queue.inFlight.delete(sequence)) throw new Error(`settled twice: ${sequence}`);
    }
  }

  requeue(queueId: number, _lane: number, sequence: number, cause: ReturnCause): void {
    this.returns.push(cause);
    const queue = this.byId(queueId);
    const message = queue?.inFlight.get(sequence);
    if (queue === undefined) return;
    if (message === undefined) throw new Error(`requeued, but not in flight: ${sequence}`);
    queue.inFlight.delete(sequence);
    queue.ready.push(message);
    queue.ready.sort((a, b) => a.sequence - b.sequence);
    this.atTurnEnd(() => undefined);
  }

  consumerTimeoutMs(queueId: number): number | undefined {
    return this.byId(queueId)?.consumerTimeoutMs;
  }

  countsDeliveries(queueId: number): boolean {
    return this.byId(queueId)?.quorum === true;
  }

  whenMetaCommitted(done: () => void): void {
    if (this.metaIsDurable) done();
    else this.metaWaiters.push(done);
  }

  whenStored(done: () => void): void {
    if (this.committed === this.position) done();
    else this.storedWaiters.push(done);
  }

  onCommitted(listener: () => void): void {
    this.commitListeners.push(listener);
  }

  onFlow(listener: () => void): void {
    this.flowListeners.push(listener);
  }

  atTurnEnd(work: () => void): void {
    this.turnWork.push(work);
  }

  private serve(queue: FakeQueue): void {
    for (const take of queue.takes.splice(0)) take();
    for (let next = 0; queue.ready.length > 0; ) {
      const eligible = queue.consumers.filter((consumer) => consumer.ready);
      const consumer = eligible[next++ % Math.max(1, eligible.length)];
      const message = consumer === undefined ? undefined : queue.ready.shift();
      if (consumer === undefined || message === undefined) return;
      if (!this.hand(queue, message, consumer.sink, consumer.options.noAck)) consumer.ready = false;
    }
  }

  private hand(queue: FakeQueue, message: StoredMessage, sink: DeliverySink, noAck: boolean): boolean {
    if (!noAck) queue.inFlight.set(message.sequence, message);
    const deliveries = message.deliveries++;
    // A buffer of its own that is wiped afterwards: a sink that keeps a view is found out.
    const lent = Buffer.from(message.record);
    const more = sink.deliver(lent, 0, lent.length, queue.id, 0, message.sequence, deliveries);
    lent.fill(0xee);
    return more;
  }

  private byId(queueId: number): FakeQueue | undefined {
    return [...this.queues.values()].find((queue) => queue.id === queueId);
  }

  private queueOf(name: string): FakeQueue {
    const queue = this.queues.get(name);
    if (queue === undefined) throw noQueue(name);
    return queue;
  }
}

function noQueue(name: string): BrokerError {
  return new BrokerError("not-found", `no queue '${name}' in vhost '/'`);
}

function noExchange(name: string): BrokerError {
  return new BrokerError("not-found", `no exchange '${name}' in vhost '/'`);
}
