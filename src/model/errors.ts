// The kinds of errors (docs/errors.md). Refusals are BrokerError with a closed union of codes, so
// that a new code does not compile until every protocol answers it. Malformed input is DecodeError
// and never leaves the connection. The environment failing is StorageError. A bug is InvariantError
// (assert.ts).

/** Every reason for which the broker refuses a request. */
export type BrokerErrorCode =
  | "not-found"
  | "already-exists"
  | "precondition-failed"
  | "access-refused"
  | "resource-locked"
  | "not-allowed"
  | "not-implemented"
  | "resource-limit"
  | "too-large"
  | "unavailable"
  | "shutting-down";

/** How far the damage of a refusal reaches. */
export type ErrorScope = "request" | "channel" | "connection";

export interface ErrorTraits {
  readonly scope: ErrorScope;
  readonly retryable: boolean;
  readonly meaning: string;
}

/** The one table of refusals; docs/errors.md is compared with it by a test. */
export const BROKER_ERRORS: Readonly<Record<BrokerErrorCode, ErrorTraits>> = {
  "not-found": { scope: "channel", retryable: false, meaning: "The queue, exchange, vhost or topic does not exist." },
  "already-exists": { scope: "channel", retryable: false, meaning: "It exists as another kind of thing." },
  "precondition-failed": {
    scope: "channel",
    retryable: false,
    meaning: "It exists with other settings, is in use, or an argument is invalid.",
  },
  "access-refused": {
    scope: "channel",
    retryable: false,
    meaning: "The user may not do this, or the name is reserved.",
  },
  "resource-locked": { scope: "channel", retryable: false, meaning: "Another connection has exclusive access." },
  "not-allowed": {
    scope: "connection",
    retryable: false,
    meaning: "The vhost does not exist or the user may not enter it.",
  },
  "not-implemented": { scope: "connection", retryable: false, meaning: "This version does not have the feature." },
  "resource-limit": { scope: "channel", retryable: true, meaning: "A limit is reached; nothing was stored." },
  "too-large": { scope: "channel", retryable: false, meaning: "The message is larger than the limit." },
  unavailable: {
    scope: "connection",
    retryable: true,
    meaning: "Storage failed or is read-only; nothing is acknowledged.",
  },
  "shutting-down": { scope: "connection", retryable: true, meaning: "The broker is stopping." },
};

/** A refusal. `message` is a sentence for people: what happened, why, what to do. */
export class BrokerError extends Error {
  override readonly name = "BrokerError";
  readonly code: BrokerErrorCode;
  constructor(code: BrokerErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
  get scope(): ErrorScope {
    return BROKER_ERRORS[this.code].scope;
  }
}

/** Malformed bytes. Thrown by codecs only. */
export class DecodeError extends Error {
  override readonly name = "DecodeError";
}

export type StorageErrorKind = "io" | "full" | "fenced" | "damaged" | "closed";

/** The environment failed. `kind` says what that means for the log (STYLE: docs/errors.md). */
export class StorageError extends Error {
  override readonly name = "StorageError";
  readonly kind: StorageErrorKind;
  constructor(kind: StorageErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
