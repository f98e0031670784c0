// /api/policies, /api/operator-policies, /api/parameters and /api/global-parameters.

import { JsonFields, jsonOf } from "../../broker/json-fields.ts";
import type { ParameterRecord, PolicyKind, PolicyRecord } from "../../broker/policies/policy-records.ts";
import { BrokerError, DecodeError } from "../../model/errors.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import { CREATED, json, NO_CONTENT } from "../answers.ts";
import type { Answer, Call, Route } from "../route.ts";
import { optionalInteger, optionalText, text } from "./fields.ts";
import { listOf } from "./listing.ts";
import { visible } from "./node.ts";

export const POLICY_ROUTES: readonly Route[] = [
  ...policyRoutes("policies", "policy", "operator"),
  ...policyRoutes("operator-policies", "operator-policy", "admin"),
  {
    method: "GET",
    path: "/api/parameters",
    summary: "The parameters of all vhosts.",
    role: "operator",
    handler: (call) => parameters(call, () => true),
  },
  {
    method: "GET",
    path: "/api/parameters/{component}",
    summary: "Those of a component.",
    role: "operator",
    handler: (call) => parameters(call, ({ component }) => component === call.parameter("component")),
  },
  {
    method: "GET",
    path: "/api/parameters/{component}/{vhost}",
    summary: "Those of a component in a vhost.",
    role: "operator",
    handler: (call) => {
      const [wanted, name] = [call.vhost(), call.parameter("component")];
      return parameters(call, ({ component, vhost }) => component === name && vhost === wanted);
    },
  },
  {
    method: "GET",
    path: "/api/parameters/{component}/{vhost}/{name}",
    summary: "One parameter.",
    role: "operator",
    handler: (call) => json(parameterJson(parameterOf(call))),
  },
  {
    method: "PUT",
    path: "/api/parameters/{component}/{vhost}/{name}",
    summary: "Sets a parameter: {value}. It is kept for the tools that use it.",
    role: "operator",
    handler: async (call) => {
      const value = valueOf(await call.object());
      const { policies, committed } = call.admin.broker.management;
      const [vhost, component, name] = [call.vhost(), call.parameter("component"), call.parameter("name")];
      const isNew = policies.parameter(vhost, component, name) === undefined;
      policies.putParameter(call.actor, { vhost, component, name, value });
      await committed();
      return isNew ? CREATED : NO_CONTENT;
    },
  },
  {
    method: "DELETE",
    path: "/api/parameters/{component}/{vhost}/{name}",
    summary: "Deletes a parameter.",
    role: "operator",
    handler: async (call) => {
      const { policies, committed } = call.admin.broker.management;
      policies.deleteParameter(call.actor, call.vhost(), call.parameter("component"), call.parameter("name"));
      await committed();
      return NO_CONTENT;
    },
  },
  {
    method: "GET",
    path: "/api/global-parameters",
    summary: "The parameters of no vhost.",
    role: "operator",
    handler: (call) => {
      const items = call.admin.broker.management.policies.globalParameters();
      return listOf(call, { items, name: ({ name }) => name, show: ({ name, value }) => ({ name, value }) });
    },
  },
  {
    method: "GET",
    path: "/api/global-parameters/{name}",
    summary: "One of them.",
    role: "operator",
    handler: (call) => {
      const { policies } = call.admin.broker.management;
      const found = policies.globalParameters().find(({ name }) => name === call.parameter("name"));
      if (found === undefined) throw new BrokerError("not-found", "Not Found");
      return json({ name: found.name, value: found.value });
    },
  },
  {
    method: "PUT",
    path: "/api/global-parameters/{name}",
    summary: "Sets one: {value}.",
    role: "operator",
    handler: async (call) => {
      const value = valueOf(await call.object());
      const { policies, committed } = call.admin.broker.management;
      const name = call.parameter("name");
      const isNew = !policies.globalParameters().some((each) => each.name === name);
      policies.putGlobalParameter(call.actor, name, value);
      await committed();
      return isNew ? CREATED : NO_CONTENT;
    },
  },
  {
    method: "DELETE",
    path: "/api/global-parameters/{name}",
    summary: "Deletes one.",
    role: "operator",
    handler: async (call) => {
      const { policies, committed } = call.admin.broker.management;
      policies.deleteGlobalParameter(call.actor, call.parameter("name"));
      await committed();
      return NO_CONTENT;
    },
  },
];

