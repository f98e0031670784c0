// The one table of settings: flags, environment variables, keys of the config file, the help text, what
// SIGHUP reloads and docs/configuration.md all come from here.

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
  /** SIGHUP takes the new value; without this it needs a restart. */
  readonly reloads?: true;
  /** Never shown, and not taken as a flag: every user of the machine can read command lines. */
  readonly secret?: true;
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
  { name: "http-port", value: "PORT", fallback: "15672", help: "HTTP: management." },
  { name: "metrics-port", value: "PORT", fallback: "15692", help: "HTTP: /metrics for Prometheus." },
  { name: "port-offset", value: "N", fallback: "0", help: "Added to every port that is neither 0 nor off." },
  { name: "tls-cert", value: "FILE", fallback: "", help: "Certificate chain, PEM.", reloads: true },
  { name: "tls-key", value: "FILE", fallback: "", help: "Private key, PEM.", reloads: true },
  { name: "tls-ca", value: "FILE", fallback: "", help: "Who signs client certificates, PEM.", reloads: true },
  {
    name: "tls-client-certificates",
    value: "WHEN",
    fallback: "off",
    help: "off, optional or required: whether clients show one; needs --tls-ca.",
  },
  {
    name: "admin-user",
    value: "NAME",
    fallback: "",
    help: "Administrator, made at the start unless there is one of that name; needs a password.",
  },
  {
    name: "admin-password",
    value: "TEXT",
    fallback: "",
    help: "Password of --admin-user; not as a flag, since others can read command lines.",
    secret: true,
  },
  { name: "admin-password-file", value: "FILE", fallback: "", help: "The same, from the first line of a file." },
  {
    name: "max-message-size",
    value: "SIZE",
    fallback: "16MiB",
    help: "Largest body that is taken, at most 512MiB.",
    reloads: true,
  },
  {
    name: "memory-limit",
    value: "SHARE|SIZE",
    fallback: "40%",
    help: "Publishers are blocked when the process uses more: a share of the machine or a size.",
    reloads: true,
  },
  {
    name: "disk-free-limit",
    value: "SIZE",
    fallback: "512MiB",
    help: "Publishers are blocked when less than this is free.",
    reloads: true,
  },
  {
    name: "drain-time",
    value: "SECONDS",
    fallback: "0",
    help: "Time between SIGTERM (not ready any more) and the end of the connections, for load balancers.",
    reloads: true,
  },
  { name: "log-format", value: "text|json", fallback: "text", help: "Form of the log lines on stderr." },
  { name: "log-level", value: "LEVEL", fallback: "info", help: "debug, info, warn or error.", reloads: true },
  { name: "config", value: "FILE", fallback: "", help: "TOML file with any of these names as keys." },
] as const satisfies readonly Setting[];

export type SettingName = (typeof SETTINGS)[number]["name"];

/** The environment variable of a setting. */
export function variableOf(name: string): string {
  return `QUAYSIDE_${name.toUpperCase().replaceAll("-", "_")}`;
}

export function isSetting(name: string): name is SettingName {
  return SETTINGS.some((setting) => setting.name === name);
}

export function settingOf(name: SettingName): Setting {
  return SETTINGS.find((setting) => setting.name === name) as Setting;
}

/** One line a setting, for `--help`. */
export function settingsHelp(): string {
  return SETTINGS.map((setting: Setting) => {
    const { name, value, fallback, help, secret } = setting;
    const flag = (secret === true ? variableOf(name) : `--${name} ${value}`).padEnd(32);
    return `  ${flag} ${help}${fallback === "" ? "" : ` [${fallback}]`}`;
  }).join("\n");
}

/** "; did you mean X?" for the closest of `names`, or nothing when none is close. */
export function nearest(name: string, names: readonly string[], prefix = ""): string {
  let best = "";
  let bestDistance = Math.max(3, Math.floor(name.length / 2)) + 1;
  for (const candidate of names) {
    const distance = editDistance(name, candidate);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
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
