import assert from "node:assert/strict";
import { test } from "node:test";
import { MetricsPage } from "../../src/observe/metrics.ts";

test("samples of one metric stay together, labels are escaped, and numbers are Prometheus's", () => {
  const page = new MetricsPage();
  page.gauge("a", "What a is.\nReally.", 1, { name: 'x"\\\n' });
  page.counter("b_total", "B.", Number.POSITIVE_INFINITY);
  page.gauge("a", "Said before.", Number.NaN);
  const lines = [
    "# HELP a What a is.\\nReally.",
    "# TYPE a gauge",
    'a{name="x\\"\\\\\\n"} 1',
    "a NaN",
    "# HELP b_total B.",
    "# TYPE b_total counter",
    "b_total +Inf",
    "",
  ];
  assert.equal(page.toString(), lines.join("\n"));
});
