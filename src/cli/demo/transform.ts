// What a worker makes of a line: a record with the things that one greps logs for.

import { digestOf } from "./lines.ts";

/** One line of a worker's file. */
export interface StoredLine {
  readonly id: string;
  readonly digest: string;
  readonly time: string | null;
  readonly level: "error" | "warning" | "info" | "debug" | "none";
  readonly words: number;
  readonly text: string;
  /** The broker said that somebody may have seen the message before. */
  readonly redelivered: boolean;
  readonly worker: number;
}

const TIME = /\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}|[A-Z][a-z]{2} {1,2}\d{1,2} \d{2}:\d{2}:\d{2}/;
const LEVELS = [
  ["error", /\b(err(or)?|fatal|crit(ical)?|panic|fail(ed|ure)?)\b/i],
  ["warning", /\bwarn(ing)?\b/i],
  ["debug", /\b(debug|trace)\b/i],
  ["info", /\b(info|notice)\b/i],
] as const;

export function transform(line: { id: string; text: string; redelivered: boolean; worker: number }): StoredLine {
  const { id, text, redelivered, worker } = line;
  const level = LEVELS.find(([, pattern]) => pattern.test(text))?.[0] ?? "none";
  const words = text.split(/\s+/).filter((word) => word !== "").length;
  return { id, digest: digestOf(text), time: TIME.exec(text)?.[0] ?? null, level, words, text, redelivered, worker };
}
