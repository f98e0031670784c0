// The write side of the namespace: decide -> append -> apply. Commands (exchange-commands.ts,
// queue-commands.ts, binding-commands.ts) decide; `commit` does the rest in one step.

import { LIMITS } from "../limits.ts";
import { BrokerError } from "../model/errors.ts";
import type { ShardPort } from "../queues/shard-port.ts";
import type { Random } from "../ports/clock.ts";
import type { CommitGate } from "./commit-gate.ts";
import type { Effect, QueueRecord } from "./effects.ts";
import { unavailable, type MetaLog } from "./meta-log.ts";
import { preconditionFailed } from "./refusals.ts";
import type { Queue, Topology } from "./topology.ts";
import type { MetaState } from "./meta-state.ts";

/** Ids are reserved in blocks, so that a queue without a log entry of its own costs no write. */
const ID_BLOCK = 1024;
const ID_MAX = 0xffff_ffff;

export interface NamespaceParts {
  readonly state: MetaState;
  readonly meta: MetaLog;
  readonly shard: ShardPort;
  readonly random: Random;
  readonly gate: CommitGate;
}

export class Namespace {
  readonly state: MetaState;
  readonly topology: Topology;
  readonly meta: MetaLog;
  readonly shard: ShardPort;
  readonly random: Random;
  readonly #gate: CommitGate;
  #nextQueueId: number;

  constructor(parts: NamespaceParts) {
    this.state = parts.state;
    this.topology = parts.state.topology;
    this.meta = parts.meta;
    this.shard = parts.shard;
    this.random = parts.random;
    this.#gate = parts.gate;
    this.#nextQueueId = parts.state.topology.reservedIdEnd;
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
    for (const effect of effects) if (effect.kind === "queue-declared") this.#createInShard(effect.queue);
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
    return queue;
  }

  #queuesDroppedBy(effect: Effect): number[] {
    if (effect.kind === "queue-deleted") return [effect.queueId];
    if (effect.kind !== "vhost-deleted") return [];
    const queues = this.topology.vhosts.get(effect.name)?.queues.values() ?? [];
    return Array.from(queues, ({ record }) => record.id);
  }

  #createInShard({ id, durable, quorum }: QueueRecord): void {
    this.shard.createQueue(id, { durable, deliverAfterCommit: quorum });
  }
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
