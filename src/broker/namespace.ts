// The write side of the namespace: decide -> append -> apply. Commands (exchange-commands.ts,
// queue-commands.ts, binding-commands.ts) decide; `commit` does the rest in one step.

import { assert } from "../assert.ts";
import { LIMITS } from "../limits.ts";
import { BrokerError } from "../model/errors.ts";
import { EMPTY_TABLE, type FieldTable } from "../model/field-table.ts";
import type { QueueSettings, ShardPort } from "../queues/shard-port.ts";
import type { Clock, Random } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { CommitGate } from "./commit-gate.ts";
import type { Effect, QueueRecord } from "./effects.ts";
import { unavailable, type MetaLog } from "./meta-log.ts";
import type { MetaState } from "./meta-state.ts";
import { deadLetterQueueName, Policies } from "./policies/effective-policy.ts";
import { isPolicyEffect, type PolicyEffect } from "./policies/policy-effects.ts";
import { PolicyUpdates } from "./policies/policy-updates.ts";
import { dropAbandonedQueues } from "./queue-commands.ts";
import { QueueExpiry } from "./queue-expiry.ts";
import { queueSettings } from "./queue-settings.ts";
import { preconditionFailed } from "./refusals.ts";
import type { Queue, Topology } from "./topology.ts";

/** Ids are reserved in blocks, so that a queue without a log entry of its own costs no write. */
const ID_BLOCK = 1024;
const ID_MAX = 0xffff_ffff;

export interface NamespaceParts {
  readonly state: MetaState;
  readonly meta: MetaLog;
  readonly shard: ShardPort;
  readonly random: Random;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly gate: CommitGate;
}

export class Namespace {
  readonly state: MetaState;
  readonly topology: Topology;
  readonly meta: MetaLog;
  readonly shard: ShardPort;
  readonly random: Random;
  /** Deletes queues that nobody uses. */
  readonly expiry: QueueExpiry;
  readonly #gate: CommitGate;
  readonly #logger: Logger;
  readonly #policies: Policies;
  readonly #policyUpdates: PolicyUpdates;
  #nextQueueId: number;

