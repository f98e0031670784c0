// Queues, exchanges, bindings, vhosts, users, permissions, policies and connections of the running broker.

import { addUserOffline } from "./data-verbs.ts";
import { printObject, printRows, type Row } from "./output.ts";
import { pathOf, RemoteBroker } from "./remote-broker.ts";
import { secretOf } from "./secret.ts";
import { CliError, EXIT, type FlagSpec, type ParsedArguments, type Verb } from "./verb.ts";

const DRY_RUN: FlagSpec = { name: "dry-run", help: "say what would happen, and do nothing" };
const ARGUMENT: FlagSpec = {
  name: "argument",
  short: "a",
  value: "NAME=VALUE",
  help: "an argument; VALUE is JSON where it can be, else text; may be repeated",
};
const TRANSIENT: FlagSpec = { name: "transient", help: "does not survive a restart" };

type Run = (broker: RemoteBroker, args: ParsedArguments) => Promise<void>;

/** A verb that talks to the broker and is done. */
function remote(name: string, spec: Omit<Verb, "name" | "run" | "remote">, run: Run): Verb {
  return {
    ...spec,
    name,
    remote: true,
    run: async (args) => {
      await run(new RemoteBroker(args), args);
      return EXIT.ok;
    },
  };
}

/** A verb that takes something away: with --dry-run it only tells, and fails where the thing is missing. */
function destructive(
  name: string,
  spec: Omit<Verb, "name" | "run" | "remote">,
  plan: (broker: RemoteBroker, args: ParsedArguments) => { readonly look: string; readonly remove: string },
): Verb {
  return remote(name, { ...spec, flags: [...(spec.flags ?? []), DRY_RUN] }, async (broker, args) => {
    const { look, remove } = plan(broker, args);
    const found = (await broker.get(look)) as Row;
    if (args.has("dry-run")) {
      const count = typeof found.messages === "number" ? `, with ${found.messages} messages` : "";
      say(`would ${name}: ${args.words.join(" ")}${count}`);
      return;
    }
    await broker.delete(remove);
    say(`done: ${name} ${args.words.join(" ")}`);
  });
}

/** Lists what `path` answers, with these columns. */
function lister(
  name: string,
  summary: string,
  path: (broker: RemoteBroker, args: ParsedArguments) => string,
  columns: readonly string[],
): Verb {
  return remote(name, { summary }, async (broker, args) => {
    const found = await broker.list(path(broker, args));
    const pick = (row: Record<string, unknown>): Row => Object.fromEntries(columns.map((c) => [c, row[c] as string]));
    printRows(broker.format === "json" ? (found as Row[]) : found.map(pick), broker.format);
  });
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

function word(args: ParsedArguments, index = 0): string {
  return args.words[index] ?? "";
}

/** "NAME=VALUE" pairs as an object. */
function argumentsOf(args: ParsedArguments): Record<string, unknown> {
  return Object.fromEntries(args.all("argument").map((pair) => splitPair(pair)));
}

function splitPair(pair: string): [string, unknown] {
  const at = pair.indexOf("=");
  if (at < 1) throw new CliError(EXIT.usage, `"${pair}" is not NAME=VALUE`);
  return [pair.slice(0, at), jsonOrText(pair.slice(at + 1))];
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // What is no JSON is meant as text.
    return text;
  }
}

const QUEUE_COLUMNS = ["name", "type", "durable", "messages_ready", "messages_unacknowledged", "consumers"];

const queue = (broker: RemoteBroker, args: ParsedArguments): string => `/api/queues${pathOf(broker.vhost, word(args))}`;

const QUEUE_VERBS: readonly Verb[] = [
  lister("queue list", "lists the queues of the vhost", (b) => `/api/queues${pathOf(b.vhost)}`, QUEUE_COLUMNS),
  remote("queue show", { words: "NAME", summary: "shows one queue" }, async (broker, args) => {
    printObject((await broker.get(queue(broker, args))) as Row, broker.format);
  }),
  remote(
    "queue declare",
    {
      words: "NAME",
      summary: "declares a queue",
      flags: [{ name: "quorum", help: "of quorum type" }, TRANSIENT, ARGUMENT],
    },
    async (broker, args) => {
      const given = { ...argumentsOf(args), ...(args.has("quorum") ? { "x-queue-type": "quorum" } : {}) };
      await broker.put(queue(broker, args), { durable: !args.has("transient"), arguments: given });
      say(`queue ${word(args)} is there`);
    },
  ),
  destructive("queue delete", { words: "NAME", summary: "deletes a queue with its messages" }, (broker, args) => {
    return { look: queue(broker, args), remove: queue(broker, args) };
  }),
  destructive("queue purge", { words: "NAME", summary: "drops the ready messages of a queue" }, (broker, args) => {
    return { look: queue(broker, args), remove: `${queue(broker, args)}/contents` };
  }),
];

