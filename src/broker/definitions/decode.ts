// A definitions file, as RabbitMQ exports it, read into what it asks for. Reading decides nothing and changes
// nothing: a file that makes no sense is refused before anything of it is done, with what is wrong and where.

import { DecodeError } from "../../model/errors.ts";
import { EMPTY_TABLE, type FieldTable } from "../../model/field-table.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import { tableFromPlain } from "../../model/field-table-plain.ts";
import type { PermissionRecord, TopicPermissionRecord, UserLimits } from "../access/records.ts";
import type { VhostLimits } from "../effects.ts";
import { JsonFields, jsonOf } from "../json-fields.ts";
import type { GlobalParameterRecord, ParameterRecord } from "../policies/policy-records.ts";

export interface UserDefinition {
  readonly name: string;
  readonly tags: readonly string[];
  readonly limits: UserLimits;
  readonly password: string | undefined;
  readonly passwordHash: string | undefined;
  readonly hashingAlgorithm: string | undefined;
}

export interface VhostDefinition {
  readonly name: string;
  readonly description: string | undefined;
  readonly tags: readonly string[] | undefined;
  readonly defaultQueueType: string | undefined;
  /** Undefined when it names none: files also say limits as a parameter. */
  readonly limits: VhostLimits | undefined;
}

export interface PolicyDefinition {
  readonly vhost: string;
  readonly name: string;
  readonly pattern: string;
  readonly applyTo: string | undefined;
  readonly priority: number | undefined;
  readonly definition: ReadonlyMap<string, JsonValue>;
}

export interface QueueDefinition {
  readonly vhost: string;
  readonly name: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly arguments: FieldTable;
}

export interface ExchangeDefinition extends QueueDefinition {
  readonly type: string;
  readonly internal: boolean;
}

export interface BindingDefinition {
  readonly vhost: string;
  readonly source: string;
  readonly destination: string;
  readonly destinationType: "queue" | "exchange";
  readonly routingKey: string;
  readonly arguments: FieldTable;
}

export interface Definitions {
  readonly globalParameters: readonly GlobalParameterRecord[];
  readonly users: readonly UserDefinition[];
  readonly vhosts: readonly VhostDefinition[];
  readonly permissions: readonly PermissionRecord[];
  readonly topicPermissions: readonly TopicPermissionRecord[];
  readonly parameters: readonly ParameterRecord[];
  readonly policies: readonly PolicyDefinition[];
  readonly operatorPolicies: readonly PolicyDefinition[];
  readonly exchanges: readonly ExchangeDefinition[];
  readonly queues: readonly QueueDefinition[];
  readonly bindings: readonly BindingDefinition[];
}

/** Operator policies are exported among the parameters, under this component. */
export const OPERATOR_POLICY = "operator_policy";

/**
 * Reads a parsed file. With `vhost`, its things are put there, whatever vhost they name, and users, vhosts,
 * permissions and global parameters are not looked at. Throws DecodeError.
 */
export function decodeDefinitions(json: unknown, vhost?: string): Definitions {
  const file = fieldsOf(json, "the definitions");
  const ofBroker = <T>(name: string, read: (fields: JsonFields) => T): T[] => {
    return vhost === undefined ? section(file, name, read) : [];
  };
  const place = (fields: JsonFields): string => vhost ?? fields.string("vhost");
  const parameters = section(file, "parameters", (fields) => ({
    component: fields.string("component"),
    fields,
    vhost: place(fields),
    name: fields.string("name"),
  }));
  return {
    globalParameters: ofBroker("global_parameters", (fields) => ({
      name: fields.string("name"),
      value: jsonOf(fields.get("value")),
    })),
    users: ofBroker("users", userOf),
    vhosts: ofBroker("vhosts", vhostOf),
    permissions: ofBroker("permissions", (fields) => ({
      ...grantOf(fields),
      configure: fields.string("configure"),
    })),
    topicPermissions: ofBroker("topic_permissions", (fields) => ({
      ...grantOf(fields),
      exchange: fields.string("exchange"),
    })),
    parameters: parameters
      .filter(({ component }) => component !== OPERATOR_POLICY)
      .map(({ fields, ...rest }) => ({ ...rest, value: jsonOf(fields.get("value")) })),
    operatorPolicies: parameters
      .filter(({ component }) => component === OPERATOR_POLICY)
      .map(({ fields, vhost: where, name }) => {
        return at(`parameters '${name}'`, () => policyOf(new JsonFields(fields.get("value")), where, name));
      }),
    policies: section(file, "policies", (fields) => policyOf(fields, place(fields), fields.string("name"))),
    exchanges: section(file, "exchanges", (fields) => ({
      ...thingOf(fields, place(fields)),
      type: fields.string("type"),
      internal: fields.optionalBoolean("internal") ?? false,
    })),
    queues: section(file, "queues", (fields) => queueOf(fields, place(fields))),
    bindings: section(file, "bindings", (fields) => bindingOf(fields, place(fields))),
  };
}

