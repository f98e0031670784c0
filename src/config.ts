// Settings of a broker process: one table from which flags, environment variables, the keys of the
// config file and the help text are made. Precedence: flag > environment > file > default. A value
// that is not understood is refused with a sentence; nothing is guessed.

import { parseArgs } from "node:util";

/** A TCP port: 0 takes a free one, "off" disables the listener. */
export type Port = number | "off";

export type LogFormat = "text" | "json";
export type LogLevel = "debug" | "info" | "warn" | "error";

export interface Config {
  readonly data: string;
  /** Addresses to listen on. */
  readonly hosts: readonly string[];
  /** The user named the hosts: then each of them must be there. */
  readonly hostsChosen: boolean;
  readonly amqpPort: Port;
  readonly amqpsPort: Port;
  readonly httpPort: Port;
  readonly metricsPort: Port;
  readonly tlsCert: string | undefined;
  readonly tlsKey: string | undefined;
  readonly log: LogFormat;
  readonly logLevel: LogLevel;
}

/** A setting that cannot be used. `message` is one sentence for the operator. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

export interface Setting {
  readonly name: string;
  /** How a value looks in the help text. */
  readonly value: string;
  readonly fallback: string;
  readonly help: string;
}

/** Every setting. The flag is `--name`, the variable QUAYSIDE_NAME, the key in the file `name`. */
export const SETTINGS = [
  { name: "data", value: "DIR", fallback: "./data", help: "Folder of everything durable; made when missing." },
  {
    name: "host",
    value: "ADDRESS",
    fallback: "127.0.0.1,::1",
    help: "Addresses to listen on, with commas between. An absent ::1 is passed over only as the default.",
  },
  { name: "amqp-port", value: "PORT", fallback: "5672", help: "AMQP 0-9-1." },
  { name: "amqps-port", value: "PORT", fallback: "off", help: "AMQP 0-9-1 over TLS; needs --tls-cert and --tls-key." },
  { name: "http-port", value: "PORT", fallback: "15672", help: "HTTP: state of the broker as JSON." },
  { name: "metrics-port", value: "PORT", fallback: "15692", help: "HTTP: /metrics for Prometheus." },
  { name: "port-offset", value: "N", fallback: "0", help: "Added to every port that is neither 0 nor off." },
  { name: "tls-cert", value: "FILE", fallback: "", help: "Certificate chain, PEM." },
  { name: "tls-key", value: "FILE", fallback: "", help: "Private key, PEM." },
  { name: "log", value: "text|json", fallback: "text", help: "Form of the log lines on stderr." },
  { name: "log-level", value: "LEVEL", fallback: "info", help: "debug, info, warn or error." },
  { name: "config", value: "FILE", fallback: "", help: "JSON object with any of these names as keys." },
] as const satisfies readonly Setting[];

type SettingName = (typeof SETTINGS)[number]["name"];
type Values = Map<SettingName, { readonly text: string; readonly from: string }>;

export interface ConfigSources {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a text file; throws when it cannot. */
  readonly readText: (path: string) => string;
}

/** Reads all sources. Throws ConfigError. */
export function loadConfig({ argv, env, readText }: ConfigSources): Config {
  const flags = readFlags(argv);
  const variables = readEnvironment(env);
  const path = (flags.get("config") ?? variables.get("config"))?.text;
  const file: Values = path === undefined || path === "" ? new Map() : readFile(path, readText);
  const defaults: Values = new Map(SETTINGS.map(({ name, fallback }) => [name, { text: fallback, from: "default" }]));
  const values: Values = new Map([...defaults, ...file, ...variables, ...flags]);
  return resolve(values);
}