const exchange = (broker: RemoteBroker, args: ParsedArguments): string =>
  `/api/exchanges${pathOf(broker.vhost, word(args))}`;

const EXCHANGE_VERBS: readonly Verb[] = [
  lister("exchange list", "lists the exchanges of the vhost", (b) => `/api/exchanges${pathOf(b.vhost)}`, [
    "name",
    "type",
    "durable",
    "auto_delete",
    "internal",
  ]),
  remote(
    "exchange declare",
    { words: "NAME TYPE", summary: "declares an exchange", flags: [TRANSIENT, ARGUMENT] },
    async (broker, args) => {
      const body = { type: word(args, 1), durable: !args.has("transient"), arguments: argumentsOf(args) };
      await broker.put(exchange(broker, args), body);
      say(`exchange ${word(args)} is there`);
    },
  ),
  destructive("exchange delete", { words: "NAME", summary: "deletes an exchange" }, (broker, args) => {
    return { look: exchange(broker, args), remove: exchange(broker, args) };
  }),
];

const KEY: FlagSpec = { name: "key", value: "KEY", help: "routing key [empty]" };
const TO_EXCHANGE: FlagSpec = { name: "to-exchange", help: "DESTINATION is an exchange, not a queue" };

function bindingPath(broker: RemoteBroker, args: ParsedArguments): string {
  const kind = args.has("to-exchange") ? "e" : "q";
  return `/api/bindings${pathOf(broker.vhost, "e", word(args), kind, word(args, 1))}`;
}

const BINDING_VERBS: readonly Verb[] = [
  lister("binding list", "lists the bindings of the vhost", (b) => `/api/bindings${pathOf(b.vhost)}`, [
    "source",
    "destination_type",
    "destination",
    "routing_key",
  ]),
  remote(
    "binding add",
    { words: "EXCHANGE DESTINATION", summary: "binds a queue to an exchange", flags: [KEY, TO_EXCHANGE, ARGUMENT] },
    async (broker, args) => {
      const body = { routing_key: args.text("key") ?? "", arguments: argumentsOf(args) };
      await broker.post(bindingPath(broker, args), body);
      say(`${word(args, 1)} is bound to ${word(args)}`);
    },
  ),
  remote(
    "binding delete",
    { words: "EXCHANGE DESTINATION", summary: "takes a binding away", flags: [KEY, TO_EXCHANGE, DRY_RUN] },
    async (broker, args) => {
      const key = args.text("key") ?? "";
      const all = await broker.list(bindingPath(broker, args));
      const found = all.filter((binding) => binding.routing_key === key);
      if (found.length === 0) throw new CliError(EXIT.failed, `there is no such binding with the key "${key}"`);
      for (const { properties_key: properties } of found) {
        if (!args.has("dry-run")) await broker.delete(`${bindingPath(broker, args)}${pathOf(String(properties))}`);
      }
      say(`${args.has("dry-run") ? "would take away" : "took away"} ${found.length} bindings`);
    },
  ),
];

const VHOST_VERBS: readonly Verb[] = [
  lister("vhost list", "lists the vhosts", () => "/api/vhosts", ["name", "description", "messages"]),
  remote("vhost add", { words: "NAME", summary: "makes a vhost" }, async (broker, args) => {
    await broker.put(`/api/vhosts${pathOf(word(args))}`, {});
    say(`vhost ${word(args)} is there`);
  }),
  destructive("vhost delete", { words: "NAME", summary: "deletes a vhost with everything in it" }, (_broker, args) => {
    const path = `/api/vhosts${pathOf(word(args))}`;
    return { look: path, remove: path };
  }),
];

const PASSWORD: FlagSpec = {
  name: "new-password-file",
  value: "FILE",
  help: "file whose first line is the user's password [or the variable QUAYSIDE_NEW_PASSWORD]",
};

