// Messages through HTTP, one line each: publish from stdin, consume to stdout; and the state of the broker.

import { createInterface } from "node:readline";
import { printObject, type Row } from "./output.ts";
import { pathOf, RemoteBroker } from "./remote-broker.ts";
import { CliError, EXIT, type FlagSpec, type ParsedArguments, type Verb } from "./verb.ts";

/** Messages asked for at a time. */
const BATCH = 100;

const JSONL: FlagSpec = { name: "jsonl", help: "a JSON object a line, with payload, properties and routing key" };

interface GotMessage {
  readonly payload: string;
  readonly payload_encoding: string;
  readonly properties: Record<string, unknown>;
  readonly exchange: string;
  readonly routing_key: string;
  readonly redelivered: boolean;
}

interface LineMessage {
  readonly payload: string;
  readonly payload_encoding?: string;
  readonly properties?: Record<string, unknown>;
  readonly routing_key?: string;
}

export const MESSAGE_VERBS: readonly Verb[] = [
  {
    name: "status",
    summary: "shows whether the broker serves, and its totals",
    more: ["Exit code 1 when it does not serve, 69 when nothing answers."],
    remote: true,
    run: async (args) => {
      const broker = new RemoteBroker(args);
      await broker.get("/health/ready");
      printObject((await broker.get("/v1/overview")) as Row, broker.format);
      return EXIT.ok;
    },
  },
  {
    name: "publish",
    words: "[ROUTING-KEY]",
    summary: "publishes stdin, one message a line",
    more: [
      "Without --exchange the routing key is the name of a queue. Each message is persistent, and is on disk before the",
      "next one is sent. Exit code 1 when one reached no queue. --jsonl reads what `quayside consume --jsonl` writes.",
    ],
    flags: [{ name: "exchange", value: "NAME", help: "exchange to publish to [the default exchange]" }, JSONL],
    remote: true,
    run: publish,
  },
  {
    name: "consume",
    words: "QUEUE",
    summary: "takes messages from a queue and writes them to stdout, one a line",
    more: [
      "A message is gone from the queue when it is handed out: use an AMQP client where each one has to be acknowledged.",
      "Stops when the queue is empty. Bodies that are not text are written as base64.",
    ],
    flags: [{ name: "count", value: "N", help: "at most so many [all]" }, JSONL],
    remote: true,
    run: consume,
  },
  {
    name: "export",
    summary: "writes users, vhosts, queues, exchanges, bindings and policies to stdout, as JSON Lines",
    more: ["Each line is {kind, value}; `quayside import` reads them. Password hashes are in it: keep it safe."],
    remote: true,
    run: async (args) => {
      const definitions = (await new RemoteBroker(args).get("/api/definitions")) as Record<string, unknown>;
      for (const [kind, values] of Object.entries(definitions)) {
        for (const value of Array.isArray(values) ? values : []) writeLine(JSON.stringify({ kind, value }));
      }
      return EXIT.ok;
    },
  },
  {
    name: "import",
    summary: "reads stdin: JSON Lines of `quayside export`, or RabbitMQ's definitions as one JSON object",
    flags: [{ name: "dry-run", help: "say what would be imported, and do nothing" }],
    remote: true,
    run: importDefinitions,
  },
];

async function* linesOfStdin(): AsyncGenerator<string> {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Number.POSITIVE_INFINITY })) yield line;
}

function writeLine(line: string): void {
  process.stdout.write(`${line}\n`);
}