/** The environment variable of a setting. */
export function variableOf(name: string): string {
  return `QUAYSIDE_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** One line a setting, for `--help`. */
export function settingsHelp(): string {
  return SETTINGS.map(({ name, value, fallback, help }) => {
    const flag = `--${name} ${value}`.padEnd(24);
    return `  ${flag} ${help}${fallback === "" ? "" : ` [${fallback}]`}`;
  }).join("\n");
}

function readFlags(argv: readonly string[]): Values {
  const options = Object.fromEntries(SETTINGS.map(({ name }) => [name, { type: "string" as const }]));
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true, allowPositionals: true });
  const values: Values = new Map();
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") throw new ConfigError(`unexpected argument "${token.value}"`);
    if (!isSetting(token.name)) throw new ConfigError(`unknown flag ${token.rawName}${nearest(token.name, "--")}`);
    if (token.value === undefined) throw new ConfigError(`flag --${token.name} needs a value`);
    values.set(token.name, { text: token.value, from: `flag --${token.name}` });
  }
  return values;
}

function readEnvironment(env: ConfigSources["env"]): Values {
  const values: Values = new Map();
  for (const { name } of SETTINGS) {
    const text = env[variableOf(name)];
    if (text !== undefined) values.set(name, { text, from: `variable ${variableOf(name)}` });
  }
  return values;
}

function readFile(path: string, readText: ConfigSources["readText"]): Values {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readText(path));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`cannot read the config file ${path}: ${why}`, { cause: error });
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new ConfigError(`the config file ${path} must hold one JSON object`);
  }
  const values: Values = new Map();
  for (const [name, value] of Object.entries(parsed)) {
    if (!isSetting(name) || name === "config") {
      throw new ConfigError(`unknown key "${name}" in the config file ${path}${nearest(name, "")}`);
    }
    if (typeof value !== "string" && typeof value !== "number") {
      throw new ConfigError(`key "${name}" in the config file ${path} must be a string or a number`);
    }
    values.set(name, { text: String(value), from: `key "${name}" in ${path}` });
  }
  return values;
}

function resolve(values: Values): Config {
  const offset = integer(values, "port-offset", 0, 65535);
  const config: Config = {
    data: text(values, "data"),
    hosts: text(values, "host")
      .split(",")
      .map((host) => host.trim()),
    hostsChosen: values.get("host")?.from !== "default",
    amqpPort: port(values, "amqp-port", offset),
    amqpsPort: port(values, "amqps-port", offset),
    httpPort: port(values, "http-port", offset),
    metricsPort: port(values, "metrics-port", offset),
    tlsCert: optional(values, "tls-cert"),
    tlsKey: optional(values, "tls-key"),
    log: choice(values, "log", ["text", "json"]),
    logLevel: choice(values, "log-level", ["debug", "info", "warn", "error"]),
  };
  if (config.amqpsPort !== "off" && (config.tlsCert === undefined || config.tlsKey === undefined)) {
    throw new ConfigError("--amqps-port needs --tls-cert and --tls-key");
  }
  return config;
}

function text(values: Values, name: SettingName): string {
  const value = values.get(name)?.text ?? "";
  if (value.trim() === "") throw refuse(values, name, "must not be empty");
  return value;
}

function optional(values: Values, name: SettingName): string | undefined {
  const value = values.get(name)?.text ?? "";
  return value === "" ? undefined : value;
}

function integer(values: Values, name: SettingName, min: number, max: number): number {
  const value = values.get(name)?.text ?? "";
  const number = /^\d{1,6}$/.test(value) ? Number(value) : Number.NaN;
  if (!(number >= min && number <= max)) throw refuse(values, name, `must be a whole number from ${min} to ${max}`);
  return number;
}

function port(values: Values, name: SettingName, offset: number): Port {
  if (values.get(name)?.text === "off") return "off";
  const base = integer(values, name, 0, 65535);
  if (base === 0) return 0;
  if (base + offset > 65535) throw refuse(values, name, `plus --port-offset ${offset} is above 65535`);
  return base + offset;
}

function choice<T extends string>(values: Values, name: SettingName, choices: readonly T[]): T {
  const value = values.get(name)?.text;
  const found = choices.find((one) => one === value);
  if (found === undefined) throw refuse(values, name, `must be one of ${choices.join(", ")}`);
  return found;
}

function refuse(values: Values, name: SettingName, why: string): ConfigError {
  const value = values.get(name);
  return new ConfigError(`${value?.from ?? name} ${why}${value === undefined ? "" : ` (it is "${value.text}")`}`);
}

function isSetting(name: string): name is SettingName {
  return SETTINGS.some((setting) => setting.name === name);
}

/** "; did you mean X?" for the closest setting, or nothing when none is close. */
function nearest(name: string, prefix: string): string {
  let best = "";
  let bestDistance = Math.max(3, Math.floor(name.length / 2)) + 1;
  for (const setting of SETTINGS) {
    const distance = editDistance(name, setting.name);
    if (distance < bestDistance) [best, bestDistance] = [setting.name, distance];
  }
  return best === "" ? "" : `; did you mean ${prefix}${best}?`;
}

/** Levenshtein distance: single characters added, dropped or replaced. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(replaced, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