function policyRoutes(word: string, kind: PolicyKind, changers: "operator" | "admin"): readonly Route[] {
  const what = kind === "policy" ? "policies" : "operator policies";
  return [
    {
      method: "GET",
      path: `/api/${word}`,
      summary: `The ${what} of all vhosts.`,
      role: "viewer",
      handler: (call) => policies(call, kind),
    },
    {
      method: "GET",
      path: `/api/${word}/{vhost}`,
      summary: `The ${what} of a vhost.`,
      role: "viewer",
      handler: (call) => policies(call, kind, call.vhost()),
    },
    {
      method: "GET",
      path: `/api/${word}/{vhost}/{name}`,
      summary: `One of them.`,
      role: "viewer",
      handler: (call) => {
        const found = call.admin.broker.management.policies.get(kind, call.vhost(), call.parameter("name"));
        if (found === undefined) throw new BrokerError("not-found", "Not Found");
        return json(policyJson(found));
      },
    },
    {
      method: "PUT",
      path: `/api/${word}/{vhost}/{name}`,
      summary: "Sets one: {pattern, definition, priority, apply-to}.",
      role: changers,
      handler: (call) => putPolicy(call, kind),
    },
    {
      method: "DELETE",
      path: `/api/${word}/{vhost}/{name}`,
      summary: "Deletes one.",
      role: changers,
      handler: async (call) => {
        const { policies: all, committed } = call.admin.broker.management;
        all.delete(call.actor, kind, call.vhost(), call.parameter("name"));
        await committed();
        return NO_CONTENT;
      },
    },
  ];
}

function policies(call: Call, kind: PolicyKind, vhost?: string): Answer {
  const items = visible(call, call.admin.broker.management.policies.list(kind, vhost), (policy) => policy.vhost);
  return listOf(call, { items, name: ({ name }) => name, show: policyJson });
}

function policyJson({ vhost, name, pattern, applyTo, definition, priority }: PolicyRecord) {
  return { vhost, name, pattern, "apply-to": applyTo, definition: Object.fromEntries(definition), priority };
}

async function putPolicy(call: Call, kind: PolicyKind): Promise<Answer> {
  const body = await call.object();
  const applyTo = optionalText(body, "apply-to");
  const priority = optionalInteger(body, "priority");
  const { policies: all, committed } = call.admin.broker.management;
  const isNew = all.put(call.actor, kind, call.vhost(), call.parameter("name"), {
    pattern: text(body, "pattern"),
    definition: new JsonFields(body).values("definition"),
    ...(applyTo === undefined ? {} : { applyTo }),
    ...(priority === undefined ? {} : { priority }),
  });
  await committed();
  return isNew ? CREATED : NO_CONTENT;
}

function valueOf(body: Readonly<Record<string, unknown>>): JsonValue {
  if (body["value"] === undefined) throw new DecodeError("value is missing");
  return jsonOf(body["value"]);
}

function parameters(call: Call, concerns: (parameter: ParameterRecord) => boolean): Answer {
  const all = call.admin.broker.management.policies.parameters().filter(concerns);
  return listOf(call, {
    items: visible(call, all, ({ vhost }) => vhost),
    name: ({ name }) => name,
    show: parameterJson,
  });
}

/** Throws "not-found". */
function parameterOf(call: Call): ParameterRecord {
  const { policies: all } = call.admin.broker.management;
  const found = all.parameter(call.vhost(), call.parameter("component"), call.parameter("name"));
  if (found === undefined) throw new BrokerError("not-found", "Not Found");
  return found;
}

function parameterJson({ value, vhost, component, name }: ParameterRecord) {
  return { value, vhost, component, name };
}
