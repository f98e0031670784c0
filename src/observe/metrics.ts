// Prometheus text format (version 0.0.4). Names follow RabbitMQ's exporter where it has the same thing,
// so that existing dashboards and autoscalers read them; the rest begins with quayside_ or process_.

export type MetricType = "counter" | "gauge" | "summary";

export type Labels = Readonly<Record<string, string>>;

export interface MetricHead {
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
}

/** Collects samples, then writes them as one page. Samples of one metric stay together. */
export class MetricsPage {
  readonly #families = new Map<string, { readonly head: MetricHead; readonly lines: string[] }>();

  /** Adds one sample. The first call for a name sets its type and help. */
  add(head: MetricHead, value: number, labels: Labels = {}): void {
    let family = this.#families.get(head.name);
    if (family === undefined) {
      family = { head, lines: [] };
      this.#families.set(head.name, family);
    }
    family.lines.push(`${head.name}${labelText(labels)} ${numberText(value)}`);
  }

  counter(name: string, help: string, value: number, labels?: Labels): void {
    this.add({ name, type: "counter", help }, value, labels);
  }

  gauge(name: string, help: string, value: number, labels?: Labels): void {
    this.add({ name, type: "gauge", help }, value, labels);
  }

  toString(): string {
    let page = "";
    for (const { head, lines } of this.#families.values()) {
      page += `# HELP ${head.name} ${escapeText(head.help)}\n# TYPE ${head.name} ${head.type}\n${lines.join("\n")}\n`;
    }
    return page;
  }
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeText(value).replaceAll('"', '\\"')}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

/** Backslashes first: they introduce the other escapes. */
function escapeText(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
}
