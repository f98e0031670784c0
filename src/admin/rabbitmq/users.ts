// /api/users and /api/user-limits. Hashes of passwords are shown in definitions only, to administrators.

import type { UserView } from "../../broker/management/users.ts";
import { BrokerError, DecodeError } from "../../model/errors.ts";
import { CREATED, json, NO_CONTENT } from "../answers.ts";
import type { Answer, Call, Route } from "../route.ts";
import { type Body, optionalInteger, optionalText, optionalWords } from "./fields.ts";
import { listOf } from "./listing.ts";

const LIMIT_NAMES = { "max-connections": "maxConnections", "max-channels": "maxChannels" } as const;

export const USER_ROUTES: readonly Route[] = [
  {
    method: "GET",
    path: "/api/users",
    summary: "All users.",
    role: "admin",
    handler: (call) => listed(call, call.admin.broker.management.users.list()),
  },
  {
    method: "GET",
    path: "/api/users/without-permissions",
    summary: "The users without a permission in any vhost.",
    role: "admin",
    handler: (call) => {
      const { users } = call.admin.broker.management;
      const permitted = new Set(users.permissions().map(({ user }) => user));
      return listed(
        call,
        users.list().filter(({ name }) => !permitted.has(name)),
      );
    },
  },
  {
    method: "POST",
    path: "/api/users/bulk-delete",
    summary: "Deletes {users: [name, ...]}.",
    role: "admin",
    handler: async (call) => {
      const names = optionalWords(await call.object(), "users") ?? [];
      const { users, committed } = call.admin.broker.management;
      for (const name of names) users.delete(call.actor, name);
      await committed();
      return NO_CONTENT;
    },
  },
  {
    method: "GET",
    path: "/api/users/{user}",
    summary: "One user.",
    role: "admin",
    handler: (call) => json(userJson(userOf(call))),
  },
  {
    method: "PUT",
    path: "/api/users/{user}",
    summary: "Makes a user or changes it: {password or password_hash, hashing_algorithm, tags}.",
    role: "admin",
    handler: put,
  },
  {
    method: "DELETE",
    path: "/api/users/{user}",
    summary: "Deletes a user and ends its connections.",
    role: "admin",
    handler: async (call) => {
      const { users, committed } = call.admin.broker.management;
      users.delete(call.actor, call.parameter("user"));
      await committed();
      return NO_CONTENT;
    },
  },
  {
    method: "GET",
    path: "/api/user-limits",
    summary: "The users with limits.",
    role: "admin",
    handler: (call) => limits(call, call.admin.broker.management.users.list()),
  },
  {
    method: "GET",
    path: "/api/user-limits/{user}",
    summary: "The limits of a user.",
    role: "admin",
    handler: (call) => limits(call, [userOf(call)]),
  },
  {
    method: "PUT",
    path: "/api/user-limits/{user}/{limit}",
    summary: "Sets max-connections or max-channels: {value}; a negative one lifts it.",
    role: "admin",
    handler: async (call) => {
      const value = optionalInteger(await call.object(), "value");
      return limit(call, value === undefined || value < 0 ? undefined : value);
    },
  },
  {
    method: "DELETE",
    path: "/api/user-limits/{user}/{limit}",
    summary: "Lifts a limit.",
    role: "admin",
    handler: (call) => limit(call, undefined),
  },
];

function listed(call: Call, items: readonly UserView[]): Answer {
  return listOf(call, { items, name: ({ name }) => name, show: userJson });
}

/** Throws "not-found". */
function userOf(call: Call): UserView {
  const user = call.admin.broker.management.users.get(call.parameter("user"));
  if (user === undefined) throw new BrokerError("not-found", "Not Found");
  return user;
}

function userJson(user: UserView): Readonly<Record<string, unknown>> {
  return { name: user.name, tags: user.tags, limits: limitsJson(user) };
}

function limitsJson({ limits: { maxConnections, maxChannels } }: UserView): Readonly<Record<string, unknown>> {
  return {
    ...(maxConnections === undefined ? {} : { "max-connections": maxConnections }),
    ...(maxChannels === undefined ? {} : { "max-channels": maxChannels }),
  };
}

/** As in RabbitMQ, tags must be there, and a user without any password has none to log in with. */
async function put(call: Call): Promise<Answer> {
  const body = await call.object();
  const tags = optionalWords(body, "tags");
  if (tags === undefined) throw new DecodeError("tags are missing");
  const { users, committed } = call.admin.broker.management;
  const { isNew } = await users.put(call.actor, call.parameter("user"), { tags, ...secretOf(body) });
  await committed();
  return isNew ? CREATED : NO_CONTENT;
}

function secretOf(body: Body) {
  const hash = optionalText(body, "password_hash");
  const algorithm = optionalText(body, "hashing_algorithm");
  if (hash !== undefined) {
    return { passwordHash: hash, ...(algorithm === undefined ? {} : { hashingAlgorithm: algorithm }) };
  }
  return { password: optionalText(body, "password") ?? "" };
}

function limits(call: Call, users: readonly UserView[]): Answer {
  const found = users.map((user) => ({ user: user.name, value: limitsJson(user) }));
  const items = found.filter(({ value }) => Object.keys(value).length > 0);
  return listOf(call, { items, name: ({ user }) => user, show: (item) => item });
}

async function limit(call: Call, value: number | undefined): Promise<Answer> {
  const name = call.parameter("limit");
  if (name !== "max-connections" && name !== "max-channels") {
    throw new BrokerError("precondition-failed", `there is no limit '${name}' of users`);
  }
  const { users, committed } = call.admin.broker.management;
  users.limit(call.actor, call.parameter("user"), { [LIMIT_NAMES[name]]: value });
  await committed();
  return NO_CONTENT;
}
