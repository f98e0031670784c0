// The HTTP port on node:http. A server that listens on loopback answers only requests that name this
// machine in Host: a web page that points its own name at 127.0.0.1 (DNS rebinding) gets nothing.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Http, HttpRequest, HttpResponse } from "../ports/http.ts";
import type { Logger } from "../ports/logger.ts";
import type { Listener } from "../ports/net.ts";

/** Sockets that send nothing are dropped by then, ms. */
const IDLE_TIMEOUT_MS = 30_000;
const CONNECTIONS_MAX = 200;
const LOOPBACK = new Set(["127.0.0.1", "::1"]);
const LOOPBACK_NAMES = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/i;

export function createNodeHttp(logger: Logger): Http {
  return {
    listen: ({ host, port }, handler) => listen({ host, port, handler, logger }),
  };
}

interface ListenInputs {
  readonly host: string;
  readonly port: number;
  readonly handler: (request: HttpRequest) => HttpResponse;
  readonly logger: Logger;
}

function listen({ host, port, handler, logger }: ListenInputs): Promise<Listener> {
  const server = createServer((request, response) => {
    send(request, response, answer(request, LOOPBACK.has(host), handler, logger));
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.requestTimeout = IDLE_TIMEOUT_MS;
  server.headersTimeout = IDLE_TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, exclusive: true }, () => {
      server.off("error", reject);
      server.on("error", (error) => logger.warn("http listener failed", { error: error.message }));
      const bound = server.address() as AddressInfo;
      resolve({ host, port: bound.port, close: () => close(server) });
    });
  });
}

function answer(
  request: IncomingMessage,
  loopbackOnly: boolean,
  handler: ListenInputs["handler"],
  logger: Logger,
): HttpResponse {
  if (loopbackOnly && !LOOPBACK_NAMES.test(request.headers.host ?? "")) {
    return { status: 403, contentType: "text/plain; charset=utf-8", body: "Host is not a name of this machine\n" };
  }
  const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
  try {
    return handler({ method: request.method ?? "GET", path });
  } catch (error) {
    logger.error("http request failed", { path, error: error instanceof Error ? (error.stack ?? "") : String(error) });
    return { status: 500, contentType: "text/plain; charset=utf-8", body: "internal error\n" };
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, contentType, body }: HttpResponse): void {
  request.resume();
  response.writeHead(status, {
    "content-type": contentType,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
  });
  response.end(request.method === "HEAD" ? undefined : body);
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
