// Reads figures off the page that the broker serves to Prometheus, with one sample a queue (text format).

import { get } from "node:http";

/** Rejects when the page does not come. */
export function readMetrics(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = get({ host: "127.0.0.1", port, path: "/metrics/per-object", agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
      });
      response.on("end", () => resolve(text));
      response.on("error", reject);
    });
    request.on("error", reject);
  });
}

/** The value of one sample, named with its labels as the page writes them. */
export function metricValue(page: string, sample: string): number | undefined {
  const found = page.split("\n").find((line) => line.startsWith(`${sample} `));
  return found === undefined ? undefined : Number(found.slice(sample.length + 1));
}

/** Sum over all labels of a metric; undefined when the page has no sample of it. */
export function metricSum(page: string, name: string): number | undefined {
  const lines = page.split("\n").filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  if (lines.length === 0) return undefined;
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}
