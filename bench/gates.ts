// npm run bench:gates: what the storage engine must hold under the load that hurts it most: a large
// backlog that nobody reads, steady churn beside it, and messages that are stuck, spread over the log.
// Measures write amplification, disk use, memory, event-loop delay and the restart, and passes or fails.

import { join } from "node:path";
import { parseArgs } from "node:util";
import { GeneratorProcess } from "./generator-process.ts";
import type { MeasuredLoad } from "./generator-process.ts";
import { LOAD_JOB_DEFAULTS } from "./load-job.ts";
import { BACKLOG_QUEUE_PREFIX, backlogCount, fillBacklog, settle } from "./process-scenarios.ts";
import { deviceWrittenBytes, diskUseBytes } from "./process-stats.ts";
import { metricSum, metricValue, readMetrics } from "./metrics-page.ts";
import { defaultQuaysideCommand, makeTempDir, removeDir, startServer } from "./servers.ts";
import type { RunningServer } from "./servers.ts";

const HELP = `usage: npm run bench:gates -- [options]

  --messages N   backlog (default 10000000)
  --body BYTES   body of every message (default 1024)
  --minutes N    churn beside the backlog (default 2; fractions allowed)
  --rate N       churn, messages a second (default 50000)
  --stuck N      messages that are never consumed, spread over the churn (default 10000)
  --quayside-cmd CMD   the command that starts Quayside, without its flags
`;

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const SAMPLE_EVERY_MS = 1000;
const PROGRESS_EVERY_MS = 60_000;
const STUCK_QUEUE_PREFIX = "stuck";
const CHURN_QUEUE_PREFIX = "churn";
const LOOP_DELAY = 'quayside_event_loop_delay_seconds{quantile="0.999"}';

const GATES = {
  writeAmplification: 1.2,
  diskTimesLive: 2,
  diskAllowanceBytes: GIB,
  rssBytes: 400 * 1_000_000,
  loopDelayMs: 5,
  restartMs: 3000,
} as const;

interface GateOptions {
  readonly messages: number;
  readonly bodyBytes: number;
  readonly minutes: number;
  readonly rate: number;
  readonly stuck: number;
  readonly quaysideCommand: readonly string[];
}

interface Worst {
  rssBytes: number;
  diskBytes: number;
  /** Disk use beyond what the gate allows at that moment, as a share of the allowance. */
  diskShare: number;
  loopDelayMs: number | undefined;
}

interface Line {
  readonly what: string;
  readonly value: string;
  readonly limit: string;
  readonly passed: boolean | undefined;
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

class Gates {
  readonly #options: GateOptions;
  readonly #tempDir = makeTempDir("gates");
  readonly #generator = new GeneratorProcess();
  readonly #stuckGenerator = new GeneratorProcess();
  readonly #worst: Worst = { rssBytes: 0, diskBytes: 0, diskShare: 0, loopDelayMs: undefined };

  constructor(options: GateOptions) {
    this.#options = options;
  }

  get #dataDir(): string {
    return join(this.#tempDir, "data");
  }