const USER_VERBS: readonly Verb[] = [
  lister("user list", "lists the users", () => "/api/users", ["name", "tags"]),
  {
    name: "user add",
    words: "NAME",
    summary: "makes a user, or changes password and tags of one",
    more: [
      "With --data the user is written into a data folder that no broker runs on, with all permissions in the vhost /",
      "and as an administrator unless --tags says otherwise: so the first one is made.",
    ],
    flags: [
      PASSWORD,
      { name: "tags", value: "LIST", help: "administrator, monitoring, policymaker, management; commas between" },
      { name: "data", value: "DIR", help: "data folder; no broker may run on it" },
    ],
    remote: true,
    run: async (args) => {
      const tags = args.text("tags")?.split(",");
      if (args.has("data")) return addUserOffline(args, tags ?? ["administrator"]);
      const broker = new RemoteBroker(args);
      const password = secretOf(args, "new-password-file", "QUAYSIDE_NEW_PASSWORD");
      await broker.put(`/api/users${pathOf(word(args))}`, { password, tags: (tags ?? []).join(",") });
      say(`user ${word(args)} is there; permissions come from quayside permission set`);
      return EXIT.ok;
    },
  },
  destructive("user delete", { words: "NAME", summary: "deletes a user and ends its connections" }, (_broker, args) => {
    const path = `/api/users${pathOf(word(args))}`;
    return { look: path, remove: path };
  }),
  lister("permission list", "lists the permissions in the vhost", (b) => `/api/vhosts${pathOf(b.vhost)}/permissions`, [
    "user",
    "configure",
    "write",
    "read",
  ]),
  remote(
    "permission set",
    { words: "USER CONFIGURE WRITE READ", summary: "lets a user do what matches these patterns, in the vhost" },
    async (broker, args) => {
      const [user = "", configure, write, read] = args.words;
      await broker.put(`/api/permissions${pathOf(broker.vhost, user)}`, { configure, write, read });
      say(`permissions of ${user} in ${broker.vhost} are set`);
    },
  ),
  destructive("permission clear", { words: "USER", summary: "takes a user's permissions away" }, (broker, args) => {
    const path = `/api/permissions${pathOf(broker.vhost, word(args))}`;
    return { look: path, remove: path };
  }),
];

const APPLY: FlagSpec = { name: "apply-to", value: "KIND", help: "all, queues or exchanges [all]" };
const PRIORITY: FlagSpec = { name: "priority", value: "N", help: "the highest that matches counts [0]" };

const POLICY_VERBS: readonly Verb[] = [
  lister("policy list", "lists the policies of the vhost", (b) => `/api/policies${pathOf(b.vhost)}`, [
    "name",
    "pattern",
    "apply-to",
    "priority",
    "definition",
  ]),
  remote(
    "policy set",
    {
      words: "NAME PATTERN KEY=VALUE ...",
      summary: "sets a policy for the names that match",
      flags: [APPLY, PRIORITY],
    },
    async (broker, args) => {
      const [name = "", pattern, ...pairs] = args.words;
      const priority = Number(args.text("priority") ?? 0);
      const definition = Object.fromEntries(pairs.map(splitPair));
      const body = { pattern, definition, priority, "apply-to": args.text("apply-to") ?? "all" };
      await broker.put(`/api/policies${pathOf(broker.vhost, name)}`, body);
      say(`policy ${name} is set`);
    },
  ),
  remote(
    "policy safe-defaults",
    {
      words: "PATTERN",
      summary: "gives the queues that match retries with growing delays and a dead-letter queue of their own",
      more: ["Five attempts, delays from 1 s to 5 min with jitter, then `<queue>.dlq`."],
    },
    async (broker, args) => {
      const policy = await broker.put(`/v1/safe-defaults${pathOf(broker.vhost)}`, { pattern: word(args) });
      printObject(policy as Row, broker.format);
    },
  ),
  destructive("policy delete", { words: "NAME", summary: "deletes a policy" }, (broker, args) => {
    const path = `/api/policies${pathOf(broker.vhost, word(args))}`;
    return { look: path, remove: path };
  }),
];

const CONNECTION_VERBS: readonly Verb[] = [
  lister("connection list", "lists the clients", () => "/api/connections", ["name", "user", "vhost", "channels"]),
  destructive(
    "connection close",
    { words: "NAME", summary: "ends a client's connection; NAME as in quayside connection list" },
    (_broker, args) => {
      const path = `/api/connections${pathOf(word(args))}`;
      return { look: path, remove: path };
    },
  ),
];

export const TOPOLOGY_VERBS: readonly Verb[] = [
  ...QUEUE_VERBS,
  ...EXCHANGE_VERBS,
  ...BINDING_VERBS,
  ...VHOST_VERBS,
  ...USER_VERBS,
  ...POLICY_VERBS,
  ...CONNECTION_VERBS,
];
