// /api/permissions and /api/topic-permissions.

import type { PermissionRecord, TopicPermissionRecord } from "../../broker/access/records.ts";
import { BrokerError } from "../../model/errors.ts";
import { CREATED, json, NO_CONTENT } from "../answers.ts";
import type { Answer, Call, Route } from "../route.ts";
import { optionalText, text } from "./fields.ts";
import { listOf } from "./listing.ts";

export const PERMISSION_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/permissions",
    summary: "All permissions.",
    role: "admin",
    handler: (call) => permissions(call, () => true),
  },
  {
    method: "GET",
    path: "/api/vhosts/{vhost}/permissions",
    summary: "Those in a vhost.",
    role: "admin",
    handler: (call) => {
      const wanted = call.vhost();
      return permissions(call, ({ vhost }) => vhost === wanted);
    },
  },
  {
    method: "GET",
    path: "/api/users/{user}/permissions",
    summary: "Those of a user.",
    role: "admin",
    handler: (call) => {
      const wanted = knownUser(call);
      return permissions(call, ({ user }) => user === wanted);
    },
  },
  {
    method: "GET",
    path: "/api/permissions/{vhost}/{user}",
    summary: "Those of a user in a vhost.",
    role: "admin",
    handler: (call) => {
      const found = call.admin.broker.management.users.permission(call.vhost(), call.parameter("user"));
      if (found === undefined) throw new BrokerError("not-found", "Not Found");
      return json(permissionJson(found));
    },
  },
  {
    method: "PUT",
    path: "/api/permissions/{vhost}/{user}",
    summary: "Grants {configure, write, read}, each a pattern on names.",
    role: "admin",
    handler: async (call) => {
      const body = await call.object();
      const { users, committed } = call.admin.broker.management;
      const [vhost, user] = [call.parameter("vhost"), call.parameter("user")];
      const isNew = users.permission(vhost, user) === undefined;
      const rights = { configure: text(body, "configure"), write: text(body, "write"), read: text(body, "read") };
      users.putPermission(call.actor, { vhost, user, ...rights });
      await committed();
      return isNew ? CREATED : NO_CONTENT;
    },
  },
  {
    method: "DELETE",
    path: "/api/permissions/{vhost}/{user}",
    summary: "Takes them away.",
    role: "admin",
    handler: async (call) => {
      const { users, committed } = call.admin.broker.management;
      users.deletePermission(call.actor, call.parameter("vhost"), call.parameter("user"));
      await committed();
      return NO_CONTENT;
    },
  },
  {
    method: "GET",
    path: "/api/topic-permissions",
    summary: "All permissions on topics.",
    role: "admin",
    handler: (call) => topics(call, () => true),
  },
  {
    method: "GET",
    path: "/api/vhosts/{vhost}/topic-permissions",
    summary: "Those in a vhost.",
    role: "admin",
    handler: (call) => {
      const wanted = call.vhost();
      return topics(call, ({ vhost }) => vhost === wanted);
    },
  },
  {
    method: "GET",
    path: "/api/users/{user}/topic-permissions",
    summary: "Those of a user.",
    role: "admin",
    handler: (call) => {
      const wanted = knownUser(call);
      return topics(call, ({ user }) => user === wanted);
    },
  },
  {
    method: "GET",
    path: "/api/topic-permissions/{vhost}/{user}",
    summary: "Those of a user in a vhost.",
    role: "admin",
    handler: (call) => {
      const [wanted, name] = [call.vhost(), knownUser(call)];
      return topics(call, ({ vhost, user }) => vhost === wanted && user === name);
    },
  },
  {
    method: "PUT",
    path: "/api/topic-permissions/{vhost}/{user}",
    summary: "Grants {exchange, write, read}, each right a pattern on routing keys.",
    role: "admin",
    handler: async (call) => {
      const body = await call.object();
      const { users, committed } = call.admin.broker.management;
      const [vhost, user] = [call.parameter("vhost"), call.parameter("user")];
      const rights = { exchange: text(body, "exchange"), write: text(body, "write"), read: text(body, "read") };
      const isNew = !users.topicPermissions().some((each) => {
        return each.vhost === vhost && each.user === user && each.exchange === rights.exchange;
      });
      users.putTopicPermission(call.actor, { vhost, user, ...rights });
      await committed();
      return isNew ? CREATED : NO_CONTENT;
    },
  },
  {
    method: "DELETE",
    path: "/api/topic-permissions/{vhost}/{user}",
    summary: "Takes them away: those on the body's exchange, or all.",
    role: "admin",
    handler: async (call) => {
      const exchange = optionalText(await call.object(), "exchange");
      return deleteTopics(call, exchange);
    },
  },
  {
    method: "DELETE",
    path: "/api/topic-permissions/{vhost}/{user}/{exchange}",
    summary: "Takes those on an exchange away.",
    role: "admin",
    handler: (call) => deleteTopics(call, call.parameter("exchange")),
  },
];

/** Throws "not-found". */
function knownUser(call: Call): string {
  const name = call.parameter("user");
  if (call.admin.broker.management.users.get(name) === undefined) throw new BrokerError("not-found", "Not Found");
  return name;
}

function permissions(call: Call, concerns: (permission: PermissionRecord) => boolean): Answer {
  const items = call.admin.broker.management.users.permissions().filter(concerns);
  return listOf(call, { items, name: ({ user }) => user, show: permissionJson });
}

function topics(call: Call, concerns: (permission: TopicPermissionRecord) => boolean): Answer {
  const items = call.admin.broker.management.users.topicPermissions().filter(concerns);
  const show = ({ user, vhost, exchange, write, read }: TopicPermissionRecord) => ({
    user,
    vhost,
    exchange,
    write,
    read,
  });
  return listOf(call, { items, name: ({ user }) => user, show });
}

async function deleteTopics(call: Call, exchange: string | undefined): Promise<Answer> {
  const { users, committed } = call.admin.broker.management;
  const which = { vhost: call.parameter("vhost"), user: call.parameter("user") };
  users.deleteTopicPermission(call.actor, exchange === undefined ? which : { ...which, exchange });
  await committed();
  return NO_CONTENT;
}

function permissionJson({ user, vhost, configure, write, read }: PermissionRecord) {
  return { user, vhost, configure, write, read };
}
