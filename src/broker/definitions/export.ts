// Everything that is declared, as a definitions file that RabbitMQ's tools and this broker read. Only what
// survives a restart, without what every vhost has anyway; sorted, so that two exports can be compared.
//
// A user's password is exported as what is stored of it. SCRAM verifiers have no form that RabbitMQ knows:
// they go out under a hashing algorithm of our own, which only Quayside reads back.

import type { JsonValue } from "../../model/field-table-json.ts";
import { tableToPlain } from "../../model/field-table-plain.ts";
import { RABBITMQ_VERSION, VERSION } from "../../version.ts";
import type { UserRecord } from "../access/records.ts";
import { type Secret, secretToJson } from "../access/secrets.ts";
import type { VhostLimits, VhostRecord } from "../effects.ts";
import type { MetaState } from "../meta-state.ts";
import type { PolicyRecord } from "../policies/policy-records.ts";
import { type Binding, Queue, type Vhost } from "../topology.ts";
import { OPERATOR_POLICY } from "./decode.ts";

export type JsonObject = { readonly [name: string]: JsonValue };

/** The hashing algorithm of a password that was exported as SCRAM verifiers. */
export const SCRAM_ALGORITHM = "quayside_scram";

/** The whole broker. */
export function exportBroker(state: MetaState): JsonObject {
  const { topology, access, policies } = state;
  const vhosts = sorted([...topology.vhosts.values()], ({ name }) => name);
  const parts = vhosts.map((vhost) => partsOf(state, vhost, true));
  const join = (name: keyof VhostParts): JsonObject[] => parts.flatMap((part) => part[name]);
  return {
    ...head(`Definitions of a broker`),
    users: sorted([...access.users.values()], ({ name }) => name).map(userToJson),
    vhosts: vhosts.map(({ record }) => vhostToJson(record)),
    permissions: sorted([...access.permissions()], ({ vhost, user }) => `${vhost}\0${user}`).map(
      ({ user, vhost, configure, write, read }) => ({ user, vhost, configure, write, read }),
    ),
    topic_permissions: sorted(
      [...access.topicPermissions()],
      ({ vhost, user, exchange }) => `${vhost}\0${user}\0${exchange}`,
    ).map(({ user, vhost, exchange, write, read }) => ({ user, vhost, exchange, write, read })),
    parameters: join("parameters"),
    global_parameters: sorted([...policies.globalParameters.values()], ({ name }) => name).map((each) => ({ ...each })),
    policies: join("policies"),
    queues: join("queues"),
    exchanges: join("exchanges"),
    bindings: join("bindings"),
  };
}

/** One vhost, without its name: it can be imported into another one. */
export function exportVhost(state: MetaState, vhost: Vhost): JsonObject {
  return { ...head(`Definitions of virtual host ${vhost.name}`), ...partsOf(state, vhost, false) };
}

interface VhostParts {
  readonly parameters: JsonObject[];
  readonly policies: JsonObject[];
  readonly queues: JsonObject[];
  readonly exchanges: JsonObject[];
  readonly bindings: JsonObject[];
}

function head(explanation: string): JsonObject {
  return {
    rabbit_version: RABBITMQ_VERSION,
    rabbitmq_version: RABBITMQ_VERSION,
    product_name: "RabbitMQ",
    product_version: RABBITMQ_VERSION,
    quayside_version: VERSION,
    explanation,
  };
}

