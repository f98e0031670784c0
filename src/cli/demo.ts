// `quayside demo`: a pipeline over real log lines that loses nothing although a worker and the broker are
// killed in the middle. Publisher -> durable queue -> four workers, each with a file of its own.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Connect, MissingLibraryError, loadConnect } from "./demo/amqp-library.ts";
import { BrokerChild, WorkerChild, freePort } from "./demo/children.ts";
import { type Input, type Line, readInput } from "./demo/lines.ts";
import { Progress } from "./demo/progress.ts";
import { type Proof, prove } from "./demo/proof.ts";
import { Publisher } from "./demo/publisher.ts";

const EXIT = { ok: 0, linesMissing: 1, usage: 64, noInput: 66, noLibrary: 69 } as const;
const QUEUE = "log-lines";
const WORKERS = 4;
/** The worker that is killed, and when: shares of all lines stored. */
const KILLED_WORKER = 2;
const KILL_WORKER_AT = 1 / 3;
const KILL_BROKER_AT = 1 / 2;
/** Without any news for so long the run has failed, ms. */
const STALL_MS = 30_000;
const LISTED_MAX = 10;

const HELP = `usage: quayside demo [--keep] [FILE ...]

Reads log files (default: the text files in /var/log, or a bundled one), publishes every line with confirms
to a durable queue, lets ${WORKERS} workers store them, kills one worker and the broker in the middle, and proves
that every line was stored. --keep leaves the broker's data and the workers' files in place.
`;

/** Resolves with the exit code: 0 when no line is missing. */
export async function demoVerb(argv: readonly string[]): Promise<number> {
  if (argv.includes("--help") || argv.includes("-h")) {
    process.stdout.write(HELP);
    return EXIT.ok;
  }
  const keep = argv.includes("--keep");
  const files = argv.filter((argument) => argument !== "--keep");
  const unknown = files.find((argument) => argument.startsWith("-"));
  if (unknown !== undefined) {
    process.stderr.write(`quayside demo: unknown flag ${unknown}\n\n${HELP}`);
    return EXIT.usage;
  }
  try {
    const connect = await loadConnect();
    const input = readInput(files);
    if (input.lines.length === 0) return failed(`no lines in ${input.sources.join(", ")}`, EXIT.noInput);
    return await new Demo(input, connect, keep).run();
  } catch (error) {
    if (error instanceof MissingLibraryError) return failed(error.message, EXIT.noLibrary);
    if (error instanceof Error && "code" in error && "syscall" in error) return failed(error.message, EXIT.noInput);
    throw error;
  }
}

function failed(message: string, code: number): number {
  process.stderr.write(`quayside demo: ${message}\n`);
  return code;
}

/** One run: the processes, what is known about the lines, and the two kills. */
class Demo {
  readonly #lines: readonly Line[];
  readonly #sources: readonly string[];
  readonly #connect: Connect;
  readonly #keep: boolean;
  readonly #progress = new Progress(process.stdout);
  readonly #folder = mkdtempSync(join(tmpdir(), "quayside-demo-"));
  readonly #files = Array.from({ length: WORKERS }, (_, i) => join(this.#folder, `worker-${i + 1}.jsonl`));
  readonly #workers = new Map<number, WorkerChild>();
  readonly #stored = new Set<string>();
  #redelivered = 0;
  #kills: { at: number; kill: () => Promise<void> }[] = [];
  #killing: Promise<void> = Promise.resolve();
  #changed: () => void = () => undefined;

  constructor(input: Input, connect: Connect, keep: boolean) {
    this.#lines = input.lines;
    this.#sources = input.sources;
    this.#connect = connect;
    this.#keep = keep;
  }

