// The config file: TOML, or JSON when its name ends in .json. Tables only group: the key `port` in the table
// [amqp] is the setting `amqp-port`. What is no setting is refused, never passed over.

import { parse } from "smol-toml";
import { ConfigError, isSetting, nearest, SETTINGS, type SettingName } from "./settings.ts";

/** Keys with their values as text. Throws ConfigError. */
export function readConfigFile(path: string, readText: (path: string) => string): Map<SettingName, string> {
  let parsed: unknown;
  try {
    const text = readText(path);
    parsed = path.endsWith(".json") ? JSON.parse(text) : parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message.trim() : String(error);
    throw new ConfigError(`cannot read the config file ${path}: ${why}`, { cause: error });
  }
  if (!isTable(parsed)) throw new ConfigError(`the config file ${path} must hold one table`);
  const values = new Map<SettingName, string>();
  collect(parsed, "", path, values);
  return values;
}

function collect(table: object, prefix: string, path: string, values: Map<SettingName, string>): void {
  for (const [key, value] of Object.entries(table)) {
    const name = `${prefix}${key}`;
    if (isTable(value)) {
      collect(value, `${name}-`, path, values);
      continue;
    }
    if (!isSetting(name) || name === "config") {
      const names = SETTINGS.map((setting) => setting.name).filter((one) => one !== "config");
      throw new ConfigError(`unknown key "${name}" in the config file ${path}${nearest(name, names)}`);
    }
    if (values.has(name)) throw new ConfigError(`key "${name}" is in the config file ${path} twice`);
    values.set(name, textOf(name, value, path));
  }
}

function textOf(name: SettingName, value: unknown, path: string): string {
  if (typeof value === "string" || typeof value === "number") return String(value);
  if (name === "host" && Array.isArray(value) && value.every((one) => typeof one === "string")) return value.join(",");
  const wanted = name === "host" ? "a string or a list of strings" : "a string or a number";
  throw new ConfigError(`key "${name}" in the config file ${path} must be ${wanted}`);
}

function isTable(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
