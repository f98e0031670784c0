// What a shard must do, kept simply: for each queue the messages in publish order, and for each of them
// how far it got. After a restart the model says what must be there, what may be, and what must not.

export interface ModelMessage {
  readonly text: string;
  readonly order: number;
  readonly persistent: boolean;
  /** The publisher was told that it is durable. */
  confirmed: boolean;
  /** Acked, purged or dropped: gone for the clients; durably so once a later commit was awaited. */
  settled: "no" | "lazy" | "durable";
  inFlight: boolean;
  /** Deliveries so far, and how many of them a commit covers. */
  deliveries: number;
  durableDeliveries: number;
}

export interface FoundMessage {
  readonly text: string;
  readonly sequence: number;
  readonly deliveries: number;
}

/** The number of a message; its text may be long. */
function nameOf(text: string): string {
  return `message ${text.slice(0, text.indexOf(":"))}`;
}

export class ModelQueue {
  readonly messages = new Map<string, ModelMessage>();
  /** Order of the newest first delivery. */
  lastFirstDelivery = -1;
  created: "lazy" | "durable" = "lazy";
}

export class ShardModel {
  readonly queues = new Map<number, ModelQueue>();
  /** Queues deleted, perhaps not durably. */
  readonly deleted = new Set<number>();
  #order = 0;

  published(text: string, queueIds: readonly number[], persistent: boolean): ModelMessage[] {
    const order = this.#order++;
    return queueIds.map((queueId) => {
      const message: ModelMessage = {
        text,
        order,
        persistent,
        confirmed: false,
        settled: "no",
        inFlight: false,
        deliveries: 0,
        durableDeliveries: 0,
      };
      this.queues.get(queueId)!.messages.set(text, message);
      return message;
    });
  }

  /** A message reached a consumer. Throws when it must not have. */
  delivered(queueId: number, text: string, deliveries: number): ModelMessage {
    const queue = this.queues.get(queueId);
    const message = queue?.messages.get(text);
    if (queue === undefined || message === undefined)
      throw new Error(`delivered ${nameOf(text)}, which nobody published`);
    if (message.settled !== "no") throw new Error(`delivered ${nameOf(text)}, which was settled`);
    if (message.inFlight) throw new Error(`delivered ${nameOf(text)} twice at a time`);
    if (deliveries !== message.deliveries) {
      throw new Error(`${nameOf(text)} came with ${deliveries} deliveries, expected ${message.deliveries}`);
    }
    if (deliveries === 0) {
      if (message.order < queue.lastFirstDelivery) throw new Error(`${nameOf(text)} was delivered out of order`);
      queue.lastFirstDelivery = message.order;
    }
    message.inFlight = true;
    message.deliveries++;
    return message;
  }

  /** Everything applied so far is durable. */
  everythingDurable(): void {
    for (const queue of this.queues.values()) {
      queue.created = "durable";
      for (const message of queue.messages.values()) {
        if (message.settled === "lazy") message.settled = "durable";
        message.durableDeliveries = message.deliveries;
      }
    }
    this.deleted.clear();
  }

  /** Compares a queue with what was found after a restart, and goes on from there. */
  restarted(queueId: number, found: readonly FoundMessage[]): void {
    const queue = this.queues.get(queueId)!;
    const texts = new Set<string>();
    let lastOrder = -1;
    let lastSequence = -1;
    for (const { text, sequence, deliveries } of found) {
      const message = queue.messages.get(text);
      if (message === undefined) throw new Error(`queue ${queueId} has ${nameOf(text)}, which nobody published`);
      if (texts.has(text)) throw new Error(`queue ${queueId} has ${nameOf(text)} twice`);
      texts.add(text);
      if (!message.persistent) throw new Error(`queue ${queueId} kept the transient ${nameOf(text)}`);
      if (message.settled === "durable")
        throw new Error(`queue ${queueId} has ${nameOf(text)}, which was durably settled`);
      if (message.order <= lastOrder || sequence <= lastSequence) throw new Error(`${nameOf(text)} is out of order`);
      lastOrder = message.order;
      lastSequence = sequence;
      if (deliveries < message.durableDeliveries || deliveries > message.deliveries) {
        throw new Error(
          `${nameOf(text)} has ${deliveries} deliveries, expected ${message.durableDeliveries} to ${message.deliveries}`,
        );
      }
      message.deliveries = deliveries;
      message.durableDeliveries = deliveries;
      message.inFlight = false;
      message.settled = "no";
      message.confirmed = true; // what was found is durable
    }
    for (const [text, message] of queue.messages) {
      if (texts.has(text)) continue;
      if (message.confirmed && message.settled === "no")
        throw new Error(`queue ${queueId} lost the confirmed ${nameOf(text)}`);
      queue.messages.delete(text);
    }
    queue.lastFirstDelivery = -1;
    for (const message of queue.messages.values()) {
      if (message.deliveries > 0) queue.lastFirstDelivery = Math.max(queue.lastFirstDelivery, message.order);
    }
  }
}