async function publish(args: ParsedArguments): Promise<number> {
  const broker = new RemoteBroker(args);
  const exchange = args.text("exchange") ?? "amq.default";
  const path = `/api/exchanges${pathOf(broker.vhost, exchange)}/publish`;
  let [sent, unrouted] = [0, 0];
  for await (const line of linesOfStdin()) {
    if (args.has("jsonl") && line.trim() === "") continue;
    const message: LineMessage = args.has("jsonl") ? parseLine(line, sent + 1) : { payload: line };
    const key = args.words[0] ?? message.routing_key;
    if (key === undefined) throw new CliError(EXIT.usage, "give a ROUTING-KEY, or --jsonl with routing_key");
    const answer = (await broker.post(path, {
      routing_key: key,
      payload: message.payload,
      payload_encoding: message.payload_encoding ?? "string",
      properties: { delivery_mode: 2, ...message.properties },
    })) as { routed?: boolean };
    sent += 1;
    if (answer.routed !== true) unrouted += 1;
  }
  process.stderr.write(`published ${sent} messages${unrouted > 0 ? `, ${unrouted} of them reached no queue` : ""}\n`);
  return unrouted > 0 ? EXIT.failed : EXIT.ok;
}

function parseLine(line: string, number: number): LineMessage {
  let parsed: unknown;
  try {
    parsed = JSON.parse(line);
  } catch (error) {
    throw new CliError(EXIT.noInput, `message ${number} of stdin is not JSON`, { cause: error });
  }
  if (typeof parsed === "object" && parsed !== null && "payload" in parsed && typeof parsed.payload === "string") {
    return parsed as LineMessage;
  }
  throw new CliError(EXIT.noInput, `message ${number} of stdin has no payload: {"payload": "text", ...}`);
}

async function consume(args: ParsedArguments): Promise<number> {
  const broker = new RemoteBroker(args);
  const wanted = args.text("count");
  const most = wanted === undefined ? Number.POSITIVE_INFINITY : Number(wanted);
  if (!(most >= 1)) throw new CliError(EXIT.usage, "--count must be a number from 1");
  const path = `/api/queues${pathOf(broker.vhost, args.words[0] ?? "")}/get`;
  let taken = 0;
  while (taken < most) {
    const count = Math.min(BATCH, most - taken);
    const body = { count, ackmode: "ack_requeue_false", encoding: "auto" };
    const messages = (await broker.post(path, body)) as readonly GotMessage[];
    if (messages.length === 0) break;
    taken += messages.length;
    for (const message of messages) writeLine(args.has("jsonl") ? jsonLine(message) : plainLine(message));
  }
  return EXIT.ok;
}

function jsonLine({ payload, payload_encoding, properties, exchange, routing_key, redelivered }: GotMessage): string {
  return JSON.stringify({ payload, payload_encoding, properties, exchange, routing_key, redelivered });
}

/** One message is one line: line breaks inside a body would make two of it. */
function plainLine({ payload }: GotMessage): string {
  return payload.replaceAll("\\", "\\\\").replaceAll("\r", "\\r").replaceAll("\n", "\\n");
}

async function importDefinitions(args: ParsedArguments): Promise<number> {
  const broker = new RemoteBroker(args);
  const lines: string[] = [];
  for await (const line of linesOfStdin()) lines.push(line);
  const definitions = definitionsOf(lines);
  const counts = Object.entries(definitions).map(([kind, values]) => `${values.length} ${kind}`);
  if (args.has("dry-run")) writeLine(`would import ${counts.join(", ")}`);
  else {
    await broker.post("/api/definitions", definitions);
    writeLine(`imported ${counts.join(", ")}`);
  }
  return EXIT.ok;
}

function definitionsOf(lines: readonly string[]): Record<string, unknown[]> {
  const whole = asJson(lines.join("\n"));
  if (typeof whole === "object" && whole !== null && !("kind" in whole)) {
    return Object.fromEntries(Object.entries(whole).filter((entry) => Array.isArray(entry[1])));
  }
  const definitions: Record<string, unknown[]> = {};
  for (const [index, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const parsed = asJson(line);
    if (typeof parsed !== "object" || parsed === null || !("kind" in parsed) || !("value" in parsed)) {
      throw new CliError(EXIT.noInput, `line ${index + 1} of stdin is not {"kind": ..., "value": ...}`);
    }
    (definitions[String(parsed.kind)] ??= []).push(parsed.value);
  }
  return definitions;
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The caller tells what it expected instead.
    return undefined;
  }
}