/** Reads each entry of an array; one that is missing is empty. */
function section<T>(file: JsonFields, name: string, read: (fields: JsonFields) => T): T[] {
  const entries = file.get(name) ?? [];
  if (!Array.isArray(entries)) throw new DecodeError(`${name} is not an array`);
  return entries.map((entry: unknown, index) => {
    const fields = fieldsOf(entry, `${name}[${index}]`);
    const called = fields.get("name");
    const shown = typeof called === "string" ? ` ('${called.slice(0, 80)}')` : "";
    return at(`${name}[${index}]${shown}`, () => read(fields));
  });
}

function fieldsOf(json: unknown, where: string): JsonFields {
  return at(where, () => new JsonFields(json));
}

/** Says where it is that something is wrong. */
function at<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    throw new DecodeError(`${where}: ${error.message}`, { cause: error });
  }
}

function userOf(fields: JsonFields): UserDefinition {
  const limits = objectOf(fields.get("limits") ?? {});
  return {
    name: fields.string("name"),
    tags: tagsOf(fields, "tags"),
    limits: {
      maxConnections: limitOf(limits, "max-connections"),
      maxChannels: limitOf(limits, "max-channels"),
    },
    password: fields.optionalString("password"),
    passwordHash: fields.optionalString("password_hash"),
    hashingAlgorithm: fields.optionalString("hashing_algorithm"),
  };
}

function vhostOf(fields: JsonFields): VhostDefinition {
  const metadata = objectOf(fields.get("metadata") ?? {});
  const text = (name: string): string | undefined => fields.optionalString(name) ?? metadata.optionalString(name);
  const type = text("default_queue_type");
  const limits = objectOf(fields.get("limits") ?? {});
  const [maxConnections, maxQueues] = [limitOf(limits, "max-connections"), limitOf(limits, "max-queues")];
  return {
    name: fields.string("name"),
    description: text("description"),
    tags:
      fields.get("tags") === undefined && metadata.get("tags") === undefined ? undefined : vhostTags(fields, metadata),
    // RabbitMQ writes "undefined" where there is none.
    defaultQueueType: type === "undefined" ? undefined : type,
    limits: maxConnections === undefined && maxQueues === undefined ? undefined : { maxConnections, maxQueues },
  };
}

function vhostTags(fields: JsonFields, metadata: JsonFields): readonly string[] {
  return fields.get("tags") === undefined ? tagsOf(metadata, "tags") : tagsOf(fields, "tags");
}

/** A list, or its older form: one text with commas. */
function tagsOf(fields: JsonFields, name: string): readonly string[] {
  const value = fields.get(name);
  if (value === undefined) return [];
  if (typeof value !== "string") return fields.strings(name);
  return value
    .split(",")
    .map((tag) => tag.trim())
    .filter((tag) => tag !== "");
}

/** A negative limit is RabbitMQ's way of saying none. */
function limitOf(limits: JsonFields, name: string): number | undefined {
  const limit = limits.optionalInteger(name);
  return limit === undefined || limit < 0 ? undefined : limit;
}

function grantOf(fields: JsonFields) {
  const [vhost, user] = [fields.string("vhost"), fields.string("user")];
  return { vhost, user, write: fields.string("write"), read: fields.string("read") };
}

function policyOf(fields: JsonFields, vhost: string, name: string): PolicyDefinition {
  return {
    vhost,
    name,
    pattern: fields.string("pattern"),
    applyTo: fields.optionalString("apply-to"),
    priority: fields.optionalInteger("priority"),
    definition: objectOf(fields.get("definition")).all(),
  };
}

function thingOf(fields: JsonFields, vhost: string): QueueDefinition {
  return {
    vhost,
    name: fields.string("name"),
    durable: fields.optionalBoolean("durable") ?? true,
    autoDelete: fields.optionalBoolean("auto_delete") ?? false,
    arguments: argumentsOf(fields),
  };
}

function queueOf(fields: JsonFields, vhost: string): QueueDefinition {
  const queue = thingOf(fields, vhost);
  const type = fields.optionalString("type");
  if (type === undefined || type === "classic" || queue.arguments.has("x-queue-type")) return queue;
  return { ...queue, arguments: new Map([...queue.arguments, ["x-queue-type", type]]) };
}

function bindingOf(fields: JsonFields, vhost: string): BindingDefinition {
  const destinationType = fields.string("destination_type");
  if (destinationType !== "queue" && destinationType !== "exchange") {
    throw new DecodeError(`destination_type is queue or exchange, not ${destinationType}`);
  }
  return {
    vhost,
    source: fields.string("source"),
    destination: fields.string("destination"),
    destinationType,
    routingKey: fields.string("routing_key"),
    arguments: argumentsOf(fields),
  };
}

function argumentsOf(fields: JsonFields): FieldTable {
  const value = fields.get("arguments");
  return value === undefined || isEmptyArray(value) ? EMPTY_TABLE : tableFromPlain(value);
}

/** An object, or what Erlang makes of one: an array of pairs, an empty one included. */
function objectOf(value: unknown): JsonFields {
  if (!Array.isArray(value)) return new JsonFields(value);
  const pairs = value.map((pair: unknown): readonly [string, unknown] => {
    if (!Array.isArray(pair) || pair.length !== 2 || typeof pair[0] !== "string") {
      throw new DecodeError("it is neither an object nor an array of pairs");
    }
    return [pair[0], pair[1]];
  });
  return new JsonFields(Object.fromEntries(pairs));
}

function isEmptyArray(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}
