// How answers become HTTP, and what refusals look like. /api speaks as RabbitMQ's management interface
// does, {error, reason}; everything else says {error, message, hint}.

import type { BrokerErrorCode } from "../model/errors.ts";
import { BrokerError, DecodeError } from "../model/errors.ts";
import { BodyRefused, type HttpResponse } from "../ports/http.ts";
import type { Answer } from "./route.ts";

/** Pages and answers load nothing, are framed by nobody, and are not guessed to be something else. */
const SECURITY_HEADERS = {
  "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cache-control": "no-store",
} as const;

export interface Refusal {
  readonly status: number;
  /** A word for programs. */
  readonly error: string;
  /** A sentence for people: what happened and why. */
  readonly message: string;
  /** What to do about it. */
  readonly hint?: string | undefined;
  readonly headers?: Readonly<Record<string, string>>;
}

export function json(body: unknown, status = 200): Answer {
  return { status, body };
}

export const CREATED: Answer = { status: 201 };
export const NO_CONTENT: Answer = { status: 204 };

export function toResponse({ status, contentType, body, headers = {} }: Answer): HttpResponse {
  if (body === undefined) return { status, headers: { ...SECURITY_HEADERS, ...headers }, body: "" };
  const isText = contentType !== undefined && typeof body === "string";
  return {
    status,
    headers: { ...SECURITY_HEADERS, "content-type": contentType ?? "application/json", ...headers },
    body: isText ? body : JSON.stringify(body),
  };
}

/** `path` decides in whose words. */
export function refusalResponse(path: string, { status, error, message, hint, headers = {} }: Refusal): HttpResponse {
  const body = path.startsWith("/api/") ? { error: apiWord(status), reason: message } : { error, message, hint };
  return toResponse({ status, body, headers });
}

/** What an error means over HTTP; undefined for a bug, which is nobody's fault but ours. */
export function refusalOf(error: unknown): Refusal | undefined {
  if (error instanceof BrokerError) {
    return { status: STATUS[error.code], error: error.code, message: error.message, hint: HINTS[error.code] };
  }
  if (error instanceof DecodeError) return { status: 400, error: "bad-request", message: error.message };
  if (error instanceof BodyRefused) {
    return { status: error.status, error: error.status === 413 ? "too-large" : "unavailable", message: error.message };
  }
  return undefined;
}

const STATUS = {
  "not-found": 404,
  "already-exists": 400,
  "precondition-failed": 400,
  "access-refused": 403,
  "resource-locked": 400,
  "not-allowed": 403,
  "not-implemented": 501,
  "resource-limit": 503,
  "too-large": 413,
  unavailable: 503,
  "shutting-down": 503,
} as const satisfies Record<BrokerErrorCode, number>;

const HINTS: Readonly<Partial<Record<BrokerErrorCode, string>>> = {
  "access-refused": "An administrator grants permissions and roles.",
  "not-allowed": "An administrator grants permissions in a vhost.",
  "resource-limit": "Nothing was stored; try again later.",
  unavailable: "Look at the broker's log; try again when it has been started anew.",
  "shutting-down": "Try again when it has been started anew.",
};

/** RabbitMQ's words. */
function apiWord(status: number): string {
  switch (status) {
    case 401:
    case 403:
      return "not_authorised";
    case 404:
      return "Object Not Found";
    case 405:
      return "Method Not Allowed";
    case 503:
      return "service_unavailable";
    default:
      return "bad_request";
  }
}