  async run(): Promise<Line[]> {
    const serverOptions = { dataDir: this.#dataDir, quaysideCommand: this.#options.quaysideCommand };
    let server = await startServer("quayside", serverOptions);
    try {
      await this.#fill(server);
      // The delays of the event loop are counted from the start of the process: those of the fill are not the gate's.
      await server.stop();
      server = await startServer("quayside", serverOptions);
      const churn = await this.#churn(server);
      say("kill -9 and restart");
      await server.kill();
      server = await startServer("quayside", serverOptions);
      const backlog = await backlogCount(server.port);
      return this.#judge(churn, { restartMs: server.startMs, backlog });
    } finally {
      await server.stop();
      await this.#generator.stop();
      await this.#stuckGenerator.stop();
      removeDir(this.#tempDir);
    }
  }

  async #fill(server: RunningServer): Promise<void> {
    const { messages, bodyBytes } = this.#options;
    say(`filling: ${messages} messages of ${bodyBytes} B`);
    const before = deviceWrittenBytes(this.#dataDir);
    const beganMs = performance.now();
    await fillBacklog(server, this.#generator, { messages, bodyBytes });
    const rate = (messages / (performance.now() - beganMs)) * 1000;
    await settle();
    const perMessage = (deviceWrittenBytes(this.#dataDir) - before) / messages;
    say(`filled at ${rate.toFixed(0)} msg/s, ${perMessage.toFixed(0)} B written for each (fresh segments included)`);
  }

  async #churn(server: RunningServer): Promise<{ load: MeasuredLoad; writeAmplification: number }> {
    const { bodyBytes, minutes, rate, stuck } = this.#options;
    const durationMs = minutes * 60_000;
    const common = { ...LOAD_JOB_DEFAULTS, bodyBytes, durationMs, ownsQueues: false };
    const sampler = setInterval(() => this.#sample(server), SAMPLE_EVERY_MS);
    const progress = await this.#progress(server);
    const before = deviceWrittenBytes(this.#dataDir);
    say(`churn: ${rate} msg/s for ${minutes} minutes, ${stuck} stuck messages among it`);
    try {
      const [load, held] = await Promise.all([
        this.#generator.run(server, {
          ...common,
          queuePrefix: CHURN_QUEUE_PREFIX,
          ratePerSecond: rate,
          stamped: true,
        }),
        this.#stuckGenerator.run(server, {
          ...common,
          queuePrefix: STUCK_QUEUE_PREFIX,
          consumers: 0,
          ratePerSecond: stuck / (durationMs / 1000),
        }),
      ]);
      await settle();
      const page = await readMetrics(server.metricsPort);
      const stored = liveBytes(page) / (this.#options.messages + held.published);
      // A record is what a message occupies in the log: its stored size and the header of its effect.
      const recordBytes = stored + ENQUEUE_HEADER_BYTES;
      const written = deviceWrittenBytes(this.#dataDir) - before;
      return { load, writeAmplification: written / ((load.published + held.published) * recordBytes) };
    } finally {
      clearInterval(sampler);
      clearInterval(progress);
    }
  }

  /** Tells every minute what was written for each message of that minute. */
  async #progress(server: RunningServer): Promise<NodeJS.Timeout> {
    const read = async (): Promise<{
      readonly written: number;
      readonly messages: number;
      readonly commits: number;
    }> => {
      const page = await readMetrics(server.metricsPort);
      const messages = metricSum(page, "rabbitmq_global_messages_received_total") ?? 0;
      const commits = metricSum(page, "quayside_log_commits_total") ?? 0;
      return { written: deviceWrittenBytes(this.#dataDir), messages, commits };
    };
    let before = await read();
    let minute = 0;
    return setInterval(() => {
      read().then(
        (now) => {
          const messages = now.messages - before.messages;
          const each = (now.written - before.written) / messages;
          const group = messages / (now.commits - before.commits);
          say(`minute ${++minute}: ${each.toFixed(0)} B written a message, ${group.toFixed(0)} messages a commit`);
          before = now;
        },
        (error: unknown) => say(`no metrics: ${String(error)}`),
      );
    }, PROGRESS_EVERY_MS);
  }

  #sample(server: RunningServer): void {
    this.#worst.rssBytes = Math.max(this.#worst.rssBytes, server.stats().rssBytes);
    const disk = diskUseBytes(this.#dataDir);
    this.#worst.diskBytes = Math.max(this.#worst.diskBytes, disk);
    readMetrics(server.metricsPort).then(
      (page) => {
        const allowed = GATES.diskTimesLive * liveBytes(page) + GATES.diskAllowanceBytes;
        this.#worst.diskShare = Math.max(this.#worst.diskShare, disk / allowed);
        const delayS = metricValue(page, LOOP_DELAY);
        if (delayS !== undefined) this.#worst.loopDelayMs = Math.max(this.#worst.loopDelayMs ?? 0, delayS * 1000);
      },
      (error: unknown) => say(`no metrics: ${String(error)}`),
    );
  }

  #judge(
    churn: { readonly load: MeasuredLoad; readonly writeAmplification: number },
    restart: { readonly restartMs: number; readonly backlog: number },
  ): Line[] {
    const { load, writeAmplification } = churn;
    const { rssBytes, diskShare, loopDelayMs } = this.#worst;
    const disk = `${(this.#worst.diskBytes / GIB).toFixed(2)} GiB, ${(diskShare * 100).toFixed(0)} % of the allowance`;
    const reached = load.ratePerSecond / this.#options.rate;
    const latency = load.endToEnd;
    return [
      line(
        "write amplification in the churn",
        writeAmplification.toFixed(2),
        `<= ${GATES.writeAmplification}`,
        writeAmplification <= GATES.writeAmplification,
      ),
      line("disk use, worst", disk, "<= 2x live + 1 GiB", diskShare <= 1),
      line(
        "memory (RSS), worst",
        `${(rssBytes / 1e6).toFixed(0)} MB`,
        `<= ${GATES.rssBytes / 1e6} MB`,
        rssBytes <= GATES.rssBytes,
      ),
      line(
        "event-loop delay p99.9, worst",
        loopDelayMs === undefined ? "not reported" : `${loopDelayMs.toFixed(1)} ms`,
        `<= ${GATES.loopDelayMs} ms`,
        loopDelayMs === undefined ? undefined : loopDelayMs <= GATES.loopDelayMs,
      ),
      line(
        "restart after kill -9",
        `${restart.restartMs.toFixed(0)} ms`,
        `<= ${GATES.restartMs} ms`,
        restart.restartMs <= GATES.restartMs,
      ),
      line(
        "backlog after the restart",
        String(restart.backlog),
        `= ${this.#options.messages}`,
        restart.backlog === this.#options.messages,
      ),
      line("churn rate", `${load.ratePerSecond.toFixed(0)} msg/s`, `>= 95 % of ${this.#options.rate}`, reached >= 0.95),
      line(
        "churn end to end p50/p99/p99.9",
        latency === undefined ? "-" : `${latency.p50Us}/${latency.p99Us}/${latency.p999Us} us`,
        "-",
        undefined,
      ),
      line("churn processor time", `${load.serverCpuSPerMillion.toPrecision(3)} CPU s/1M`, "-", undefined),
    ];
  }
}

/** Stored bytes of all messages. Throws when the page does not tell: the gates would be about nothing. */
function liveBytes(page: string): number {
  const bytes = metricSum(page, "rabbitmq_queue_messages_bytes");
  if (bytes === undefined) throw new Error("the metrics page does not tell how many bytes the queues hold");
  return bytes;
}

/** Head of an ENQUEUE effect, docs/storage-format.md. */
const ENQUEUE_HEADER_BYTES = 24;

function line(what: string, value: string, limit: string, passed: boolean | undefined): Line {
  return { what, value, limit, passed };
}

function parseGateOptions(args: readonly string[]): GateOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      messages: { type: "string", default: "10000000" },
      body: { type: "string", default: "1024" },
      minutes: { type: "string", default: "2" },
      rate: { type: "string", default: "50000" },
      stuck: { type: "string", default: "10000" },
      "quayside-cmd": { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  const positive = (name: "messages" | "body" | "minutes" | "rate" | "stuck"): number => {
    const value = Number(values[name]);
    if (!(value > 0)) throw new Error(`--${name} takes a number above 0`);
    return value;
  };
  return {
    messages: positive("messages"),
    bodyBytes: positive("body"),
    minutes: positive("minutes"),
    rate: positive("rate"),
    stuck: positive("stuck"),
    quaysideCommand: values["quayside-cmd"]?.split(" ").filter((word) => word !== "") ?? defaultQuaysideCommand(),
  };
}

async function main(): Promise<number> {
  const options = parseGateOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stdout.write(HELP);
    return 0;
  }
  const lines = await new Gates(options).run();
  const rows = lines.map(({ what, value, limit, passed }) => {
    const verdict = passed === undefined ? "-" : passed ? "pass" : "FAIL";
    return `| ${what} | ${value} | ${limit} | ${verdict} |`;
  });
  const { messages, bodyBytes, rate, minutes, stuck } = options;
  const load = `${messages} messages of ${bodyBytes} B queued, ${rate} msg/s for ${minutes} minutes, ${stuck} stuck`;
  process.stdout.write(`\n${load} (${BACKLOG_QUEUE_PREFIX}, ${CHURN_QUEUE_PREFIX}, ${STUCK_QUEUE_PREFIX})\n\n`);
  process.stdout.write(`| gate | measured | limit | verdict |\n|---|---|---|---|\n${rows.join("\n")}\n`);
  return lines.some(({ passed }) => passed === false) ? 1 : 0;
}

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`gates: ${error instanceof Error ? error.message : String(error)}\n`);
  return 64;
});
