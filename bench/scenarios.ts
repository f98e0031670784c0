// What is measured and what counts as good enough. A load scenario is one generator job, run against
// each server in turn; a row reads one figure out of it. Targets are ratios to the peer in the same
// run, because absolute figures do not carry from one machine to another.

import type { MeasuredLoad } from "./generator-process.ts";
import type { LoadJob } from "./load-job.ts";

type JobChanges = Partial<Omit<LoadJob, "port">>;

export interface LoadScenario {
  readonly name: string;
  readonly title: string;
  readonly job: JobChanges;
  /** Where the peer gets another job, for example fewer messages because it is slower. */
  readonly peerJob?: JobChanges;
  readonly quickJob?: JobChanges;
}

export const LOAD_SCENARIOS: readonly LoadScenario[] = [
  {
    name: "durable-1000",
    title: "durable, confirm window 1000, 100 B",
    job: { confirmWindow: 1000 },
  },
  {
    name: "sustained",
    title: "durable, sustained, confirm window 2000, 100 B",
    job: { confirmWindow: 2000, messages: 3_000_000 },
    peerJob: { messages: 300_000 },
    quickJob: { messages: 100_000 },
  },
  {
    name: "durable-10000",
    title: "durable, confirm window 10000, 100 B",
    job: { confirmWindow: 10_000 },
  },
  {
    name: "durable-1kb",
    title: "durable, confirm window 1000, 1 KB",
    job: { confirmWindow: 1000, bodyBytes: 1024 },
  },
  {
    name: "durable-100",
    title: "durable, confirm window 100, acks one by one, 100 B",
    job: { confirmWindow: 100, ackEvery: 1 },
  },
  {
    name: "durable-1",
    title: "durable, confirm window 1, 100 B",
    job: { confirmWindow: 1, ackEvery: 1 },
  },
  {
    name: "quorum-1000",
    title: "quorum queue (one node), confirm window 1000, 100 B",
    job: { confirmWindow: 1000, queueType: "quorum" },
  },
  {
    name: "transient",
    title: "transient, no confirms, auto-ack, 100 B",
    job: { durable: false, persistent: false, confirmWindow: 0, ackEvery: 0 },
  },
  {
    name: "four-queues",
    title: "durable, 4 queues x 4 publishers x 4 consumers, window 1000, 100 B",
    job: { confirmWindow: 1000, queues: 4, publishers: 4, consumers: 4 },
  },
  {
    name: "latency-5k",
    title: "durable, 5000 messages a second (open loop), acks one by one, 100 B",
    job: { ratePerSecond: 5000, confirmWindow: 1000, ackEvery: 1, stamped: true, durationMs: 8000 },
    quickJob: { durationMs: 2000 },
  },
];

/** Figures that need a server of their own; each is a list of samples taken by process-scenarios.ts. */
export type ProcessFigure =
  | "startMs"
  | "readyMs"
  | "idleRssMb"
  | "queued1MRssMb"
  | "queued1M1KbRssMb"
  | "queued10MRssMb"
  | "restart10MMs";

export const PROCESS_SCENARIOS = ["start-up", "memory", "memory-1kb"] as const;
export type ProcessScenarioName = (typeof PROCESS_SCENARIOS)[number];

export type Unit = "msg/s" | "CPU s/1M" | "us" | "MB" | "ms";

export interface Row {
  /** Number in the table of targets; absent for figures without a target. */
  readonly number?: number;
  readonly title: string;
  readonly unit: Unit;
  readonly better: "higher" | "lower";
  readonly source:
    | { readonly scenario: string; readonly read: (load: MeasuredLoad) => number | undefined }
    | { readonly process: ProcessScenarioName; readonly figure: ProcessFigure };
  /** Worst and wished-for ratio of ours to the peer's. */
  readonly floor?: number;
  readonly goal?: number;
  /** Targets in the unit itself, where a ratio would say little. */
  readonly absolute?: { readonly floor: number; readonly goal: number };
}

const rate = (load: MeasuredLoad): number => load.ratePerSecond;
const cpu = (load: MeasuredLoad): number => load.serverCpuSPerMillion;

interface RateTarget {
  readonly number?: number;
  readonly scenario: string;
  readonly floor?: number;
  readonly goal?: number;
}

