// The consumers of a queue as the broker counts them: exclusivity, and auto-delete when the last one
// has gone. Deliveries go straight from the queue to the door's sink; nothing here is on their way.

import type { Consumer, ConsumeOptions, DeliverySink } from "../model/delivery.ts";
import type { Namespace } from "./namespace.ts";
import { dropAbandonedQueues } from "./queue-commands.ts";
import { accessRefused, resource } from "./refusals.ts";
import type { Queue } from "./topology.ts";

/** Subscribes `sink`. Throws "access-refused" when an exclusive consumer is, or would be, not alone. */
export function startConsumer(
  namespace: Namespace,
  queue: Queue,
  sink: DeliverySink,
  options: ConsumeOptions,
): Consumer {
  if (queue.hasExclusiveConsumer || (options.exclusive && queue.consumers > 0)) {
    throw accessRefused(`${resource("queue", queue.record.name, queue.record.vhost)} in exclusive use`);
  }
  const consumer = namespace.shard.consume(queue.record.id, sink, options);
  queue.consumers++;
  queue.hasExclusiveConsumer = options.exclusive;
  return new CountedConsumer(namespace, queue, consumer);
}

class CountedConsumer implements Consumer {
  readonly queueId: number;
  readonly #namespace: Namespace;
  readonly #queue: Queue;
  readonly #consumer: Consumer;
  #cancelled = false;

  constructor(namespace: Namespace, queue: Queue, consumer: Consumer) {
    this.queueId = queue.record.id;
    this.#namespace = namespace;
    this.#queue = queue;
    this.#consumer = consumer;
  }

  get isActive(): boolean {
    return this.#consumer.isActive;
  }

  resume(): void {
    if (!this.#cancelled && !this.#queue.deleted) this.#consumer.resume();
  }

  pause(): void {
    if (!this.#cancelled && !this.#queue.deleted) this.#consumer.pause();
  }

  /** Idempotent. The last consumer that goes takes an auto-delete queue with it. */
  cancel(): void {
    const queue = this.#queue;
    if (this.#cancelled || queue.deleted) return;
    this.#cancelled = true;
    this.#consumer.cancel();
    queue.consumers--;
    queue.hasExclusiveConsumer = false;
    this.#namespace.expiry.used(queue);
    if (queue.consumers === 0 && queue.record.autoDelete) dropAbandonedQueues(this.#namespace, [queue]);
  }
}
