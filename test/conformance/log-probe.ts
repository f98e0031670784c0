// Writing to a log and looking at it, as tests need it.

import type { AcquireResult, LogEntry, LogReader, LogStore, LogWriter, WriterEvents } from "../../src/log/log.ts";
import type { LogFixture } from "./log-engines.ts";

/** A held log whose events are recorded. */
export class LogProbe implements WriterEvents {
  readonly commits: number[] = [];
  readonly extents: number[] = [];
  readonly space: ("ok" | "low")[] = [];
  readonly #fixture: LogFixture;
  #result: AcquireResult | undefined;
  #waiting: { readonly position: number; readonly done: () => void }[] = [];
  /** Called after each commit was recorded. */
  afterCommit: (position: number) => void = () => undefined;

  constructor(fixture: LogFixture) {
    this.#fixture = fixture;
  }

  static async acquire(fixture: LogFixture, id: string, store: LogStore = fixture.store): Promise<LogProbe> {
    const probe = new LogProbe(fixture);
    probe.#result = await fixture.run(store.acquire(id, "test", probe));
    return probe;
  }

  static async create(fixture: LogFixture, id: string): Promise<LogProbe> {
    await fixture.run(fixture.store.create(id));
    return LogProbe.acquire(fixture, id);
  }

  get result(): AcquireResult {
    if (this.#result === undefined) throw new Error("the log is acquired");
    return this.#result;
  }

  get writer(): LogWriter {
    return this.result.writer;
  }

  get reader(): LogReader {
    return this.result.reader;
  }

  onCommitted(position: number): void {
    this.commits.push(position);
    this.afterCommit(position);
    const due = this.#waiting.filter((wait) => wait.position <= position);
    this.#waiting = this.#waiting.filter((wait) => wait.position > position);
    for (const { done } of due) done();
  }

  onExtent(first: number): void {
    this.extents.push(first);
  }

  onSpace(state: "ok" | "low"): void {
    this.space.push(state);
  }

  append(text: string): number {
    return this.writer.append([Buffer.from(text)]);
  }

  /** Until everything appended so far is committed. Throws the error when the writer fails first. */
  async commit(): Promise<void> {
    const position = this.writer.next - 1;
    if (this.writer.committed >= position) return;
    const committed = new Promise<undefined>((resolve) => {
      this.#waiting.push({ position, done: () => resolve(undefined) });
    });
    const failed = this.writer.ended.then((error) => {
      throw error ?? new Error("the writer ended before the commit");
    });
    await this.#fixture.run(Promise.race([committed, failed]));
  }

  /** Appends `count` entries "first", "first+1", ... of `sizeBytes` and commits them in several groups. */
  async fill(count: number, sizeBytes = 200): Promise<void> {
    for (let index = 0; index < count; index += 1) {
      this.append(`${this.writer.next}`.padEnd(sizeBytes, "."));
      if (index % 3 === 2) await this.commit();
    }
    await this.commit();
  }

  release(): Promise<void> {
    return this.#fixture.run(this.writer.release());
  }
}

export async function readAll(
  fixture: LogFixture,
  reader: LogReader,
  range: { from?: number; to?: number } = {},
): Promise<LogEntry[]> {
  const collect = async (): Promise<LogEntry[]> => {
    const entries: LogEntry[] = [];
    const options = range.to === undefined ? {} : { to: range.to };
    for await (const batch of reader.read(range.from ?? 1, options)) entries.push(...batch);
    return entries;
  };
  return fixture.run(collect());
}

export function textOf(entry: LogEntry | undefined): string {
  return (entry?.payload.toString() ?? "").replace(/\.+$/, "");
}
