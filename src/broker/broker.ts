// The broker: BrokerFacade over the namespace (topology + meta log) and the shard. It decides who may
// do what to which name and hands messages through; queues hold them, logs keep them.

import { assert } from "../assert.ts";
import { LIMITS } from "../limits.ts";
import type { LogStore } from "../log/log.ts";
import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import { BrokerError, type StorageError } from "../model/errors.ts";
import type { IncomingMessage } from "../model/message.ts";
import { withIntegerHeader } from "../model/properties.ts";
import type { Clock, Random } from "../ports/clock.ts";
import type { Hashing } from "../ports/hashing.ts";
import type { Logger } from "../ports/logger.ts";
import type { ReturnCause, SettleReason, ShardCounters, ShardPort } from "../queues/shard-port.ts";
import type { AuthenticatedUser, Login } from "./access/login.ts";
import { Access } from "./access/grants.ts";
import { ensureFirstUser, type FirstAdmin } from "./access/first-user.ts";
import { Logins } from "./access/logins.ts";
import { bindExchange, bindQueue, unbindExchange, unbindQueue } from "./binding-commands.ts";
import { CommitGate } from "./commit-gate.ts";
import { startConsumer } from "./consumers.ts";
import { DeadLetters } from "./dead-letters.ts";
import { declareExchange, deleteExchange } from "./exchange-commands.ts";
import type {
  BindingDeclaration,
  BrokerFacade,
  ClientConnection,
  Congestion,
  ExchangeBindingDeclaration,
  ExchangeDeclaration,
  QueueDeclaration,
  QueueStatus,
  Route,
  Session,
  SessionView,
} from "./facade.ts";
import { Flow, type AlarmKind } from "./flow.ts";
import { createManagement, type Management } from "./management/management.ts";
import { MetaLog, SNAPSHOT_LIMITS, type SnapshotLimits } from "./meta-log.ts";
import { cleanName, Namespace } from "./namespace.ts";
import { bindingOverviews, exchangeOverviews, queueOverviews, type BrokerOverview } from "./overview.ts";
import {
  checkGet,
  declareQueue,
  deleteQueue,
  dropAbandonedQueues,
  purgeQueue,
  readableQueue,
  statusOf,
} from "./queue-commands.ts";
import { reconcileShard } from "./recovery.ts";
import { consumerTimeout, deadLetterTarget } from "./queue-settings.ts";
import { RouteFinder } from "./route-finder.ts";
import { OpenSession, Sessions } from "./sessions.ts";
import type { Vhost } from "./topology.ts";

export interface BrokerOptions {
  /** Where the meta log lives. */
  readonly store: LogStore;
  /** Recovered and ready. Its events must be passed on: `committedChanged`, `flowChanged`, `setAlarm`. */
  readonly shard: ShardPort;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Runs `work` once at the end of the turn, after the shard served its queues. */
  readonly atTurnEnd: (work: () => void) => void;
  readonly hashing: Hashing;
  /** Made at the start unless there is a user of that name; instead of guest when there is no user at all. */
  readonly firstAdmin?: FirstAdmin;
  /** Users who may log in from this machine only; default: guest. */
  readonly loopbackUsers?: readonly string[];
  /** When the meta log is rewritten; tests make it small. */
  readonly metaSnapshots?: SnapshotLimits;
}

/** Opens the meta log, recovers the namespace and brings the shard in line. Throws StorageError. */
export async function createBroker(options: BrokerOptions): Promise<Broker> {
  const gate = new CommitGate();
  const flow = new Flow();
  const { meta, state } = await MetaLog.open({
    store: options.store,
    logger: options.logger,
    limits: options.metaSnapshots ?? SNAPSHOT_LIMITS,
    onSpace: (state) => flow.setAlarm("disk", state === "low", "meta log"),
  });
  const { created, deleted } = reconcileShard(state.topology, options.shard);
  if (created > 0 || deleted > 0) options.logger.info("finished what a crash cut off", { created, deleted });
  const namespace = new Namespace({ ...options, state, meta, gate });
  namespace.applyPolicies();
  meta.snapshotAtStart(state);
  const logins = new Logins({
    ...options,
    records: state.access,
    loopbackUsers: new Set(options.loopbackUsers ?? ["guest"]),
    upgrade: (user) => namespace.commit([{ kind: "user-put", user }]),
  });
  await ensureFirstUser(namespace, logins, options.firstAdmin);
  return new Broker(options, { namespace, logins, gate, flow });
}

