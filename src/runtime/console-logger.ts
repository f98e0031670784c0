// The operator's log: one line an event, as text for people or as JSON for machines.

import type { LogFields, Logger } from "../ports/logger.ts";

const LEVELS = ["debug", "info", "warn", "error"] as const;
type Level = (typeof LEVELS)[number];

export interface LoggerOptions {
  readonly format: "text" | "json";
  /** Lines below this level are dropped. */
  readonly level: Level;
  readonly wallMs: () => number;
  /** Takes one line with its newline. */
  readonly write: (line: string) => void;
}

export function createLogger({ format, level, wallMs, write }: LoggerOptions): Logger {
  const lowest = LEVELS.indexOf(level);
  const logAt = (own: Level) => {
    if (LEVELS.indexOf(own) < lowest) return () => {};
    return (message: string, fields?: LogFields) => {
      const time = new Date(wallMs()).toISOString();
      write(format === "json" ? jsonLine(time, own, message, fields) : textLine(time, own, message, fields));
    };
  };
  return { debug: logAt("debug"), info: logAt("info"), warn: logAt("warn"), error: logAt("error") };
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
