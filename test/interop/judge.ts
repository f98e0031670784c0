// Compares what the steps of a scenario showed with what they must show.

import { isDeepStrictEqual } from "node:util";
import type { Expected, Shown, Step } from "./scenario.ts";

const isBad = (shown: Shown): boolean =>
  typeof shown === "object" && shown !== null && ("closed" in shown || "failed" in shown);

/** Longest text of one value in a complaint. */
const SHOWN_MAX = 2000;
const show = (value: unknown): string => (JSON.stringify(value) ?? "nothing").slice(0, SHOWN_MAX);

/**
 * Returns one sentence for each step that showed something wrong.
 * @param peer what another broker showed for the same steps; steps without a recorded value are compared with it
 */
export function complaints(
  steps: readonly (Step | Expected)[],
  shown: readonly Shown[],
  options: { readonly broker: "quayside" | "rabbitmq"; readonly peer?: readonly Shown[] },
): string[] {
  const result: string[] = [];
  steps.forEach((each, index) => {
    const expected: Expected = "step" in each ? each : { step: each };
    if (index >= shown.length) return;
    const saw = shown[index] ?? null;
    const differs = options.broker === "quayside" ? expected.differs : undefined;
    const must = differs?.quayside ?? expected.shows ?? options.peer?.[index];
    const wrong = must === undefined ? isBad(saw) : !isDeepStrictEqual(saw, must);
    const broken = expected.shows === undefined && isBad(saw);
    if (!wrong && !broken) return;
    const wanted = must === undefined || broken ? "success" : show(must);
    result.push(
      `${options.broker}, step ${index + 1} ${show(expected.step)}\n    showed ${show(saw)}\n    not    ${wanted}`,
    );
  });
  return result;
}
