// A reporter for node's test runner: one JSON object with the counts, the failures and the skips.
// Files and suites are not counted, only the tests in them; a file that fails as a whole counts as one.

/** The reporter function that node's test runner calls with its events. */
async function* summarise(events) {
  const summary = { passed: 0, failed: 0, failures: [], skips: [] };
  for await (const { type, data } of events) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    const isFile = data.nesting === 0 && data.file !== undefined && data.name.endsWith(".test.js");
    if (data.details?.type === "suite" || (isFile && type === "test:pass")) continue;
    if (data.skip !== undefined) {
      const reason = typeof data.skip === "string" ? data.skip : "no reason given";
      summary.skips.push(`${reason.startsWith("skipped:") ? reason : `skipped: ${reason}`} [${data.name}]`);
    } else if (type === "test:pass" || data.todo !== undefined) {
      summary.passed++;
    } else {
      // A failing subtest fails its parents too: count the innermost one.
      if (data.details?.error?.failureType === "subtestsFailed") continue;
      summary.failed++;
      summary.failures.push(`${data.name} (${data.file ?? "?"})`);
    }
  }
  yield JSON.stringify(summary);
}

export { summarise as default };
