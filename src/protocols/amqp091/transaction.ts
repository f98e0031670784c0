// A transactional channel (tx.select): publishes and acks are kept until tx.commit, which applies all of
// them in one turn and is answered when they are durable, or until tx.rollback, which forgets them. A
// rolled-back ack leaves its delivery unacked; nothing is requeued.
//
// What is kept is bounded, for each channel and for all of them together: beyond, the channel ends with 406.

import { LIMITS } from "../../limits.ts";
import { IncomingMessage } from "../../model/message.ts";
import { channelError } from "./errors.ts";

/** Memory that a kept publish takes beside its bytes, roughly. */
const PUBLISH_OVERHEAD_BYTES = 512;

export interface KeptPublish {
  readonly message: IncomingMessage;
  readonly mandatory: boolean;
  /** Routing keys of the headers CC and BCC. */
  readonly copies: readonly string[];
}

export type SettleKind = "ack" | "reject" | "requeue";

/** Bytes in all transactions of a door. */
export class TransactionBudget {
  usedBytes = 0;
}

export class Transaction {
  private publishes: KeptPublish[] = [];
  private tags: number[] = [];
  private kinds: SettleKind[] = [];
  private bytes = 0;
  private readonly budget: TransactionBudget;

  constructor(budget: TransactionBudget) {
    this.budget = budget;
  }

  get isEmpty(): boolean {
    return this.publishes.length === 0 && this.tags.length === 0;
  }

  /** Keeps a copy of `message`. Throws 406 when the transaction has grown too large. */
  keepPublish(message: IncomingMessage, mandatory: boolean, copies: readonly string[]): void {
    const kept = copyOf(message);
    const size = kept.envelope.length + kept.properties.length + kept.bodySize + PUBLISH_OVERHEAD_BYTES;
    if (
      this.bytes + size > LIMITS.transactionBytesMax ||
      this.budget.usedBytes + size > LIMITS.transactionsTotalBytesMax
    ) {
      throw channelError(
        "precondition-failed",
        `the transaction is too large: ${this.publishes.length} messages wait for tx.commit`,
      );
    }
    this.bytes += size;
    this.budget.usedBytes += size;
    this.publishes.push({ message: kept, mandatory, copies });
  }

  keepSettle(tag: number, kind: SettleKind): void {
    this.tags.push(tag);
    this.kinds.push(kind);
  }

  /** What it takes in the log, from above. */
  get size(): { readonly bytes: number; readonly settles: number } {
    return { bytes: this.bytes, settles: this.tags.length };
  }

  get keptPublishes(): readonly KeptPublish[] {
    return this.publishes;
  }

  eachSettle(visit: (tag: number, kind: SettleKind) => void): void {
    for (let i = 0; i < this.tags.length; i++) visit(this.tags[i]!, this.kinds[i]!);
  }

  /** Everything is applied, or forgotten. */
  clear(): void {
    this.budget.usedBytes -= this.bytes;
    this.bytes = 0;
    this.publishes = [];
    this.tags = [];
    this.kinds = [];
  }
}

/** `message` with bytes of its own: those of the original belong to the socket. */
function copyOf(message: IncomingMessage): IncomingMessage {
  const copy = new IncomingMessage();
  copy.envelope = Buffer.from(message.envelope.subarray(message.envelopeStart, message.envelopeEnd));
  copy.envelopeEnd = copy.envelope.length;
  copy.properties = Buffer.from(message.properties.subarray(message.propertiesStart, message.propertiesEnd));
  copy.propertiesEnd = copy.properties.length;
  const body = Buffer.allocUnsafeSlow(message.bodySize);
  let at = 0;
  for (let i = 0; i < message.bodyCount; i++) {
    at += message.bodyParts[i]!.copy(body, at, message.bodyStarts[i], message.bodyEnds[i]);
  }
  copy.bodyParts = [body];
  copy.bodyStarts = [0];
  copy.bodyEnds = [message.bodySize];
  copy.bodyCount = message.bodySize === 0 ? 0 : 1;
  copy.bodySize = message.bodySize;
  copy.persistent = message.persistent;
  copy.priority = message.priority;
  copy.expirationMs = message.expirationMs;
  copy.delayMs = message.delayMs;
  return copy;
}
