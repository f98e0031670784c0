// The broker: BrokerFacade over the namespace (topology + meta log) and the shard. It decides who may
// do what to which name and hands messages through; queues hold them, logs keep them.

import { assert } from "../assert.ts";
import { LIMITS } from "../limits.ts";
import type { LogStore } from "../log/log.ts";
import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import { BrokerError, type StorageError } from "../model/errors.ts";
import type { IncomingMessage } from "../model/message.ts";
import type { Clock, Random } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { SettleReason, ShardPort } from "../queues/shard-port.ts";
import { DEFAULT_USERS, Users, type UserSettings } from "./access/users.ts";
import { bindQueue, unbindQueue } from "./binding-commands.ts";
import { CommitGate } from "./commit-gate.ts";
import { startConsumer } from "./consumers.ts";
import { declareExchange, deleteExchange } from "./exchange-commands.ts";
import type {
  BindingDeclaration,
  BrokerFacade,
  ExchangeDeclaration,
  QueueDeclaration,
  QueueStatus,
  Route,
  Session,
} from "./facade.ts";
import { Flow, type AlarmKind } from "./flow.ts";
import { MetaLog, SNAPSHOT_LIMITS, type SnapshotLimits } from "./meta-log.ts";
import { cleanName, Namespace } from "./namespace.ts";
import { bindingOverviews, exchangeOverviews, queueOverviews, type BrokerOverview } from "./overview.ts";
import { declareQueue, deleteQueue, dropAbandonedQueues, purgeQueue, statusOf, usableQueue } from "./queue-commands.ts";
import { reconcileShard } from "./recovery.ts";
import { RouteFinder } from "./route-finder.ts";
import { VHOST, type Queue } from "./topology.ts";

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
  /** Default: guest, from this machine only. */
  readonly users?: readonly UserSettings[];
  /** When the meta log is rewritten; tests make it small. */
  readonly metaSnapshots?: SnapshotLimits;
}

/** Opens the meta log, recovers the namespace and brings the shard in line. Throws StorageError. */
export async function createBroker(options: BrokerOptions): Promise<Broker> {
  const gate = new CommitGate();
  const flow = new Flow();
  const { meta, topology } = await MetaLog.open({
    store: options.store,
    logger: options.logger,
    limits: options.metaSnapshots ?? SNAPSHOT_LIMITS,
    onSpace: (state) => flow.setAlarm("disk", state === "low", "meta log"),
  });
  const { created, deleted } = reconcileShard(topology, options.shard);
  if (created > 0 || deleted > 0) options.logger.info("finished what a crash cut off", { created, deleted });
  const { shard, random } = options;
  const namespace = new Namespace({ topology, meta, shard, random, gate });
  meta.snapshotAtStart(topology);
  return new Broker(options, { namespace, gate, flow });
}

interface BrokerParts {
  readonly namespace: Namespace;
  readonly gate: CommitGate;
  readonly flow: Flow;
}

/** The door's session plus what the broker keeps for it. */
class OpenSession implements Session {
  readonly id: number;
  readonly user: string;
  readonly vhost = VHOST;
  /** Its exclusive queues, which die with it. */
  readonly queues = new Set<Queue>();

  constructor(id: number, user: string) {
    this.id = id;
    this.user = user;
  }
}

export class Broker implements BrokerFacade {
  readonly #options: BrokerOptions;
  readonly #namespace: Namespace;
  readonly #shard: ShardPort;
  readonly #routes: RouteFinder;
  readonly #users: Users;
  readonly #gate: CommitGate;
  readonly #flow: Flow;
  readonly #sessions = new Map<number, OpenSession>();
  readonly #commitListeners: (() => void)[] = [];
  readonly #startedAtMs: number;
  #lastSessionId = 0;
  /** A purge was answered to nobody yet: the answer waits for the shard's log too. */
  #purged = false;