  constructor(parts: NamespaceParts) {
    this.state = parts.state;
    this.topology = parts.state.topology;
    this.meta = parts.meta;
    this.shard = parts.shard;
    this.random = parts.random;
    this.#gate = parts.gate;
    this.#logger = parts.logger;
    this.#nextQueueId = parts.state.topology.reservedIdEnd;
    this.expiry = new QueueExpiry(parts.clock, (queue) => dropAbandonedQueues(this, [queue]));
    this.#policies = new Policies(parts.state.policies);
    this.#policyUpdates = new PolicyUpdates({
      topology: this.topology,
      policies: this.#policies,
      clock: parts.clock,
      queueChanged: (queue) => this.#policyChanged(queue),
    });
  }

  /** Throws "unavailable" once storage has failed. */
  assertAvailable(): void {
    if (this.meta.failure !== undefined) throw unavailable(this.meta.failure);
  }

  /** Makes decided changes: durable ones are logged (as one atomic entry), then all are applied. */
  commit(effects: readonly Effect[]): void {
    if (effects.length === 0) return;
    const durable = effects.filter((effect) => this.state.survivesRestart(effect));
    if (durable.length > 0) {
      const position = this.meta.append(durable);
      if (durable.some((effect) => effect.kind === "queue-declared"))
        this.#gate.hold(position, this.shard.openPosition);
    }
    const dropped = effects.flatMap((effect) => this.#queuesDroppedBy(effect));
    for (const effect of effects) this.state.apply(effect);
    for (const effect of effects) this.#settle(effect);
    for (const queueId of dropped) this.shard.deleteQueue(queueId);
    if (durable.length > 0) this.meta.snapshotIfDue(this.state);
  }

  /** Declares a queue under a fresh id. Throws "resource-limit". */
  createQueue(settings: Omit<QueueRecord, "id">): Queue {
    const effects: Effect[] = [];
    const id = this.#nextQueueId;
    if (id > ID_MAX) throw new BrokerError("resource-limit", "all 4294967295 queue ids are used up");
    if (id >= this.topology.reservedIdEnd) {
      effects.push({ kind: "ids-reserved", end: Math.min(id + ID_BLOCK, ID_MAX + 1) });
    }
    const record = { id, ...settings };
    effects.push({ kind: "queue-declared", queue: record });
    this.commit(effects);
    this.#nextQueueId = id + 1;
    const queue = this.topology.queuesById.get(id);
    if (queue === undefined) throw new BrokerError("unavailable", "the queue was deleted while it was declared");
    this.#ensureDeadLetterQueue(queue);
    return queue;
  }

  /** Gives every queue and exchange its policy, after a start. */
  applyPolicies(): void {
    for (const queue of this.topology.queuesById.values()) this.expiry.configure(queue, settingsOf(queue).expiresMs);
    this.#policyUpdates.start();
  }

  /** What follows from an effect that was applied. */
  #settle(effect: Effect): void {
    if (effect.kind === "queue-declared") {
      const queue = this.topology.queuesById.get(effect.queue.id);
      assert(queue !== undefined, "a declared queue exists");
      queue.policy = this.#policies.ofQueue(effect.queue);
      const settings = settingsOf(queue);
      this.shard.createQueue(effect.queue.id, settings);
      this.expiry.configure(queue, settings.expiresMs);
    } else if (effect.kind === "exchange-declared") {
      const { vhost, name } = effect.exchange;
      const exchange = this.topology.vhosts.get(vhost)?.exchanges.get(name);
      if (exchange !== undefined) exchange.policy = this.#policies.ofExchange(effect.exchange);
    } else if (effect.kind === "vhost-deleted") {
      this.#policies.forget(effect.name);
    } else if (isPolicyEffect(effect)) {
      const vhost = vhostOfPolicy(effect);
      if (vhost !== undefined) this.#policyUpdates.vhostChanged(vhost);
    }
  }

  #policyChanged(queue: Queue): void {
    const configure = (): void => {
      if (queue.deleted) return;
      const settings = settingsOf(queue);
      this.shard.configureQueue(queue.record.id, settings);
      this.expiry.configure(queue, settings.expiresMs);
    };
    // A dead letter must not arrive in a queue that a crash could forget: its declaration comes first.
    if (this.#ensureDeadLetterQueue(queue)) this.meta.whenCommitted(configure);
    else configure();
  }

  /** A queue under safe defaults has a queue for its dead letters beside it. Returns whether it was made now. */
  #ensureDeadLetterQueue(queue: Queue): boolean {
    const { record, policy } = queue;
    const name = deadLetterQueueName(record.name, policy);
    if (name === undefined || this.topology.vhosts.get(record.vhost)?.queues.has(name) !== false) return false;
    if (this.topology.queuesById.size >= LIMITS.queuesMax) {
      this.#logger.warn("a dead-letter queue was not declared: there are too many queues", { queue: name });
      return false;
    }
    const { vhost, durable, autoDelete, ownerId, quorum } = record;
    try {
      this.createQueue({ vhost, name, durable, autoDelete, ownerId, quorum, arguments: typeArgument(quorum) });
      return true;
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      // Nobody asked for this queue who could be answered; a start goes through all queues again.
      this.#logger.warn("a dead-letter queue was not declared", { queue: name, error: error.message });
      return false;
    }
  }

  #queuesDroppedBy(effect: Effect): number[] {
    if (effect.kind === "queue-deleted") return [effect.queueId];
    if (effect.kind !== "vhost-deleted") return [];
    const queues = this.topology.vhosts.get(effect.name)?.queues.values() ?? [];
    return Array.from(queues, ({ record }) => record.id);
  }
}

function settingsOf({ record, policy }: Queue): QueueSettings {
  return queueSettings(record, policy.own, policy.operators);
}

function vhostOfPolicy(effect: PolicyEffect): string | undefined {
  if (effect.kind === "policy-put" || effect.kind === "operator-policy-put") return effect.policy.vhost;
  return effect.kind === "policy-deleted" || effect.kind === "operator-policy-deleted" ? effect.vhost : undefined;
}

/** A second declaration must repeat the type, so a queue that the broker declares says it as a client would. */
function typeArgument(quorum: boolean): FieldTable {
  return quorum ? new Map([["x-queue-type", "quorum"]]) : EMPTY_TABLE;
}

/** A name as the broker keeps it: line breaks are dropped, as RabbitMQ does. Throws "precondition-failed". */
export function cleanName(name: string): string {
  const clean = name.replaceAll(/[\r\n]/g, "");
  checkNameLength(clean);
  return clean;
}

/** Throws "precondition-failed" when a name or a routing key is longer than every protocol can say. */
export function checkNameLength(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes > LIMITS.nameBytesMax) {
    throw preconditionFailed(`a name of ${bytes} bytes is too long: at most ${LIMITS.nameBytesMax} bytes are allowed`);
  }
}
