// What a client is told when something is refused: reply code, text, and whether the channel or the
// connection ends (AMQP 0-9-1 section 4.10; texts as RabbitMQ's: "NOT_FOUND - no queue 'q' ...").

import { BROKER_ERRORS, BrokerError, DecodeError, StorageError, type BrokerErrorCode } from "../../model/errors.ts";
import { REPLY_CODES, type ReplyName } from "./spec.ts";

/** The reply of each refusal. A new broker code does not compile until it has one. */
export const BROKER_REPLIES = {
  "not-found": "not-found",
  "already-exists": "precondition-failed",
  "precondition-failed": "precondition-failed",
  "access-refused": "access-refused",
  "resource-locked": "resource-locked",
  "not-allowed": "not-allowed",
  "not-implemented": "not-implemented",
  "resource-limit": "precondition-failed",
  "too-large": "precondition-failed",
  unavailable: "internal-error",
  "shutting-down": "connection-forced",
} as const satisfies Record<BrokerErrorCode, ReplyName>;

/** An error that a client is told. `message` is the whole reply text. */
export class AmqpError extends Error {
  override readonly name = "AmqpError";
  readonly replyCode: number;
  readonly scope: "channel" | "connection";
  constructor(scope: "channel" | "connection", reply: ReplyName, detail: string, options?: ErrorOptions) {
    super(`${replyTitle(reply)} - ${detail}`, options);
    this.scope = scope;
    this.replyCode = REPLY_CODES[reply];
  }
}

/** The channel ends. */
export function channelError(reply: ReplyName, detail: string): AmqpError {
  return new AmqpError("channel", reply, detail);
}

/** The connection ends. */
export function connectionError(reply: ReplyName, detail: string): AmqpError {
  return new AmqpError("connection", reply, detail);
}

/**
 * The client's view of anything that was thrown while its bytes were handled. Whatever is neither a
 * refusal nor malformed input is a fault of ours: 541, without details.
 */
export function toAmqpError(error: unknown): AmqpError {
  if (error instanceof AmqpError) return error;
  if (error instanceof BrokerError) {
    const scope = BROKER_ERRORS[error.code].scope === "connection" ? "connection" : "channel";
    return new AmqpError(scope, BROKER_REPLIES[error.code], error.message, { cause: error });
  }
  if (error instanceof DecodeError) return new AmqpError("connection", "syntax-error", error.message, { cause: error });
  if (error instanceof StorageError) {
    return new AmqpError("connection", "internal-error", "storage has failed; nothing is acknowledged", {
      cause: error,
    });
  }
  return new AmqpError("connection", "internal-error", "an internal error; the operator's log has the details", {
    cause: error,
  });
}

/** True when `error` stands for a fault of the broker and not of the client. */
export function isInternal(error: AmqpError): boolean {
  return error.replyCode === REPLY_CODES["internal-error"];
}

/** Reply text cut to what a short string holds, on a character's edge. */
export function replyText(message: string): string {
  if (Buffer.byteLength(message) <= 255) return message;
  let text = message.slice(0, 252);
  while (Buffer.byteLength(text) > 252) text = text.slice(0, -1);
  return `${text}...`;
}

function replyTitle(reply: ReplyName): string {
  return reply.toUpperCase().replaceAll("-", "_");
}
