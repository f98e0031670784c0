// The operator's log: one line an event, as text for people or as JSON for machines. A line that comes
// again within some seconds is counted instead of written, so that a client that fails in a loop cannot
// bury everything else: its count follows when the time is over.

import type { Clock, Timer } from "../ports/clock.ts";
import type { LogFields, Logger } from "../ports/logger.ts";

const LEVELS = ["debug", "info", "warn", "error"] as const;
type Level = (typeof LEVELS)[number];

/** How long a line is remembered, ms, and how many of them. */
const REPEAT_MS = 10_000;
const REMEMBERED_MAX = 64;

export interface LoggerOptions {
  readonly format: "text" | "json";
  /** Lines below this level are dropped. */
  readonly level: Level;
  readonly clock: Clock;
  /** Takes one line with its newline. */
  readonly write: (line: string) => void;
}

export interface ConsoleLogger extends Logger {
  setLevel(level: Level): void;
  /** Writes the counts that are still to come: the process is about to end. */
  flush(): void;
}

interface Remembered {
  readonly level: Level;
  readonly message: string;
  readonly fields: LogFields | undefined;
  readonly timer: Timer;
  repeated: number;
}

export function createLogger(options: LoggerOptions): ConsoleLogger {
  const log = new RepeatCounter(options);
  const logAt = (level: Level) => (message: string, fields?: LogFields) => log.take(level, message, fields);
  return {
    debug: logAt("debug"),
    info: logAt("info"),
    warn: logAt("warn"),
    error: logAt("error"),
    setLevel: (level) => log.setLevel(level),
    flush: () => log.flush(),
  };
}

class RepeatCounter {
  readonly #options: LoggerOptions;
  readonly #remembered = new Map<string, Remembered>();
  #lowest: number;

  constructor(options: LoggerOptions) {
    this.#options = options;
    this.#lowest = LEVELS.indexOf(options.level);
  }

  setLevel(level: Level): void {
    this.#lowest = LEVELS.indexOf(level);
  }

  take(level: Level, message: string, fields: LogFields | undefined): void {
    if (LEVELS.indexOf(level) < this.#lowest) return;
    const key = `${level} ${message} ${fields === undefined ? "" : JSON.stringify(fields)}`;
    const known = this.#remembered.get(key);
    if (known !== undefined) {
      known.repeated += 1;
      return;
    }
    this.#write(level, message, fields);
    const oldest = this.#remembered.keys().next().value;
    if (this.#remembered.size >= REMEMBERED_MAX && oldest !== undefined) this.#forget(oldest);
    const timer = this.#options.clock.after(REPEAT_MS, () => this.#forget(key));
    this.#remembered.set(key, { level, message, fields, timer, repeated: 0 });
  }

  flush(): void {
    for (const key of [...this.#remembered.keys()]) this.#forget(key);
  }

  #forget(key: string): void {
    const line = this.#remembered.get(key);
    if (line === undefined) return;
    this.#remembered.delete(key);
    line.timer.cancel();
    if (line.repeated === 0) return;
    const times = line.repeated === 1 ? "once more" : `${line.repeated} times`;
    this.#write(line.level, `${line.message} (repeated ${times})`, line.fields);
  }

  #write(level: Level, message: string, fields: LogFields | undefined): void {
    const { format, clock, write } = this.#options;
    const time = new Date(clock.wallMs()).toISOString();
    write(format === "json" ? jsonLine(time, level, message, fields) : textLine(time, level, message, fields));
  }
}

/** A logger that drops everything: what an embedding program gets unless it brings its own. */
export function createSilentLogger(): Logger {
  const drop = () => {};
  return { debug: drop, info: drop, warn: drop, error: drop };
}

function jsonLine(time: string, level: Level, message: string, fields?: LogFields): string {
  return `${JSON.stringify({ time, level, message, ...fields })}\n`;
}

function textLine(time: string, level: Level, message: string, fields: LogFields = {}): string {
  let line = `${time} ${level.padEnd(5)} ${oneLine(message)}`;
  for (const [name, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const plain = typeof value !== "string" || /^[^\s"=]+$/.test(value);
    line += ` ${name}=${plain ? value : JSON.stringify(value)}`;
  }
  return `${line}\n`;
}

/** Text from outside must not be able to start a line of its own. */
function oneLine(message: string): string {
  return message.replaceAll(/[\r\n]+/g, " | ");
}