function rateRow(target: RateTarget): Row {
  const { scenario, ...targets } = target;
  const title = LOAD_SCENARIOS.find((candidate) => candidate.name === scenario)?.title ?? scenario;
  return { ...targets, title, unit: "msg/s", better: "higher", source: { scenario, read: rate } };
}

export const ROWS: readonly Row[] = [
  rateRow({ number: 1, scenario: "durable-1000", floor: 4, goal: 10 }),
  rateRow({ number: 2, scenario: "sustained", floor: 6, goal: 15 }),
  rateRow({ scenario: "durable-10000" }),
  rateRow({ number: 3, scenario: "durable-1kb", floor: 3, goal: 8 }),
  rateRow({ number: 4, scenario: "durable-100", floor: 2, goal: 5 }),
  rateRow({ number: 5, scenario: "durable-1", floor: 1, goal: 1.5 }),
  rateRow({ number: 6, scenario: "quorum-1000", floor: 4, goal: 8 }),
  rateRow({ number: 7, scenario: "transient", floor: 3, goal: 6 }),
  rateRow({ scenario: "four-queues" }),
  {
    number: 11,
    title: "end to end p50 at 5000 messages a second, durable",
    unit: "us",
    better: "lower",
    source: { scenario: "latency-5k", read: (load) => load.endToEnd?.p50Us },
    floor: 0.8,
    goal: 0.5,
  },
  {
    number: 11,
    title: "end to end p99 at 5000 messages a second, durable",
    unit: "us",
    better: "lower",
    source: { scenario: "latency-5k", read: (load) => load.endToEnd?.p99Us },
    floor: 1,
    goal: 0.7,
  },
  {
    title: "end to end p99.9 at 5000 messages a second, durable",
    unit: "us",
    better: "lower",
    source: { scenario: "latency-5k", read: (load) => load.endToEnd?.p999Us },
  },
  {
    title: "confirm p50 at 5000 messages a second, durable",
    unit: "us",
    better: "lower",
    source: { scenario: "latency-5k", read: (load) => load.confirm?.p50Us },
  },
  {
    title: "confirm p99 at 5000 messages a second, durable",
    unit: "us",
    better: "lower",
    source: { scenario: "latency-5k", read: (load) => load.confirm?.p99Us },
  },
  {
    number: 12,
    title: "server processor time, durable, window 1000, saturated",
    unit: "CPU s/1M",
    better: "lower",
    source: { scenario: "durable-1000", read: cpu },
    floor: 1 / 8,
    goal: 1 / 20,
  },
  {
    number: 13,
    title: "server processor time at 5000 messages a second, durable",
    unit: "CPU s/1M",
    better: "lower",
    source: { scenario: "latency-5k", read: cpu },
    floor: 1,
    goal: 0.4,
  },
  {
    number: 14,
    title: "memory with 1M messages of 100 B queued, durable",
    unit: "MB",
    better: "lower",
    source: { process: "memory", figure: "queued1MRssMb" },
    floor: 1 / 10,
    goal: 1 / 20,
  },
  {
    number: 15,
    title: "memory with 1M messages of 1 KB queued, durable",
    unit: "MB",
    better: "lower",
    source: { process: "memory-1kb", figure: "queued1M1KbRssMb" },
    floor: 1 / 15,
    goal: 1 / 28,
  },
  {
    title: "memory with 10M messages of 100 B queued, durable",
    unit: "MB",
    better: "lower",
    source: { process: "memory", figure: "queued10MRssMb" },
  },
  {
    number: 16,
    title: "memory, idle",
    unit: "MB",
    better: "lower",
    source: { process: "start-up", figure: "idleRssMb" },
    absolute: { floor: 110, goal: 70 },
  },
  {
    number: 17,
    title: "start to the first protocol answer",
    unit: "ms",
    better: "lower",
    source: { process: "start-up", figure: "startMs" },
    floor: 1 / 5,
    goal: 1 / 15,
  },
  {
    title: "start, as the broker itself reports it",
    unit: "ms",
    better: "lower",
    source: { process: "start-up", figure: "readyMs" },
  },
  {
    title: "restart with 10M messages queued to the first protocol answer",
    unit: "ms",
    better: "lower",
    source: { process: "memory", figure: "restart10MMs" },
  },
];
