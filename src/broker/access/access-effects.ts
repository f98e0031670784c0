// Decided changes of users and permissions, and their JSON in the meta log.

import type { JsonValue } from "../../model/field-table-json.ts";
import type { JsonFields } from "../json-fields.ts";
import type { PermissionRecord, TopicPermissionRecord, UserRecord } from "./records.ts";
import { secretFromJson, secretToJson } from "./secrets.ts";

export type AccessEffect =
  /** Makes a user or replaces what is known of it. */
  | { readonly kind: "user-put"; readonly user: UserRecord }
  /** The user's permissions go with it. */
  | { readonly kind: "user-deleted"; readonly name: string }
  | { readonly kind: "permission-put"; readonly permission: PermissionRecord }
  | { readonly kind: "permission-deleted"; readonly vhost: string; readonly user: string }
  | { readonly kind: "topic-permission-put"; readonly permission: TopicPermissionRecord }
  | {
      readonly kind: "topic-permission-deleted";
      readonly vhost: string;
      readonly user: string;
      readonly exchange: string;
    };

const KINDS: ReadonlySet<string> = new Set([
  "user-put",
  "user-deleted",
  "permission-put",
  "permission-deleted",
  "topic-permission-put",
  "topic-permission-deleted",
] satisfies AccessEffect["kind"][]);

export function isAccessEffect(effect: { readonly kind: string }): effect is AccessEffect {
  return KINDS.has(effect.kind);
}

export function accessEffectToJson(effect: AccessEffect): JsonValue {
  switch (effect.kind) {
    case "user-put": {
      const { name, tags, secret, limits } = effect.user;
      return { kind: effect.kind, name, tags, secret: secretToJson(secret), ...limitsToJson(limits) };
    }
    case "permission-put":
    case "topic-permission-put":
      return { kind: effect.kind, ...effect.permission };
    case "user-deleted":
    case "permission-deleted":
    case "topic-permission-deleted":
      return { ...effect };
  }
}

/** Reads what `accessEffectToJson` wrote. Throws DecodeError on anything else. */
export function accessEffectFromJson(kind: AccessEffect["kind"], fields: JsonFields): AccessEffect {
  const place = () => ({ vhost: fields.string("vhost"), user: fields.string("user") });
  switch (kind) {
    case "user-put":
      return { kind, user: userFromJson(fields) };
    case "user-deleted":
      return { kind, name: fields.string("name") };
    case "permission-put": {
      const configure = fields.string("configure");
      return { kind, permission: { ...place(), configure, ...patternsFromJson(fields) } };
    }
    case "permission-deleted":
      return { kind, ...place() };
    case "topic-permission-put": {
      const exchange = fields.string("exchange");
      return { kind, permission: { ...place(), exchange, ...patternsFromJson(fields) } };
    }
    case "topic-permission-deleted":
      return { kind, ...place(), exchange: fields.string("exchange") };
  }
}

/** Limits that are not set take no room. */
function limitsToJson({ maxConnections, maxChannels }: UserRecord["limits"]): { [name: string]: number } {
  return {
    ...(maxConnections === undefined ? {} : { maxConnections }),
    ...(maxChannels === undefined ? {} : { maxChannels }),
  };
}

function userFromJson(fields: JsonFields): UserRecord {
  return {
    name: fields.string("name"),
    tags: fields.strings("tags"),
    secret: secretFromJson(fields.get("secret")),
    limits: {
      maxConnections: fields.optionalInteger("maxConnections"),
      maxChannels: fields.optionalInteger("maxChannels"),
    },
  };
}

function patternsFromJson(fields: JsonFields): { readonly write: string; readonly read: string } {
  return { write: fields.string("write"), read: fields.string("read") };
}