  constructor(options: BrokerOptions, { namespace, gate, flow }: BrokerParts) {
    this.#options = options;
    this.#namespace = namespace;
    this.#shard = options.shard;
    this.#routes = new RouteFinder(namespace.topology);
    this.#users = new Users(options.users ?? DEFAULT_USERS, options.random);
    this.#gate = gate;
    this.#flow = flow;
    this.#startedAtMs = options.clock.wallMs();
    namespace.meta.onCommitted(() => this.#metaCommitted());
  }

  authenticate(user: string, password: string, loopback: boolean): boolean {
    return this.#users.authenticate(user, password, loopback);
  }

  openSession(user: string, vhost: string): Session {
    this.#namespace.assertAvailable();
    if (vhost !== VHOST) throw new BrokerError("not-allowed", `vhost ${vhost} not found`);
    const session = new OpenSession(++this.#lastSessionId, user);
    this.#sessions.set(session.id, session);
    return session;
  }

  closeSession(session: Session): void {
    const { id, queues } = this.#sessionOf(session);
    this.#sessions.delete(id);
    const left = [...queues].filter((queue) => !queue.deleted);
    if (left.length > 0) dropAbandonedQueues(this.#namespace, left);
  }

  declareExchange(_session: Session, declaration: ExchangeDeclaration): void {
    this.#namespace.assertAvailable();
    declareExchange(this.#namespace, declaration);
  }

  deleteExchange(_session: Session, name: string, ifUnused: boolean): void {
    this.#namespace.assertAvailable();
    deleteExchange(this.#namespace, name, ifUnused);
  }

  declareQueue(session: Session, declaration: QueueDeclaration): QueueStatus {
    this.#namespace.assertAvailable();
    const { queues } = this.#sessionOf(session);
    const { queue, isNew } = declareQueue(this.#namespace, session, declaration);
    if (isNew && queue.record.ownerId !== 0) queues.add(queue);
    return statusOf(this.#namespace, queue);
  }

  deleteQueue(
    session: Session,
    name: string,
    options: { readonly ifUnused: boolean; readonly ifEmpty: boolean },
  ): number {
    this.#namespace.assertAvailable();
    const { queues } = this.#sessionOf(session);
    const queue = this.#namespace.topology.queues.get(cleanName(name));
    const dropped = deleteQueue(this.#namespace, session, name, options);
    if (queue !== undefined) queues.delete(queue);
    return dropped;
  }

  purgeQueue(session: Session, name: string): number {
    this.#namespace.assertAvailable();
    this.#purged = true;
    return purgeQueue(this.#namespace, session, name);
  }

  bindQueue(session: Session, binding: BindingDeclaration): void {
    this.#namespace.assertAvailable();
    bindQueue(this.#namespace, session, binding);
  }

  unbindQueue(session: Session, binding: BindingDeclaration): void {
    this.#namespace.assertAvailable();
    unbindQueue(this.#namespace, session, binding);
  }

  get topologyVersion(): number {
    return this.#namespace.topology.version;
  }

  route(_session: Session, exchange: string, routingKey: string, properties: Buffer): Route {
    return this.#routes.find(exchange, routingKey, properties);
  }

  publish(message: IncomingMessage, route: Route): number {
    this.#namespace.assertAvailable();
    if (message.bodySize > LIMITS.messageBytesMax) {
      throw new BrokerError(
        "too-large",
        `message size ${message.bodySize} is larger than configured max size ${LIMITS.messageBytesMax}`,
      );
    }
    assert(route.version === this.#namespace.topology.version, "a route is used only while the topology stands");
    return route.queueIds.length === 0 ? 0 : this.#shard.publish(message, route.queueIds);
  }

  consume(session: Session, name: string, sink: DeliverySink, options: ConsumeOptions): Consumer {
    this.#namespace.assertAvailable();
    const queue = usableQueue(this.#namespace, session, cleanName(name));
    return startConsumer(this.#namespace, queue, sink, options);
  }

  take(session: Session, name: string, noAck: boolean, sink: DeliverySink, done: (readyLeft: number) => void): void {
    this.#namespace.assertAvailable();
    const queue = usableQueue(this.#namespace, session, cleanName(name));
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

  requeue(queueId: number, lane: number, sequence: number): void {
    if (this.#namespace.topology.queuesById.has(queueId)) this.#shard.requeue(queueId, lane, sequence);
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

  onCommitted(listener: () => void): void {
    this.#commitListeners.push(listener);
  }

  get publishBlocked(): AlarmKind | undefined {
    return this.#flow.blocked;
  }

  get congested(): boolean {
    return this.#shard.congested;
  }

  onFlow(listener: () => void): void {
    this.#flow.onChange(listener);
  }

  atTurnEnd(work: () => void): void {
    this.#options.atTurnEnd(work);
  }

  /** To be called after each group commit of the shard. */
  committedChanged(): void {
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
    return this.#namespace.meta.release();
  }

  /** The state as plain data. Costs time in proportion to queues and bindings. */
  snapshotOverview(): BrokerOverview {
    const { topology } = this.#namespace;
    return {
      startedAtMs: this.#startedAtMs,
      sessions: this.#sessions.size,
      alarms: this.#flow.alarms,
      congested: this.congested,
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

  #sessionOf(session: Session): OpenSession {
    const open = this.#sessions.get(session.id);
    assert(open !== undefined, "a session is used only while it is open");
    return open;
  }
}
