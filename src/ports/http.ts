// HTTP as the admin pages need it: whole small answers to GET requests. runtime/ implements it on
// node:http.

import type { Listener } from "./net.ts";

export interface HttpRequest {
  readonly method: string;
  /** Path without the query, still percent-encoded. */
  readonly path: string;
}

export interface HttpResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export interface Http {
  /** Fails with the system's code in `error.code`, as Net.listen does. A throwing handler answers 500. */
  listen(
    options: { readonly host: string; readonly port: number },
    handler: (request: HttpRequest) => HttpResponse,
  ): Promise<Listener>;
}
