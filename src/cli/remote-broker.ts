// The running broker over HTTP: RabbitMQ's interface (/api) and Quayside's own (/v1).

import type { Format } from "./output.ts";
import { optionalSecret } from "./secret.ts";
import { CliError, EXIT, type ParsedArguments } from "./verb.ts";

export class RemoteBroker {
  readonly vhost: string;
  readonly format: Format;
  readonly #url: string;
  readonly #authorization: string;

  constructor(args: ParsedArguments) {
    const { env } = process;
    const user = args.text("user") ?? env.QUAYSIDE_USER ?? "guest";
    const password = optionalSecret(args, "password-file", "QUAYSIDE_PASSWORD") ?? (user === "guest" ? "guest" : "");
    this.#url = (args.text("url") ?? env.QUAYSIDE_URL ?? "http://127.0.0.1:15672").replace(/\/+$/, "");
    this.#authorization = `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`;
    this.vhost = args.text("vhost") ?? env.QUAYSIDE_VHOST ?? "/";
    const format = args.text("output") ?? "table";
    if (format !== "json" && format !== "table") throw new CliError(EXIT.usage, "-o must be json or table");
    this.format = format;
  }

  get(path: string): Promise<unknown> {
    return this.#ask("GET", path, undefined);
  }

  put(path: string, body: unknown): Promise<unknown> {
    return this.#ask("PUT", path, body);
  }

  post(path: string, body: unknown): Promise<unknown> {
    return this.#ask("POST", path, body);
  }

  delete(path: string): Promise<unknown> {
    return this.#ask("DELETE", path, undefined);
  }

  async list(path: string): Promise<readonly Record<string, unknown>[]> {
    const found = await this.get(path);
    return Array.isArray(found) ? (found as Record<string, unknown>[]) : [];
  }

  async #ask(method: string, path: string, body: unknown): Promise<unknown> {
    const headers = { authorization: this.#authorization, "content-type": "application/json" };
    let response: Response;
    try {
      const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
      response = await fetch(`${this.#url}${path}`, init);
    } catch (error) {
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      const advice = "is the broker running, and is --url its http address?";
      throw new CliError(EXIT.unreachable, `cannot reach ${this.#url}: ${cause}; ${advice}`, { cause: error });
    }
    const text = await response.text();
    const answer = parsed(text);
    if (response.ok) return answer;
    throw new CliError(EXIT.failed, `${reasonOf(answer) ?? `HTTP ${response.status}`}${adviceFor(response.status)}`);
  }
}

/** A path whose parts may hold any character. */
export function pathOf(...parts: readonly string[]): string {
  return parts.map((part) => `/${encodeURIComponent(part)}`).join("");
}

function parsed(text: string): unknown {
  try {
    return text === "" ? undefined : JSON.parse(text);
  } catch {
    // Not JSON: something else than a broker answers there, and the status tells what.
    return undefined;
  }
}

function reasonOf(answer: unknown): string | undefined {
  if (typeof answer !== "object" || answer === null) return undefined;
  const { message, reason, hint } = answer as Record<string, unknown>;
  const why = message ?? reason;
  return typeof why === "string" ? `${why}${typeof hint === "string" ? ` (${hint})` : ""}` : undefined;
}

function adviceFor(status: number): string {
  return status === 401 ? "; give --user and --password-file, or QUAYSIDE_USER and QUAYSIDE_PASSWORD" : "";
}
