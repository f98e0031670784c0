// What a client saw, kept by name so that steps can wait for it. A record is written by a client
// adapter and read by the scenario runner; it never talks to the broker. Waiting is on events, with one
// long deadline that only a failing test reaches.

/** One message as a client handed it over. `body` and header bytes are raw; `tag` is the delivery tag. */
export interface SeenMessage {
  readonly consumer?: string;
  readonly tag: number;
  readonly redelivered: boolean;
  readonly exchange: string;
  readonly key: string;
  readonly properties: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

/** Why the broker ended a channel or connection. Code 0: the socket closed without a word. */
export interface CloseReason {
  readonly level: "channel" | "connection";
  readonly code: number;
  readonly text: string;
}

const DEADLINE_MS = 10_000;

/** A thing that changes; `until` waits for a condition over it. */
class Watched {
  readonly #waiting = new Set<() => void>();

  protected changed(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** Resolves with the first defined result of `look`; rejects after the deadline, naming `what`. */
  until<T>(what: string, look: () => T | undefined): Promise<T> {
    const now = look();
    if (now !== undefined) return Promise.resolve(now);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(check);
        reject(new Error(`waited ${DEADLINE_MS} ms for ${what}`));
      }, DEADLINE_MS);
      const check = (): void => {
        const result = look();
        if (result === undefined) return;
        clearTimeout(timer);
        this.#waiting.delete(check);
        resolve(result);
      };
      this.#waiting.add(check);
    });
  }
}

export class ConnectionRecord extends Watched {
  closed: CloseReason | undefined;
  /** Channels whose end follows from this connection's end. */
  readonly channels = new Set<ChannelRecord>();

  /** The broker (or the loss of the socket) ended the connection. The first reason stays. */
  noteClosed(reason: CloseReason): void {
    if (this.closed === undefined) this.closed = reason;
    for (const channel of this.channels) channel.noteClosed(this.closed);
    this.changed();
  }
}

export class ChannelRecord extends Watched {
  closed: CloseReason | undefined;
  /** Deliveries that no step has looked at yet, oldest first. */
  readonly deliveries: SeenMessage[] = [];
  /** Latest delivery tag by body text, so that a scenario can ack "m1". */
  readonly tags = new Map<string, number>();
  /** Where the sender of a message wants the reply, by body text. */
  readonly replyAddresses = new Map<string, string>();
  /** Returns and confirms in the order in which the client was told. */
  events: string[] = [];
  readonly cancelled = new Set<string>();
  /** Publishes on this channel that wait for a confirm. */
  unconfirmed = 0;

  noteDelivery(message: SeenMessage): void {
    this.deliveries.push(message);
    this.noteTag(message);
    this.changed();
  }

  noteTag(message: SeenMessage): void {
    const text = message.body.toString("latin1", 0, 64);
    this.tags.set(text, message.tag);
    const replyTo = message.properties["reply-to"];
    if (typeof replyTo === "string") this.replyAddresses.set(text, replyTo);
  }

  noteReturn(code: number, text: string, body: Buffer): void {
    this.events.push(`return ${code} ${text}: ${body.toString("latin1", 0, 64)}`);
    this.changed();
  }

  noteConfirm(positive: boolean): void {
    this.unconfirmed -= 1;
    this.events.push(positive ? "ack" : "nack");
    this.changed();
  }

  noteCancelled(consumer: string): void {
    this.cancelled.add(consumer);
    this.changed();
  }

  noteClosed(reason: CloseReason): void {
    if (this.closed === undefined) this.closed = reason;
    this.changed();
  }
}
