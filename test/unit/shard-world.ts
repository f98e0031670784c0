// A shard over the memory log, with messages made from short texts: what the unit tests of queues
// stand on.

import { createMemoryLogStore } from "../../src/log/memory.ts";
import type { LogStore } from "../../src/log/log.ts";
import type { Consumer, DeliverySink } from "../../src/model/delivery.ts";
import type { StorageError } from "../../src/model/errors.ts";
import { IncomingMessage, recordEnvelopeEnd } from "../../src/model/message.ts";
import type { Clock, Turn } from "../../src/ports/clock.ts";
import type { Logger } from "../../src/ports/logger.ts";
import { type OpenShard, openShard } from "../../src/queues/open-shard.ts";
import type { Shard } from "../../src/queues/shard.ts";
import type { AllShardParameters } from "../../src/queues/shard-options.ts";

const FAR_MS = 60_000;
const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} };
const clock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, delayMs);
    // What is far away must not keep a test alive that is over.
    if (delayMs > FAR_MS) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};
const turn: Turn = { schedule: (run) => void setImmediate(run) };

/** Pages of 8 rows and windows of a few entries: every boundary is near. */
export const SMALL: Partial<AllShardParameters> = {
  pageRows: 8,
  pageRowsFirst: 2,
  slabBytes: 4096,
  entryTargetBytes: 512,
  tailCacheBytes: 8192,
  lazyCommitMs: 1,
  readAheadBytes: 2048,
  readAheadTotalBytes: 8192,
  snapshotMinBytes: 4096,
  cleanerSlackBytes: 4096,
  transientSlabBytes: 1024,
  transientBytesMax: 8192,
};

export interface Received {
  readonly text: string;
  readonly lane: number;
  readonly sequence: number;
  readonly deliveries: number;
}

/** A consumer that takes `credit` messages at a time and keeps what it got. */
export class TestSink implements DeliverySink {
  readonly received: Received[] = [];
  isCancelled = false;
  credit: number;
  consumer: Consumer | undefined = undefined;

  constructor(credit = Number.POSITIVE_INFINITY) {
    this.credit = credit;
  }

  deliver(
    bytes: Buffer,
    start: number,
    size: number,
    _queueId: number,
    lane: number,
    sequence: number,
    deliveries: number,
  ): boolean {
    this.received.push({ text: textOf(bytes, start, size), lane, sequence, deliveries });
    return --this.credit > 0;
  }

  cancelled(): void {
    this.isCancelled = true;
  }

  texts(): string[] {
    return this.received.map((message) => message.text);
  }
}

/** A message with `text` as its body, as a door hands it in. */
export function messageOf(text: string, persistent: boolean): IncomingMessage {
  const body = Buffer.from(text);
  const message = new IncomingMessage();
  message.envelope = Buffer.from("\0\x01k", "latin1");
  message.envelopeEnd = 3;
  message.bodyParts = [body];
  message.bodyStarts = [0];
  message.bodyEnds = [body.length];
  message.bodyCount = 1;
  message.bodySize = body.length;
  message.persistent = persistent;
  return message;
}

/** The body of a record as text. */
export function textOf(bytes: Buffer, start: number, size: number): string {
  const propertiesAt = recordEnvelopeEnd(bytes, start);
  const bodyAt = propertiesAt + 4 + bytes.readUInt32LE(propertiesAt);
  return bytes.toString("utf8", bodyAt, start + size);
}

/** What has not happened by then never will; turns alone are no measure, since the cleaner looks by the clock. */
const PATIENCE_MS = 20_000;

export class ShardWorld {
  readonly store: LogStore;
  readonly #parameters: Partial<AllShardParameters>;
  #open: OpenShard | undefined;
  flowChanges = 0;
  /** A test that makes the log fail replaces this. */
  onFailed: (error: StorageError) => void = (error) => {
    throw error;
  };

  constructor(parameters: Partial<AllShardParameters> = SMALL, store?: LogStore) {
    this.#parameters = parameters;
    this.store = store ?? createMemoryLogStore({ clock, turn, extentBytes: 4096 });
  }

  async open(): Promise<Shard> {
    this.#open = await openShard({
      store: this.store,
      clock,
      turn,
      logger: silent,
      parameters: this.#parameters,
      events: {
        onCommitted: () => undefined,
        onFlow: () => void this.flowChanges++,
        onSpace: () => undefined,
        onFailed: (error) => this.onFailed(error),
      },
    });
    this.#open.shard.setDeadLetterRouter(undefined);
    return this.#open.shard;
  }

  get parts(): OpenShard {
    return this.#open!;
  }

  get shard(): Shard {
    return this.#open!.shard;
  }

  publish(text: string, queueIds: readonly number[], persistent = true): number {
    return this.shard.publish(messageOf(text, persistent), queueIds);
  }

  consume(queueId: number, sink: TestSink, noAck = false): Consumer {
    sink.consumer = this.shard.consume(queueId, sink, { noAck, exclusive: false });
    return sink.consumer;
  }

  /** Resolves when everything so far is durable. */
  committed(): Promise<void> {
    return new Promise((resolve) => this.shard.whenCommitted(resolve));
  }

  /** Resolves when `holds` does; looks once per event-loop turn. */
  async until(holds: () => boolean, what: string): Promise<void> {
    const endMs = performance.now() + PATIENCE_MS;
    while (!holds()) {
      if (performance.now() > endMs) throw new Error(`never happened: ${what}`);
      await new Promise<void>((resolve) => void setImmediate(resolve));
    }
  }
}
