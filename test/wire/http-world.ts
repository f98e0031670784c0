// A broker in memory with its HTTP listeners, and requests to them over real sockets.

import { request } from "node:http";
import { type BrokerOptions, type RunningBroker, startBroker } from "../../src/index.ts";

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The body as JSON; undefined when it is empty. */
  readonly json: unknown;
}

export interface HttpAsk {
  readonly method?: string;
  /** Sent as JSON unless it is a string or bytes. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** "name:password"; default guest:guest; null for nobody. */
  readonly login?: string | null;
}

export function ask(port: number, path: string, what: HttpAsk = {}): Promise<HttpAnswer> {
  const { method = "GET", body, login = "guest:guest" } = what;
  const isRaw = typeof body === "string" || Buffer.isBuffer(body);
  const bytes = body === undefined ? undefined : isRaw ? body : JSON.stringify(body);
  const isChunked = what.headers?.["transfer-encoding"] !== undefined;
  const headers: Record<string, string> = {
    ...(bytes === undefined ? {} : { "content-type": "application/json" }),
    ...(bytes === undefined || isChunked ? {} : { "content-length": String(Buffer.byteLength(bytes)) }),
    ...(login === null ? {} : { authorization: `Basic ${Buffer.from(login).toString("base64")}` }),
    ...what.headers,
  };
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        const isJson = response.headers["content-type"] === "application/json" && text !== "";
        const json: unknown = isJson ? JSON.parse(text) : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    asked.once("error", reject);
    asked.end(bytes);
  });
}

export interface HttpWorld {
  readonly broker: RunningBroker;
  readonly port: number;
  readonly metricsPort: number;
  readonly amqpPort: number;
  ask(path: string, what?: HttpAsk): Promise<HttpAnswer>;
  get(path: string): Promise<HttpAnswer>;
  put(path: string, body?: unknown): Promise<HttpAnswer>;
  post(path: string, body?: unknown): Promise<HttpAnswer>;
  delete(path: string): Promise<HttpAnswer>;
  close(): Promise<void>;
}

export async function startHttpWorld(options: BrokerOptions = {}): Promise<HttpWorld> {
  const broker = await startBroker({ memory: true, hosts: ["127.0.0.1"], httpPort: 0, metricsPort: 0, ...options });
  const portOf = (protocol: string): number => broker.addresses.find((each) => each.protocol === protocol)?.port ?? 0;
  const port = portOf("http");
  return {
    broker,
    port,
    metricsPort: portOf("metrics"),
    amqpPort: portOf("amqp"),
    ask: (path, what) => ask(port, path, what),
    get: (path) => ask(port, path),
    put: (path, body) => ask(port, path, { method: "PUT", body }),
    post: (path, body) => ask(port, path, { method: "POST", body }),
    delete: (path) => ask(port, path, { method: "DELETE" }),
    close: () => broker.close(),
  };
}
