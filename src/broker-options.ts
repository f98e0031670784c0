// From settings to what main.ts takes: certificates are read here, and a reload is worked out here.

import type { Config } from "./config.ts";
import type { BrokerLimits, BrokerOptions, Renewal } from "./main.ts";
import type { TlsMaterial } from "./ports/tls.ts";
import { readTextFile } from "./runtime/text-file.ts";
import { checkCertificates } from "./runtime/tls-check.ts";
import { ConfigError, type Setting, SETTINGS, type SettingName } from "./settings.ts";

/** Throws ConfigError when a certificate cannot be read or used. */
export function brokerOptions(config: Config): BrokerOptions {
  const tls = tlsOf(config);
  return {
    data: config.data,
    ...(config.hostsChosen ? { hosts: config.hosts } : {}),
    amqpPort: config.amqpPort,
    amqpsPort: config.amqpsPort,
    httpPort: config.httpPort,
    metricsPort: config.metricsPort,
    limits: limitsOf(config),
    ...(config.admin === undefined ? {} : { admin: config.admin }),
    ...(tls === undefined ? {} : { tls }),
  };
}

export interface Reload {
  readonly renewal: Renewal;
  /** Settings that changed and count now. */
  readonly reloaded: readonly SettingName[];
  /** Settings that changed and wait for a restart. */
  readonly waiting: readonly SettingName[];
  /** What the broker runs with afterwards. */
  readonly config: Config;
}

/** What changes from `running` to `wanted` while the broker runs. Throws ConfigError. */
export function reloadOf(running: Config, wanted: Config): Reload {
  const changed = SETTINGS.filter(({ name }) => running.given.get(name)?.text !== wanted.given.get(name)?.text);
  const reloads = (setting: Setting): boolean => setting.reloads === true;
  const reloaded = changed.filter(reloads).map(({ name }) => name);
  const tls = tlsOf(wanted);
  const { messageBytesMax, memoryLimit, diskFreeBytesMin, drainMs, logLevel } = wanted;
  const given = new Map(running.given);
  for (const name of reloaded) given.set(name, wanted.given.get(name) ?? { text: "", from: "default" });
  return {
    renewal: { limits: limitsOf(wanted), ...(tls === undefined ? {} : { tls }) },
    reloaded,
    waiting: changed.filter((setting) => !reloads(setting)).map(({ name }) => name),
    config: { ...running, messageBytesMax, memoryLimit, diskFreeBytesMin, drainMs, logLevel, given },
  };
}

function limitsOf({ messageBytesMax, memoryLimit, diskFreeBytesMin }: Config): BrokerLimits {
  return { messageBytesMax, memory: memoryLimit, diskFreeBytesMin };
}

/** The certificates, read anew and checked; undefined without any. */
export function tlsOf(config: Config): TlsMaterial | undefined {
  const { tlsCert, tlsKey, tlsCa, tlsClientCertificates } = config;
  if (tlsCert === undefined || tlsKey === undefined) return undefined;
  const asks = tlsClientCertificates === "off" || tlsCa === undefined ? undefined : tlsCa;
  const tls: TlsMaterial = {
    cert: readPem(tlsCert),
    key: readPem(tlsKey),
    ...(asks === undefined ? {} : { ca: readPem(asks), clientsMust: tlsClientCertificates === "required" }),
  };
  try {
    checkCertificates(tls);
  } catch (error) {
    const files = [tlsCert, tlsKey, ...(asks === undefined ? [] : [asks])].join(", ");
    throw new ConfigError(`the certificates ${files} cannot be used: ${textOf(error)}`, { cause: error });
  }
  return tls;
}

function readPem(path: string): string {
  try {
    return readTextFile(path);
  } catch (error) {
    throw new ConfigError(`cannot read ${path}: ${textOf(error)}`, { cause: error });
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