/** What settling one message may write: its effect, and that of a dead letter's many queues is not counted. */
const SETTLE_BYTES_MAX = 64;

interface BrokerParts {
  readonly namespace: Namespace;
  readonly logins: Logins;
  readonly gate: CommitGate;
  readonly flow: Flow;
}

export class Broker implements BrokerFacade {
  readonly #options: BrokerOptions;
  readonly #namespace: Namespace;
  readonly #shard: ShardPort;
  readonly #routes = new WeakMap<Vhost, RouteFinder>();
  readonly #logins: Logins;
  readonly #gate: CommitGate;
  readonly #flow: Flow;
  readonly #sessions: Sessions;
  readonly #commitListeners: (() => void)[] = [];
  readonly #startedAtMs: number;
  messageBytesMax: number = LIMITS.messageBytesMax;
  /** For those who run the broker. */
  readonly management: Management;
  /** Somebody was told that those who publish much must wait. */
  #unfair = false;
  /** A purge was answered to nobody yet: the answer waits for the shard's log too. */
  #purged = false;

  constructor(options: BrokerOptions, { namespace, logins, gate, flow }: BrokerParts) {
    this.#options = options;
    this.#namespace = namespace;
    this.#shard = options.shard;
    this.#logins = logins;
    this.#sessions = new Sessions(namespace.state, new Access(namespace.state.access));
    this.#gate = gate;
    this.#flow = flow;
    this.#startedAtMs = options.clock.wallMs();
    this.management = createManagement({ ...options, namespace, logins, sessions: this.#sessions, facade: this });
    namespace.meta.onCommitted(() => this.#metaCommitted());
    const deadLetters = new DeadLetters({
      topology: namespace.topology,
      logger: options.logger,
      routesOf: (vhost) => this.#routesOf(vhost),
      targetOf: ({ record, policy }) => deadLetterTarget(record, policy.definition),
    });
    this.#shard.setDeadLetterRouter(deadLetters);
  }

  logIn(login: Login, done: (user: AuthenticatedUser | undefined) => void): void {
    this.#logins.logIn(login, done);
  }

  logInByCertificate(name: string, peerIsLoopback: boolean): AuthenticatedUser | undefined {
    return this.#logins.byCertificate(name, peerIsLoopback);
  }

  /** `logIn` for those who would rather wait. */
  authenticate(login: Login): Promise<AuthenticatedUser | undefined> {
    return new Promise((resolve) => this.logIn(login, resolve));
  }

  openSession(user: string, vhost: string, client?: ClientConnection): Session {
    this.#namespace.assertAvailable();
    return this.#sessions.open(user, vhost, client);
  }

  checkChannelLimit(session: Session): void {
    this.#sessions.checkChannelLimit(this.#sessionOf(session));
  }

  closeSession(session: Session): void {
    const { id, queues } = this.#sessionOf(session);
    this.#sessions.close(id);
    const left = [...queues].filter((queue) => !queue.deleted);
    if (left.length > 0) dropAbandonedQueues(this.#namespace, left);
  }

  /** Every open session. */
  sessions(): Iterable<SessionView> {
    return this.#sessions.all();
  }

  declareExchange(session: Session, declaration: ExchangeDeclaration): void {
    declareExchange(this.#namespace, this.#at(session), declaration);
  }

  deleteExchange(session: Session, name: string, ifUnused: boolean): void {
    deleteExchange(this.#namespace, this.#at(session), name, ifUnused);
  }

  declareQueue(session: Session, declaration: QueueDeclaration): QueueStatus {
    const open = this.#at(session);
    const { queue, isNew } = declareQueue(this.#namespace, open, declaration);
    this.#namespace.expiry.used(queue);
    if (isNew && queue.record.ownerId !== 0) open.queues.add(queue);
    return statusOf(this.#namespace, queue);
  }

  deleteQueue(
    session: Session,
    name: string,
    options: { readonly ifUnused: boolean; readonly ifEmpty: boolean },
  ): number {
    const open = this.#at(session);
    const queue = open.home.queues.get(cleanName(name));
    const dropped = deleteQueue(this.#namespace, open, name, options);
    if (queue !== undefined) open.queues.delete(queue);
    return dropped;
  }

  purgeQueue(session: Session, name: string): number {
    const open = this.#at(session);
    this.#purged = true;
    return purgeQueue(this.#namespace, open, name);
  }

  bindQueue(session: Session, binding: BindingDeclaration): void {
    bindQueue(this.#namespace, this.#at(session), binding);
  }

  unbindQueue(session: Session, binding: BindingDeclaration): void {
    unbindQueue(this.#namespace, this.#at(session), binding);
  }

  bindExchange(session: Session, binding: ExchangeBindingDeclaration): void {
    bindExchange(this.#namespace, this.#at(session), binding);
  }

  unbindExchange(session: Session, binding: ExchangeBindingDeclaration): void {
    unbindExchange(this.#namespace, this.#at(session), binding);
  }

  get topologyVersion(): number {
    return this.#namespace.topology.version;
  }

  #routesOf(home: Vhost): RouteFinder {
    let routes = this.#routes.get(home);
    if (routes === undefined) {
      routes = new RouteFinder(this.#namespace.topology, home, this.#options.random);
      this.#routes.set(home, routes);
    }
    return routes;
  }

  route(
    session: Session,
    exchange: string,
    routingKey: string,
    properties: Buffer,
    copies: readonly string[] = [],
  ): Route {
    const { home, grants } = this.#sessionOf(session);
    grants.check("write", { kind: "exchange", name: exchange });
    if (home.exchanges.get(exchange)?.settings.type === "topic") {
      grants.checkTopic("write", exchange, routingKey);
      for (const key of copies) grants.checkTopic("write", exchange, key);
    }
    return this.#routesOf(home).find(exchange, routingKey, properties, copies);
  }

  publish(message: IncomingMessage, route: Route): number {
    this.#namespace.assertAvailable();
    if (message.bodySize > this.messageBytesMax) {
      throw new BrokerError(
        "too-large",
        `message size ${message.bodySize} is larger than configured max size ${this.messageBytesMax}`,
      );
    }
    assert(route.version === this.#namespace.topology.version, "a route is used only while the topology stands");
    if (route.queueIds.length === 0) return 0;
    return message.delayMs > 0 ? this.#publishDelayed(message, route) : this.#shard.publish(message, route.queueIds);
  }

  /** Only what lies behind a delaying exchange is delayed; the others have the message at once. */
  #publishDelayed(message: IncomingMessage, route: Route): number {
    const later = route.delayedQueueIds;
    const { delayMs } = message;
    message.delayMs = 0;
    const now = route.queueIds.filter((id) => !later.includes(id));
    const first = now.length === 0 ? 0 : this.#shard.publish(message, now);
    if (later.length === 0) return first;
    message.delayMs = delayMs;
    // The sign tells consumers that it was delayed, and later exchanges that it was enough.
    const { properties, propertiesStart, propertiesEnd } = message;
    message.properties = withIntegerHeader(properties, propertiesStart, propertiesEnd, "x-delay", -delayMs);
    message.propertiesStart = 0;
    message.propertiesEnd = message.properties.length;
    const second = this.#shard.publish(message, later);
    return first < 0 || second < 0 ? Math.min(first, second) : Math.max(first, second);
  }

  atomically({ bytes, settles }: { readonly bytes: number; readonly settles: number }, work: () => void): void {
    this.#shard.atomically(bytes + settles * SETTLE_BYTES_MAX, work);
  }

  consume(session: Session, name: string, sink: DeliverySink, options: ConsumeOptions): Consumer {
    const queue = readableQueue(this.#at(session), name);
    return startConsumer(this.#namespace, queue, sink, options);
  }

  take(session: Session, name: string, noAck: boolean, sink: DeliverySink, done: (readyLeft: number) => void): void {
    const queue = readableQueue(this.#at(session), name);
    checkGet(queue);
    this.#namespace.expiry.used(queue);
    const { id } = queue.record;
    this.#shard.take(id, noAck, sink, (found) => {
      if (!found) done(-1);
      else done(queue.deleted ? 0 : this.#shard.counts(id).ready);
    });
  }

  settle(queueId: number, lane: number, first: number, last: number, reason: SettleReason): void {
    // A deleted queue took its messages with it; a door may still hold their delivery tags.
    if (this.#namespace.topology.queuesById.has(queueId)) this.#shard.settle(queueId, lane, first, last, reason);
  }

  requeue(queueId: number, lane: number, sequence: number, cause: ReturnCause): void {
    if (this.#namespace.topology.queuesById.has(queueId)) this.#shard.requeue(queueId, lane, sequence, cause);
  }

  consumerTimeoutMs(queueId: number): number | undefined {
    const queue = this.#namespace.topology.queuesById.get(queueId);
    return queue && consumerTimeout(queue.record, queue.policy.own, queue.policy.operators);
  }

  countsDeliveries(queueId: number): boolean {
    return this.#namespace.topology.queuesById.get(queueId)?.record.quorum === true;
  }

  get committed(): number {
    return this.#gate.limit(this.#shard.committed);
  }

  whenMetaCommitted(done: () => void): void {
    const { meta } = this.#namespace;
    if (this.#purged) {
      this.#purged = false;
      this.#shard.whenCommitted(() => meta.whenCommitted(done));
    } else {
      meta.whenCommitted(done);
    }
  }

  whenStored(done: () => void): void {
    this.#shard.whenCommitted(() => this.#namespace.meta.whenCommitted(done));
  }

  onCommitted(listener: () => void): void {
    this.#commitListeners.push(listener);
  }

  get publishBlocked(): AlarmKind | undefined {
    return this.#flow.blocked;
  }

  get congestion(): Congestion {
    if (this.#shard.congested) return "all";
    if (!this.#unfair && this.#shard.backlogBytes > LIMITS.fairBacklogHighBytes) this.#unfair = true;
    return this.#unfair ? "many" : "none";
  }

  /** Every alarm that is up. */
  get alarms(): readonly AlarmKind[] {
    return this.#flow.alarms;
  }

  /** Lifetime counters of all queues. */
  get counters(): Readonly<ShardCounters> {
    return this.#shard.counters;
  }

  /** Unix time at which the broker was ready, ms. */
  get startedAtMs(): number {
    return this.#startedAtMs;
  }

  onFlow(listener: () => void): void {
    this.#flow.onChange(listener);
  }

  atTurnEnd(work: () => void): void {
    this.#options.atTurnEnd(work);
  }

  /** To be called after each group commit of the shard. */
  committedChanged(): void {
    if (this.#unfair && this.#shard.backlogBytes < LIMITS.fairBacklogLowBytes) {
      this.#unfair = false;
      this.#flow.changed();
    }
    for (const listener of this.#commitListeners) listener();
  }

  /** To be called when the shard's `congested` changed. */
  flowChanged(): void {
    this.#flow.changed();
  }

  /** Raises or clears an alarm. Each source has its own; publishers go on when all of them are clear. */
  setAlarm(kind: AlarmKind, raised: boolean, source = "monitor"): void {
    this.#flow.setAlarm(kind, raised, source);
  }

  /** Settles when the meta log is finished: undefined after `close`, the error after a failure. */
  get ended(): Promise<StorageError | undefined> {
    return this.#namespace.meta.ended;
  }

  /** Commits the namespace and lets go of the meta log. The doors are closed before. */
  close(): Promise<void> {
    this.#namespace.expiry.stop();
    return this.#namespace.meta.release();
  }

  /** The state as plain data. Costs time in proportion to queues and bindings. */
  snapshotOverview(): BrokerOverview {
    const { topology } = this.#namespace;
    return {
      startedAtMs: this.#startedAtMs,
      sessions: this.#sessions.size,
      alarms: this.#flow.alarms,
      congested: this.#shard.congested,
      counters: { ...this.#shard.counters },
      queues: queueOverviews(topology, this.#shard),
      exchanges: exchangeOverviews(topology),
      bindings: bindingOverviews(topology),
    };
  }

  /** Declarations became durable: the confirms that waited for them may go out. */
  #metaCommitted(): void {
    const before = this.committed;
    this.#gate.release(this.#namespace.meta.committed);
    if (this.committed !== before) this.committedChanged();
  }

  /** The session, if the broker can do something for it. Throws "unavailable", "not-allowed". */
  #at(session: Session): OpenSession {
    this.#namespace.assertAvailable();
    const open = this.#sessionOf(session);
    if (open.home.deleted) throw new BrokerError("not-allowed", `vhost '${open.vhost}' is deleted`);
    return open;
  }

  #sessionOf(session: Session): OpenSession {
    // The broker's own sessions last for one request and are in no list.
    if (session.id === 0 && session instanceof OpenSession) return session;
    const open = this.#sessions.get(session.id);
    assert(open !== undefined, "a session is used only while it is open");
    return open;
  }
}