function partsOf({ policies }: MetaState, vhost: Vhost, isNamed: boolean): VhostParts {
  const place = isNamed ? { vhost: vhost.name } : {};
  const exchanges = [...vhost.exchanges.values()].filter((each) => each.settings.durable);
  const queues = [...vhost.queues.values()].filter(({ record }) => record.durable);
  return {
    parameters: [
      ...limitsToJson(vhost.record.limits, place),
      ...sorted([...policies.policies("operator-policy", vhost.name).values()], ({ name }) => name).map((each) => ({
        ...place,
        component: OPERATOR_POLICY,
        name: each.name,
        value: policyToJson(each),
      })),
      ...sorted(
        [...policies.parameters()].filter((each) => each.vhost === vhost.name),
        ({ component, name }) => `${component}\0${name}`,
      ).map(({ component, name, value }) => ({ ...place, component, name, value })),
    ],
    policies: sorted([...policies.policies("policy", vhost.name).values()], ({ name }) => name).map((each) => ({
      ...place,
      name: each.name,
      ...policyToJson(each),
    })),
    queues: sorted(queues, ({ record }) => record.name).map(({ record }) => ({
      name: record.name,
      ...place,
      durable: record.durable,
      auto_delete: record.autoDelete,
      arguments: tableToPlain(record.arguments),
    })),
    exchanges: sorted(
      exchanges.filter(({ predeclared }) => !predeclared),
      ({ settings }) => settings.name,
    ).map(({ settings }) => ({
      name: settings.name,
      ...place,
      type: settings.type,
      durable: settings.durable,
      auto_delete: settings.autoDelete,
      internal: settings.internal,
      arguments: tableToPlain(settings.arguments),
    })),
    bindings: sorted(
      exchanges
        .flatMap(({ bindings }) => [...bindings.values()])
        .filter(({ to }) => (to instanceof Queue ? to.record.durable : to.settings.durable)),
      (binding) => JSON.stringify(Object.values(bindingToJson(binding, {}))),
    ).map((binding) => bindingToJson(binding, place)),
  };
}

function userToJson({ name, tags, secret, limits }: UserRecord): JsonObject {
  return {
    name,
    ...secretToDefinition(secret),
    tags,
    limits: {
      ...(limits.maxConnections === undefined ? {} : { "max-connections": limits.maxConnections }),
      ...(limits.maxChannels === undefined ? {} : { "max-channels": limits.maxChannels }),
    },
  };
}

/** As RabbitMQ writes it; an empty hash lets nobody in. */
function secretToDefinition(secret: Secret): JsonObject {
  const sha256 = "rabbit_password_hashing_sha256";
  if (secret.kind === "none") return { password_hash: "", hashing_algorithm: sha256 };
  if (secret.kind === "rabbitmq") {
    return {
      password_hash: secret.hash.toString("base64"),
      hashing_algorithm: `rabbit_password_hashing_${secret.algorithm}`,
    };
  }
  const verifiers = Buffer.from(JSON.stringify(secretToJson(secret)));
  return { password_hash: verifiers.toString("base64"), hashing_algorithm: SCRAM_ALGORITHM };
}

function vhostToJson({ name, description, tags, defaultQueueType }: VhostRecord): JsonObject {
  const type: JsonObject = defaultQueueType === undefined ? {} : { default_queue_type: defaultQueueType };
  return { name, description, tags, ...type, metadata: { description, tags, ...type } };
}

function limitsToJson({ maxConnections, maxQueues }: VhostLimits, place: JsonObject): JsonObject[] {
  if (maxConnections === undefined && maxQueues === undefined) return [];
  const value = {
    ...(maxConnections === undefined ? {} : { "max-connections": maxConnections }),
    ...(maxQueues === undefined ? {} : { "max-queues": maxQueues }),
  };
  return [{ ...place, component: "vhost-limits", name: "limits", value }];
}

function policyToJson({ pattern, applyTo, definition, priority }: PolicyRecord): JsonObject {
  return { pattern, "apply-to": applyTo, definition: Object.fromEntries(definition), priority };
}

function bindingToJson({ exchange, to, routingKey, arguments: args }: Binding, place: JsonObject): JsonObject {
  const isQueue = to instanceof Queue;
  return {
    source: exchange,
    ...place,
    destination: isQueue ? to.record.name : to.settings.name,
    destination_type: isQueue ? "queue" : "exchange",
    routing_key: routingKey,
    arguments: tableToPlain(args),
  };
}

/** By code units, so that the order is the same everywhere. */
function sorted<T>(things: T[], keyOf: (thing: T) => string): T[] {
  const keyed = things.map((thing) => ({ thing, key: keyOf(thing) }));
  keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  return keyed.map(({ thing }) => thing);
}
