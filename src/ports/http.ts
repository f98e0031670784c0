// HTTP as the admin interface needs it: a request whose body is read when somebody wants it, and a whole
// answer. runtime/ implements it on node:http.

import type { Listener } from "./net.ts";

export interface HttpRequest {
  readonly method: string;
  /** Path and query as they came, still percent-encoded. */
  readonly target: string;
  /** The value of a header, undefined when it did not come. `name` is in lower case. */
  header(name: string): string | undefined;
  /** The peer's address. */
  readonly peerHost: string;
  /** Both ends of the connection are on this machine. */
  readonly isLocal: boolean;
  /** Reads the body. Rejects with BodyRefused when it is larger, or when too many are being read. */
  body(bytesMax: number): Promise<Buffer>;
}

export interface HttpResponse {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Why a body was not read. */
export class BodyRefused extends Error {
  override readonly name = "BodyRefused";
  readonly status: 413 | 503;
  constructor(status: 413 | 503, message: string) {
    super(message);
    this.status = status;
  }
}

export type HttpHandler = (request: HttpRequest) => Promise<HttpResponse>;

export interface Http {
  /** Fails with the system's code in `error.code`, as Net.listen does. A rejecting handler answers 500. */
  listen(options: { readonly host: string; readonly port: number }, handler: HttpHandler): Promise<Listener>;
}
