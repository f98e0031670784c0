// Figures of the process itself: how long it takes to start, what it occupies idle and with a backlog,
// and how long it takes to come back with that backlog. Each sample has a fresh server.

import type { GeneratorProcess } from "./generator-process.ts";
import { LOAD_JOB_DEFAULTS } from "./load-job.ts";
import { CHANNEL, RawConnection } from "./raw-connection.ts";
import type { ProcessFigure, ProcessScenarioName } from "./scenarios.ts";
import { startServer } from "./servers.ts";
import type { RunningServer, ServerName, ServerOptions } from "./servers.ts";
import { METHOD, declareQueue } from "./wire.ts";

/** Time for a server to finish what a load or a start left behind before its memory is read. */
const SETTLE_MS = 2000;
const BYTES_PER_MB = 1_000_000;
export const BACKLOG_QUEUE_PREFIX = "backlog";

export interface ProcessSample {
  readonly figure: ProcessFigure;
  readonly value: number;
}

export interface ProcessRun {
  readonly server: ServerName;
  readonly serverOptions: ServerOptions;
  readonly generator: GeneratorProcess;
  /** A short run divides the backlogs by ten. */
  readonly quick: boolean;
  readonly onStep: (text: string) => void;
}

export function settle(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
}

function rssMb(server: RunningServer): number {
  return server.stats().rssBytes / BYTES_PER_MB;
}

export interface Backlog {
  readonly messages: number;
  readonly bodyBytes: number;
}

/** Publishes persistent messages with confirms into a durable queue that nobody consumes. */
export async function fillBacklog(server: RunningServer, generator: GeneratorProcess, backlog: Backlog): Promise<void> {
  await generator.run(server, {
    ...LOAD_JOB_DEFAULTS,
    ...backlog,
    queuePrefix: BACKLOG_QUEUE_PREFIX,
    consumers: 0,
    confirmWindow: 5000,
    ownsQueues: false,
  });
}

/** Messages ready in the backlog queue, as queue.declare-ok states them. */
export async function backlogCount(port: number): Promise<number> {
  const connection = await RawConnection.open("127.0.0.1", port);
  const request = declareQueue(CHANNEL, `${BACKLOG_QUEUE_PREFIX}-0`, { durable: true, type: "classic" });
  const answer = await connection.call(request, METHOD.queueDeclareOk);
  await connection.close();
  return answer.readUInt32BE(1 + (answer[0] as number));
}

/** Waits until the backlog is served again; a broker may answer before it has read its queues. */
async function expectBacklog(server: RunningServer, messages: number): Promise<void> {
  const count = await backlogCount(server.port);
  if (count !== messages) throw new Error(`${server.name}: ${count} messages after the restart, ${messages} before`);
}

const PROCESS_RUNS: Record<ProcessScenarioName, (run: ProcessRun) => Promise<ProcessSample[]>> = {
  "start-up": measureStart,
  memory: measureBacklog,
  "memory-1kb": measureBacklogOf1Kb,
};

export function runProcessScenario(name: ProcessScenarioName, run: ProcessRun): Promise<ProcessSample[]> {
  return PROCESS_RUNS[name](run);
}

async function measureStart(run: ProcessRun): Promise<ProcessSample[]> {
  const server = await startServer(run.server, run.serverOptions);
  try {
    await settle();
    const samples: ProcessSample[] = [
      { figure: "startMs", value: server.startMs },
      { figure: "idleRssMb", value: rssMb(server) },
    ];
    const readyMs = server.readyInMs();
    if (readyMs !== undefined) samples.push({ figure: "readyMs", value: readyMs });
    return samples;
  } finally {
    await server.stop();
  }
}

async function measureBacklog(run: ProcessRun): Promise<ProcessSample[]> {
  const million = run.quick ? 100_000 : 1_000_000;
  let server = await startServer(run.server, run.serverOptions);
  try {
    run.onStep("filling 1M");
    await fillBacklog(server, run.generator, { messages: million, bodyBytes: 100 });
    await settle();
    const samples: ProcessSample[] = [{ figure: "queued1MRssMb", value: rssMb(server) }];
    // The peer keeps a backlog in memory: ten million would only measure where it starts to block.
    if (run.server !== "quayside") return samples;
    run.onStep("filling 10M");
    await fillBacklog(server, run.generator, { messages: 9 * million, bodyBytes: 100 });
    await settle();
    samples.push({ figure: "queued10MRssMb", value: rssMb(server) });
    run.onStep("restarting");
    await server.kill();
    server = await startServer(run.server, run.serverOptions);
    samples.push({ figure: "restart10MMs", value: server.startMs });
    await expectBacklog(server, 10 * million);
    return samples;
  } finally {
    await server.stop();
  }
}

async function measureBacklogOf1Kb(run: ProcessRun): Promise<ProcessSample[]> {
  const messages = run.quick ? 100_000 : 1_000_000;
  const server = await startServer(run.server, run.serverOptions);
  try {
    run.onStep("filling 1M of 1 KB");
    await fillBacklog(server, run.generator, { messages, bodyBytes: 1024 });
    await settle();
    return [{ figure: "queued1M1KbRssMb", value: rssMb(server) }];
  } finally {
    await server.stop();
  }
}
