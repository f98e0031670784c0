// Settings of a broker process. Precedence: flag > environment > file > default. A value that is not
// understood is refused with a sentence that says where it came from; nothing is guessed.

import { parseArgs } from "node:util";
import { readConfigFile } from "./config-file.ts";
import { LIMITS } from "./limits.ts";
import { ConfigError, isSetting, nearest, SETTINGS, settingOf, type SettingName, variableOf } from "./settings.ts";

/** A TCP port: 0 takes a free one, "off" disables the listener. */
export type Port = number | "off";

export type LogFormat = "text" | "json";
export type LogLevel = "debug" | "info" | "warn" | "error";
/** What the process may use: a share of the machine's memory, or bytes. */
export type MemoryLimit = { readonly share: number } | { readonly bytes: number };
export type ClientCertificates = "off" | "optional" | "required";

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
  readonly tlsCa: string | undefined;
  readonly tlsClientCertificates: ClientCertificates;
  readonly admin: { readonly name: string; readonly password: string } | undefined;
  readonly messageBytesMax: number;
  readonly memoryLimit: MemoryLimit;
  readonly diskFreeBytesMin: number;
  readonly drainMs: number;
  readonly logFormat: LogFormat;
  readonly logLevel: LogLevel;
  /** Every setting as it was given, in the order of the table. */
  readonly given: ReadonlyMap<SettingName, GivenValue>;
}

export interface GivenValue {
  readonly text: string;
  /** "default", "flag --x", "variable X" or "key "x" in FILE". */
  readonly from: string;
}

type Values = Map<SettingName, GivenValue>;

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
  return resolve(new Map([...defaults, ...file, ...variables, ...flags]), readText);
}

function readFlags(argv: readonly string[]): Values {
  const options = Object.fromEntries(SETTINGS.map(({ name }) => [name, { type: "string" as const }]));
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, tokens: true, allowPositionals: true });
  const names = SETTINGS.map(({ name }) => name);
  const values: Values = new Map();
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") throw new ConfigError(`unexpected argument "${token.value}"`);
    if (!isSetting(token.name))
      throw new ConfigError(`unknown flag ${token.rawName}${nearest(token.name, names, "--")}`);
    if (settingOf(token.name).secret === true) {
      throw new ConfigError(
        `--${token.name} is not taken as a flag, because every user of this machine can read command lines; ` +
          `use the variable ${variableOf(token.name)} or --${token.name}-file`,
      );
    }
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
  const entries = [...readConfigFile(path, readText)];
  return new Map(entries.map(([name, text]) => [name, { text, from: `key "${name}" in ${path}` }]));
}

function resolve(values: Values, readText: ConfigSources["readText"]): Config {
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
    tlsCa: optional(values, "tls-ca"),
    tlsClientCertificates: choice(values, "tls-client-certificates", ["off", "optional", "required"]),
    admin: adminOf(values, readText),
    messageBytesMax: bytes(values, "max-message-size", LIMITS.messageBytesCeiling),
    memoryLimit: memoryLimit(values),
    diskFreeBytesMin: bytes(values, "disk-free-limit", Number.MAX_SAFE_INTEGER),
    drainMs: 1000 * integer(values, "drain-time", 0, 3600),
    logFormat: choice(values, "log-format", ["text", "json"]),
    logLevel: choice(values, "log-level", ["debug", "info", "warn", "error"]),
    given: values,
  };
  if (config.amqpsPort !== "off" && (config.tlsCert === undefined || config.tlsKey === undefined)) {
    throw new ConfigError("--amqps-port needs --tls-cert and --tls-key");
  }
  if (config.tlsClientCertificates !== "off" && config.tlsCa === undefined) {
    throw new ConfigError("--tls-client-certificates needs --tls-ca: whose certificates are to be trusted");
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

const UNITS: Readonly<Record<string, number>> = { "": 1, KIB: 2 ** 10, MIB: 2 ** 20, GIB: 2 ** 30, TIB: 2 ** 40 };
const DECIMAL_UNITS: Readonly<Record<string, number>> = { B: 1, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** "512MiB", "1.5 GB", "4096": bytes; undefined when it is no size. */
function parseSize(value: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(value.trim());
  const unit = match?.[2]?.toUpperCase() ?? "";
  const factor = UNITS[unit] ?? DECIMAL_UNITS[unit];
  if (match === null || factor === undefined) return undefined;
  return Math.floor(Number(match[1]) * factor);
}

function bytes(values: Values, name: SettingName, max: number): number {
  const size = parseSize(values.get(name)?.text ?? "");
  if (size === undefined) throw refuse(values, name, 'must be a size such as "64MiB" or "1GB"');
  if (size < 1 || size > max) throw refuse(values, name, `must be at least 1 byte and at most ${max} bytes`);
  return size;
}

function memoryLimit(values: Values): MemoryLimit {
  const value = values.get("memory-limit")?.text.trim() ?? "";
  const percent = /^(\d+(?:\.\d+)?)\s*%$/.exec(value)?.[1];
  const share = percent === undefined ? (/^0?\.\d+$/.test(value) ? Number(value) : undefined) : Number(percent) / 100;
  if (share !== undefined) {
    if (share > 0 && share <= 1) return { share };
    throw refuse(values, "memory-limit", "must be above 0% and at most 100%");
  }
  return { bytes: bytes(values, "memory-limit", Number.MAX_SAFE_INTEGER) };
}

function adminOf(values: Values, readText: ConfigSources["readText"]): Config["admin"] {
  const name = optional(values, "admin-user");
  const password = optional(values, "admin-password");
  const file = optional(values, "admin-password-file");
  if (name === undefined && password === undefined && file === undefined) return undefined;
  if (name === undefined) throw new ConfigError("a password for an administrator needs a name: --admin-user");
  if (password !== undefined && file !== undefined) {
    throw new ConfigError(`give ${variableOf("admin-password")} or --admin-password-file, not both`);
  }
  if (password !== undefined) return { name, password };
  if (file === undefined) {
    throw new ConfigError(`--admin-user needs ${variableOf("admin-password")} or --admin-password-file`);
  }
  return { name, password: firstLine(file, readText) };
}

function firstLine(file: string, readText: ConfigSources["readText"]): string {
  let line: string;
  try {
    line = readText(file).split(/\r?\n/, 1)[0] ?? "";
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ConfigError(`cannot read --admin-password-file ${file}: ${why}`, { cause: error });
  }
  if (line === "") throw new ConfigError(`the first line of --admin-password-file ${file} is empty`);
  return line;
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
