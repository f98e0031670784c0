// The HTTP port on node:http. What is read is limited in time and size before anybody looks at it.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, BlockList, isIPv6 } from "node:net";
import { LIMITS } from "../limits.ts";
import { BodyRefused, type Http, type HttpHandler, type HttpRequest, type HttpResponse } from "../ports/http.ts";
import type { Logger } from "../ports/logger.ts";
import type { Listener } from "../ports/net.ts";

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** `limits` replaces those of limits.ts; for tests. */
export function createNodeHttp(logger: Logger, limits: Partial<HttpLimits> = {}): Http {
  const bodies = new BodyBudget(limits.bodiesTotalBytesMax ?? LIMITS.httpBodiesTotalBytesMax);
  const timeoutMs = limits.requestTimeoutMs ?? LIMITS.httpRequestTimeoutMs;
  return {
    listen: ({ host, port }, handler) => listen({ host, port, handler, logger, bodies, timeoutMs }),
  };
}

export interface HttpLimits {
  readonly bodiesTotalBytesMax: number;
  readonly requestTimeoutMs: number;
}

interface ListenInputs {
  readonly host: string;
  readonly port: number;
  readonly handler: HttpHandler;
  readonly logger: Logger;
  readonly bodies: BodyBudget;
  readonly timeoutMs: number;
}

function listen({ host, port, handler, logger, bodies, timeoutMs }: ListenInputs): Promise<Listener> {
  // The server looks for requests that take too long only so often.
  const options = { connectionsCheckingInterval: Math.min(timeoutMs, 5000) };
  const server = createServer(options, (request, response) => {
    void answer(request, { handler, logger, bodies }).then((result) => send(request, response, result));
  });
  server.maxConnections = LIMITS.httpConnectionsMax;
  server.requestTimeout = timeoutMs;
  server.headersTimeout = timeoutMs;
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

async function answer(
  request: IncomingMessage,
  { handler, logger, bodies }: Pick<ListenInputs, "handler" | "logger" | "bodies">,
): Promise<HttpResponse> {
  try {
    return await handler(new NodeRequest(request, bodies));
  } catch (error) {
    const path = (request.url ?? "/").split("?", 1)[0] ?? "/";
    const what = error instanceof Error ? (error.stack ?? "") : String(error);
    logger.error("http request failed", { method: request.method ?? "", path, error: what });
    return { status: 500, headers: { "content-type": "text/plain; charset=utf-8" }, body: "internal error\n" };
  }
}

class NodeRequest implements HttpRequest {
  readonly method: string;
  readonly target: string;
  readonly peerHost: string;
  readonly isLocal: boolean;
  readonly #request: IncomingMessage;
  readonly #bodies: BodyBudget;

  constructor(request: IncomingMessage, bodies: BodyBudget) {
    this.method = request.method ?? "GET";
    this.target = request.url ?? "/";
    this.peerHost = plainAddress(request.socket.remoteAddress);
    this.isLocal = isLoopback(this.peerHost) && isLoopback(plainAddress(request.socket.localAddress));
    this.#request = request;
    this.#bodies = bodies;
  }

  header(name: string): string | undefined {
    const value = this.#request.headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  }

  async body(bytesMax: number): Promise<Buffer> {
    const tooLarge = new BodyRefused(413, `the body of this request has at most ${bytesMax} bytes`);
    if (Number(this.#request.headers["content-length"] ?? 0) > bytesMax) throw tooLarge;
    const chunks: Buffer[] = [];
    let size = 0;
    try {
      for await (const chunk of this.#request as AsyncIterable<Buffer>) {
        this.#bodies.take(chunk.length);
        size += chunk.length;
        if (size > bytesMax) throw tooLarge;
        chunks.push(chunk);
      }
      return Buffer.concat(chunks, size);
    } finally {
      this.#bodies.giveBack(size);
    }
  }
}

/** Bytes of all bodies that are being read. */
class BodyBudget {
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  take(bytes: number): void {
    if (this.#bytes + bytes > this.#bytesMax) {
      throw new BodyRefused(503, "too many large requests at once: try again later");
    }
    this.#bytes += bytes;
  }

  giveBack(bytes: number): void {
    this.#bytes -= bytes;
  }
}

/** "::ffff:127.0.0.1" is an IPv4 peer of a socket that listens on IPv6. */
function plainAddress(address = ""): string {
  return address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;
}

function isLoopback(address: string): boolean {
  return address !== "" && LOOPBACK.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

function send(request: IncomingMessage, response: ServerResponse, { status, headers, body }: HttpResponse): void {
  if (response.destroyed) return;
  // What is left of a body that nobody wanted is not kept; the connection ends instead of waiting for it.
  if (!request.complete) response.setHeader("connection", "close");
  request.resume();
  response.writeHead(status, { ...headers, "content-length": Buffer.byteLength(body) });
  response.end(request.method === "HEAD" ? undefined : body);
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}