  async run(): Promise<number> {
    const total = this.#lines.length;
    this.#progress.say(`${total} lines from ${this.#sources.join(", ")}`);
    for (const file of this.#files) writeFileSync(file, "");
    const broker = new BrokerChild(await freePort(), this.#folder);
    this.#progress.say(`broker on ${broker.url}, ready in ${await broker.start()} ms; ${WORKERS} workers`);
    const publisher = new Publisher({
      connect: this.#connect,
      url: broker.url,
      queue: QUEUE,
      lines: this.#lines,
      // Far enough to keep the workers busy, near enough to be at work when the broker is killed.
      leadMax: Math.max(100, Math.floor(total / 4)),
    });
    this.#kills = [
      { at: Math.ceil(total * KILL_WORKER_AT), kill: () => this.#killWorker(broker, publisher) },
      { at: Math.ceil(total * KILL_BROKER_AT), kill: () => this.#killBroker(broker) },
    ];
    const published = publisher.run();
    for (let number = 1; number <= WORKERS; number += 1) this.#startWorker(number, broker, publisher);
    await this.#everythingStored();
    await this.#killing;
    // What was sent again after the kill may be stored already and still wait for its confirm.
    const giveUp = setTimeout(() => publisher.stop(), STALL_MS);
    await published;
    clearTimeout(giveUp);
    for (const worker of this.#workers.values()) await worker.end("SIGTERM");
    await broker.end("SIGTERM");
    const proof = prove(this.#lines, this.#files, publisher.sentAgain);
    return this.#report(proof, publisher);
  }

  #startWorker(number: number, broker: BrokerChild, publisher: Publisher): void {
    const worker = new WorkerChild({
      url: broker.url,
      queue: QUEUE,
      number,
      file: this.#files[number - 1] ?? "",
      onReport: (report) => {
        for (const id of report.stored) this.#stored.add(id);
        this.#redelivered += report.redelivered;
        this.#noteProgress(publisher);
      },
    });
    this.#workers.set(number, worker);
  }

  #noteProgress(publisher: Publisher): void {
    const { confirmed } = publisher;
    publisher.noteStored(this.#stored.size);
    this.#progress.show({
      total: this.#lines.length,
      confirmed,
      stored: this.#stored.size,
      redelivered: this.#redelivered,
    });
    for (let next = this.#kills[0]; next !== undefined && this.#stored.size >= next.at; next = this.#kills[0]) {
      this.#kills.shift();
      this.#killing = this.#killing.then(next.kill);
    }
    this.#changed();
  }

  async #killWorker(broker: BrokerChild, publisher: Publisher): Promise<void> {
    await this.#workers.get(KILLED_WORKER)?.end("SIGKILL");
    this.#progress.say(
      `killed worker ${KILLED_WORKER} (SIGKILL) after ${this.#stored.size} lines; started another one`,
    );
    this.#startWorker(KILLED_WORKER, broker, publisher);
  }

  async #killBroker(broker: BrokerChild): Promise<void> {
    await broker.end("SIGKILL");
    const stored = this.#stored.size;
    const restartedMs = await broker.start();
    this.#progress.say(`killed the broker (SIGKILL) after ${stored} lines; it was back in ${restartedMs} ms`);
  }

  /** Resolves when every line is stored, or when there was no news for too long. */
  async #everythingStored(): Promise<void> {
    while (this.#stored.size < this.#lines.length) {
      const news = await new Promise<boolean>((resolve) => {
        const timer = setTimeout(() => resolve(false), STALL_MS);
        this.#changed = () => {
          clearTimeout(timer);
          resolve(true);
        };
      });
      if (!news) return; // the proof says what is missing
    }
  }

  #report(proof: Proof, publisher: Publisher): number {
    const { missing, damaged, duplicates } = proof;
    const say = (text: string): void => this.#progress.say(text);
    const list = (ids: readonly string[]): string =>
      ids.length === 0 ? "" : `: ${ids.slice(0, LISTED_MAX).join(", ")}`;
    const again = publisher.sentAgain.size;
    say("");
    say(`published   ${publisher.confirmed} lines confirmed; ${again} sent again after the loss of the broker`);
    say(`stored      ${proof.stored} lines in ${WORKERS} files`);
    say(`duplicates  ${duplicates.length}${duplicates.length === 0 ? "" : ", recognised by their ids:"}`);
    for (const { id, times, explained } of duplicates.slice(0, LISTED_MAX)) {
      say(`            ${id} stored ${times} times, ${explained ? "redelivered" : "NOT marked as redelivered"}`);
    }
    if (duplicates.length > LISTED_MAX) say(`            and ${duplicates.length - LISTED_MAX} more`);
    if (damaged.length > 0) say(`damaged     ${damaged.length}${list(damaged)}`);
    say(`missing     ${missing.length}${list(missing)}`);
    const bad = missing.length + damaged.length > 0;
    if (this.#keep || bad) say(`kept        ${this.#folder}`);
    else rmSync(this.#folder, { recursive: true, force: true });
    return bad ? EXIT.linesMissing : EXIT.ok;
  }
}
