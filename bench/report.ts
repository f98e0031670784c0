// Turns samples into medians, ratios and verdicts, and those into a Markdown table.

import type { Row, Unit } from "./scenarios.ts";

export interface Comparison {
  readonly row: Row;
  readonly ours: readonly number[];
  readonly peers: readonly number[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  readonly node: string;
  readonly peer: string;
  readonly date: string;
  readonly revision: string;
}

export interface Reference {
  /** Messages a second through the relay, one sample a round. */
  readonly relay: readonly number[];
  /** Messages a second that the generator publishes into the relay when nobody consumes. */
  readonly publishOnly: readonly number[];
}

/** Above this spread of the relay's rate between rounds the machine was too unsteady to judge. */
export const STEADY_SPREAD_MAX = 2;

export type Verdict = "goal met" | "floor met" | "below floor" | "no target" | "not judged";

export function median(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  if (sorted.length % 2 === 1) return sorted[middle];
  return ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

export function spread(values: readonly number[]): number {
  return values.length === 0 ? 1 : Math.max(...values) / Math.min(...values);
}

export function verdictOf(comparison: Comparison, judging: boolean): Verdict {
  const { row } = comparison;
  const ours = median(comparison.ours);
  const peer = median(comparison.peers);
  const targets =
    row.absolute ??
    (row.floor === undefined || row.goal === undefined
      ? undefined
      : {
          floor: row.floor,
          goal: row.goal,
        });
  if (targets === undefined) return "no target";
  if (!judging || ours === undefined || (row.absolute === undefined && peer === undefined)) return "not judged";
  const value = row.absolute === undefined ? ours / (peer as number) : ours;
  const reaches = (target: number): boolean => (row.better === "higher" ? value >= target : value <= target);
  if (reaches(targets.goal)) return "goal met";
  return reaches(targets.floor) ? "floor met" : "below floor";
}

function amount(value: number | undefined, unit: Unit): string {
  if (value === undefined) return "-";
  if (unit === "msg/s") return value >= 10_000 ? `${(value / 1000).toFixed(0)}k` : value.toFixed(0);
  if (unit === "CPU s/1M") return value.toPrecision(3);
  return value.toFixed(0);
}

function ratioText(ratio: number | undefined): string {
  if (ratio === undefined) return "-";
  return ratio >= 1 ? `${ratio.toPrecision(3)}x` : `1/${(1 / ratio).toPrecision(3)}`;
}

function targetsText(row: Row): string {
  if (row.absolute !== undefined) return `${row.absolute.floor} / ${row.absolute.goal} ${row.unit}`;
  if (row.floor === undefined || row.goal === undefined) return "-";
  return `${ratioText(row.floor)} / ${ratioText(row.goal)}`;
}

export function comparisonLine(comparison: Comparison, judging: boolean): string {
  const { row } = comparison;
  const ours = median(comparison.ours);
  const peer = median(comparison.peers);
  const ratio = ours === undefined || peer === undefined ? undefined : ours / peer;
  const cells = [
    row.number === undefined ? "" : String(row.number),
    row.title,
    row.unit,
    amount(ours, row.unit),
    amount(peer, row.unit),
    ratioText(ratio),
    targetsText(row),
    verdictOf(comparison, judging),
  ];
  return `| ${cells.join(" | ")} |`;
}

export interface Report {
  readonly machine: Machine;
  readonly reference: Reference;
  readonly comparisons: readonly Comparison[];
  readonly rounds: number;
  /** False for short runs: their figures are shown, not judged. */
  readonly judging: boolean;
  readonly failures: readonly string[];
}

export function markdown(report: Report): string {
  const { machine, reference } = report;
  const relay = amount(median(reference.relay), "msg/s");
  const ceiling = amount(median(reference.publishOnly), "msg/s");
  const lines = [
    `Measured ${machine.date} at ${machine.revision} on ${machine.cores} cores (${machine.cpu}), ` +
      `Linux ${machine.kernel}, Node ${machine.node}, against ${machine.peer}; ` +
      `medians of ${report.rounds} interleaved rounds.`,
    `The relay, which keeps and syncs nothing, moved ${relay} messages a second (spread ` +
      `${spread(reference.relay).toFixed(2)}x); the generator alone publishes ${ceiling} a second.`,
    "",
    "| # | measure | unit | Quayside | RabbitMQ | ratio | floor / goal | verdict |",
    "|---|---|---|---|---|---|---|---|",
    ...report.comparisons.map((comparison) => comparisonLine(comparison, report.judging)),
  ];
  if (report.failures.length > 0) lines.push("", "Not measured:", ...report.failures.map((text) => `- ${text}`));
  return `${lines.join("\n")}\n`;
}
