// Permissions: which operation needs which, in RabbitMQ's rules and words; limits; roles.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NamePattern } from "../../src/broker/name-pattern.ts";
import { hasRole, roleOf } from "../../src/broker/access/roles.ts";
import type { ClientConnection, Session } from "../../src/broker/facade.ts";
import {
  binding,
  exchange,
  NO_PROPERTIES,
  openBench,
  queue,
  refuses,
  TestSink,
  type Bench,
} from "./broker-fixtures.ts";

const ADMIN = { user: "guest", tags: ["administrator"] };
const ALWAYS = { ifUnused: false, ifEmpty: false };
const CONSUME = { noAck: false, exclusive: false };

interface Patterns {
  readonly configure?: string;
  readonly write?: string;
  readonly read?: string;
}

/** A bench whose session is Ann's, with these rights; guest has made queue q and exchange x. */
async function asAnn(patterns: Patterns): Promise<Bench> {
  const bench = await openBench();
  const { broker } = bench;
  broker.declareQueue(bench.session, queue("q"));
  broker.declareExchange(bench.session, exchange("x", "direct"));
  broker.declareExchange(bench.session, exchange("t", "topic"));
  await broker.management.users.put(ADMIN, "ann", { password: "ann" });
  allow(bench, patterns);
  return { ...bench, session: broker.openSession("ann", "/") };
}

function allow({ broker }: Bench, { configure = "", write = "", read = "" }: Patterns): void {
  broker.management.users.putPermission(ADMIN, { vhost: "/", user: "ann", configure, write, read });
}

function refused(permission: string, kind: string, name: string): string {
  return `${permission} access to ${kind} '${name}' in vhost '/' refused for user 'ann'`;
}

type Operation = (bench: Bench["broker"], session: Session) => unknown;

/** The operations of a client, and all that each needs. */
const OPERATIONS: readonly { name: string; run: Operation; needs: [keyof Patterns, string, string][] }[] = [
  { name: "declare a queue", run: (b, s) => b.declareQueue(s, queue("n")), needs: [["configure", "queue", "n"]] },
  { name: "declare it again", run: (b, s) => b.declareQueue(s, queue("q")), needs: [["configure", "queue", "q"]] },
  {
    name: "declare a queue with dead letters",
    run: (b, s) => b.declareQueue(s, queue("n", { arguments: new Map([["x-dead-letter-exchange", "x"]]) })),
    needs: [
      ["configure", "queue", "n"],
      ["read", "queue", "n"],
      ["write", "exchange", "x"],
    ],
  },
  { name: "delete a queue", run: (b, s) => b.deleteQueue(s, "q", ALWAYS), needs: [["configure", "queue", "q"]] },
  { name: "purge a queue", run: (b, s) => b.purgeQueue(s, "q"), needs: [["read", "queue", "q"]] },
  { name: "consume", run: (b, s) => b.consume(s, "q", new TestSink(), CONSUME), needs: [["read", "queue", "q"]] },
  {
    name: "get",
    run: (b, s) => b.take(s, "q", true, new TestSink(), () => undefined),
    needs: [["read", "queue", "q"]],
  },
  {
    name: "declare an exchange",
    run: (b, s) => b.declareExchange(s, exchange("y", "direct")),
    needs: [["configure", "exchange", "y"]],
  },
  {
    name: "declare an exchange with an alternate",
    run: (b, s) => b.declareExchange(s, exchange("y", "direct", { arguments: new Map([["alternate-exchange", "x"]]) })),
    needs: [
      ["configure", "exchange", "y"],
      ["read", "exchange", "y"],
      ["write", "exchange", "x"],
    ],
  },
  {
    name: "delete an exchange",
    run: (b, s) => b.deleteExchange(s, "x", false),
    needs: [["configure", "exchange", "x"]],
  },
  {
    name: "bind a queue",
    run: (b, s) => b.bindQueue(s, binding("x", "q")),
    needs: [
      ["write", "queue", "q"],
      ["read", "exchange", "x"],
    ],
  },
  {
    name: "unbind a queue",
    run: (b, s) => b.unbindQueue(s, binding("x", "q")),
    needs: [
      ["write", "queue", "q"],
      ["read", "exchange", "x"],
    ],
  },
  {
    name: "bind an exchange",
    run: (b, s) => b.bindExchange(s, { exchange: "x", destination: "t", routingKey: "", arguments: new Map() }),
    needs: [
      ["write", "exchange", "t"],
      ["read", "exchange", "x"],
    ],
  },
  {
    name: "unbind an exchange",
    run: (b, s) => b.unbindExchange(s, { exchange: "x", destination: "t", routingKey: "", arguments: new Map() }),
    needs: [
      ["write", "exchange", "t"],
      ["read", "exchange", "x"],
    ],
  },
  { name: "publish", run: (b, s) => b.route(s, "x", "k", NO_PROPERTIES), needs: [["write", "exchange", "x"]] },
  {
    name: "publish to the default exchange",
    run: (b, s) => b.route(s, "", "q", NO_PROPERTIES),
    needs: [["write", "exchange", "amq.default"]],
  },
];

for (const { name, run, needs } of OPERATIONS) {
  test(`to ${name} takes ${needs.map(([permission, kind]) => `${permission} on the ${kind}`).join(", ")}`, async () => {
    const bench = await asAnn({});
    const patterns: { configure: string[]; write: string[]; read: string[] } = { configure: [], write: [], read: [] };
    for (const [permission, kind, thing] of needs) {
      refuses(() => run(bench.broker, bench.session), "access-refused", refused(permission, kind, thing));
      patterns[permission].push(thing.replace(".", "\\."));
      allow(bench, {
        configure: `^(${patterns.configure.join("|")})$`,
        write: `^(${patterns.write.join("|")})$`,
        read: `^(${patterns.read.join("|")})$`,
      });
    }
    run(bench.broker, bench.session);
  });
}

test("a passive declaration of a queue takes any permission on it", async () => {
  for (const permission of ["configure", "write", "read"] as const) {
    const bench = await asAnn({ [permission]: "^q$" });
    bench.broker.declareQueue(bench.session, queue("q", { passive: true }));
    const other = () => bench.broker.declareQueue(bench.session, queue("r", { passive: true }));
    refuses(other, "access-refused", refused("configure", "queue", "r"));
  }
});

test("a change of permissions holds at once, for sessions that are open and for routes that were kept", async () => {
  const bench = await asAnn({ write: "^x$" });
  const { broker, session } = bench;
  const { version } = broker.route(session, "x", "k", NO_PROPERTIES);
  allow(bench, {});
  assert.notEqual(broker.topologyVersion, version, "doors ask again");
  refuses(() => broker.route(session, "x", "k", NO_PROPERTIES), "access-refused", refused("write", "exchange", "x"));
  allow(bench, { write: "x" });
  broker.route(session, "x", "k", NO_PROPERTIES);
  broker.management.users.deletePermission(ADMIN, "/", "ann");
  broker.management.users.deletePermission(ADMIN, "/", "ann");
  refuses(() => broker.route(session, "x", "k", NO_PROPERTIES), "access-refused", refused("write", "exchange", "x"));
});

test("topic permissions narrow what is published to and bound from a topic exchange", async () => {
  const bench = await asAnn({ write: ".*", read: ".*" });
  const { broker, session } = bench;
  broker.route(session, "t", "anything", NO_PROPERTIES);
  broker.management.users.putTopicPermission(ADMIN, {
    vhost: "/",
    user: "ann",
    exchange: "t",
    write: "^{username}\\.",
    read: "^public\\.",
  });
  broker.route(session, "t", "ann.a", NO_PROPERTIES);
  const text = (permission: string, key: string) =>
    `${permission} access to topic '${key}' in exchange 't' in vhost '/' refused for user 'ann'`;
  const route = (key: string, copies: readonly string[] = []) => broker.route(session, "t", key, NO_PROPERTIES, copies);
  refuses(() => route("bob.a"), "access-refused", text("write", "bob.a"));
  refuses(() => route("ann.a", ["bob.a"]), "access-refused", text("write", "bob.a"));
  broker.bindQueue(session, binding("t", "q", "public.#"));
  refuses(() => broker.bindQueue(session, binding("t", "q", "#")), "access-refused", text("read", "#"));
  broker.route(session, "x", "bob.a", NO_PROPERTIES);
  broker.management.users.deleteTopicPermission(ADMIN, { vhost: "/", user: "ann" });
  route("bob.a");
});

test("a user without any permission in a vhost does not enter it, and one who is deleted is put out", async () => {
  const bench = await openBench();
  const { broker } = bench;
  await broker.management.users.put(ADMIN, "ann", {});
  refuses(() => broker.openSession("ann", "/"), "not-allowed", "access to vhost '/' refused for user 'ann'");
  allow(bench, {});
  const reasons: string[] = [];
  const session = broker.openSession(
    "ann",
    "/",
    client((reason) => void reasons.push(reason)),
  );
  broker.management.users.delete(ADMIN, "ann");
  assert.deepEqual(reasons, ["user 'ann' is deleted"]);
  refuses(() => broker.declareQueue(session, queue("n")), "access-refused", refused("configure", "queue", "n"));
  assert.deepEqual(
    broker.management.users.permissions().map(({ user }) => user),
    ["guest"],
  );
});

function client(close: (reason: string) => void, channels = 0): ClientConnection {
  const channel = { prefetch: 0, globalPrefetch: 0, unacked: 0, unconfirmed: 0, confirm: false, transactional: false };
  return {
    protocol: "AMQP 0-9-1",
    peerHost: "",
    peerPort: 0,
    host: "",
    port: 0,
    encrypted: false,
    clientProperties: new Map(),
    connectedAtMs: 0,
    channelMax: 0,
    frameBytesMax: 0,
    heartbeatS: 0,
    receivedBytes: 0,
    sentBytes: 0,
    channels: () => Array.from({ length: channels }, (_, i) => ({ number: i + 1, consumers: [], ...channel })),
    close,
  };
}

test("limits of vhosts and users hold for connections, channels and queues, and survive a restart", async () => {
  const first = await openBench();
  const { vhosts, users } = first.broker.management;
  vhosts.put(ADMIN, "v", {});
  vhosts.limit(ADMIN, "v", { maxConnections: 2, maxQueues: 1 });
  await users.put(ADMIN, "ann", {});
  for (const vhost of ["/", "v"])
    users.putPermission(ADMIN, { vhost, user: "ann", configure: ".*", write: "", read: "" });
  users.limit(ADMIN, "ann", { maxConnections: 1, maxChannels: 3 });
  first.turn.run();
  for (const restarted of [false, true]) {
    const { broker } = restarted ? await first.crash() : first;
    const ann = broker.openSession(
      "ann",
      "v",
      client(() => undefined, 2),
    );
    refuses(
      () => broker.openSession("ann", "/"),
      "not-allowed",
      "connection refused for user 'ann': user connection limit (1) is reached",
    );
    broker.openSession("guest", "v");
    refuses(
      () => broker.openSession("guest", "v"),
      "not-allowed",
      "access to vhost 'v' refused for user 'guest': connection limit (2) is reached",
    );
    broker.checkChannelLimit(ann);
    broker.closeSession(ann);
    const busy = broker.openSession(
      "ann",
      "v",
      client(() => undefined, 3),
    );
    refuses(
      () => broker.checkChannelLimit(busy),
      "not-allowed",
      "number of channels opened for user 'ann' has reached the maximum allowed user limit of 3",
    );
    broker.declareQueue(busy, queue("one", { exclusive: true }));
    refuses(
      () => broker.declareQueue(busy, queue("two")),
      "precondition-failed",
      "cannot declare queue 'two': queue limit in vhost 'v' (1) is reached",
    );
    broker.management.vhosts.limit(ADMIN, "v", { maxQueues: undefined });
    broker.declareQueue(busy, queue("two", { exclusive: true }));
    broker.management.vhosts.limit(ADMIN, "v", { maxQueues: 1 });
  }
});

test("an impersonator may set another user's name on its messages", async () => {
  const { broker, session } = await openBench();
  assert(!session.mayImpersonate);
  await broker.management.users.put(ADMIN, "guest", { tags: ["administrator", "impersonator"] });
  assert(session.mayImpersonate);
});

test("tags are roles: only administrators change users, vhosts and permissions", async () => {
  assert.deepEqual([["administrator"], ["management", "policymaker"], ["monitoring"], ["other"], []].map(roleOf), [
    "admin",
    "operator",
    "viewer",
    undefined,
    undefined,
  ]);
  assert(hasRole({ user: "", tags: ["policymaker"] }, "viewer"));
  const { users, vhosts } = (await openBench()).broker.management;
  const actor = { user: "ann", tags: ["policymaker"] };
  const text = "user 'ann' needs the role 'admin' for this";
  await assert.rejects(users.put(actor, "x", {}), { code: "access-refused", message: text });
  const permission = { vhost: "/", user: "guest", configure: "", write: "", read: "" };
  for (const run of [
    () => users.delete(actor, "guest"),
    () => users.limit(actor, "guest", {}),
    () => users.putPermission(actor, permission),
    () => users.deletePermission(actor, "/", "guest"),
    () => users.putTopicPermission(actor, { ...permission, exchange: "t" }),
    () => users.deleteTopicPermission(actor, permission),
    () => vhosts.put(actor, "v", {}),
    () => vhosts.delete(actor, "/"),
    () => vhosts.limit(actor, "/", {}),
  ]) {
    refuses(run, "access-refused", text);
  }
});

test("what is granted or limited must make sense", async () => {
  const { users, vhosts } = (await openBench()).broker.management;
  const permission = { vhost: "/", user: "guest", configure: "", write: "", read: "" };
  const cases: [() => unknown, "not-found" | "precondition-failed", RegExp][] = [
    [() => users.putPermission(ADMIN, { ...permission, user: "x" }), "not-found", /^user 'x' does not exist$/],
    [() => users.putPermission(ADMIN, { ...permission, vhost: "x" }), "not-found", /^vhost 'x' does not exist$/],
    [() => users.putPermission(ADMIN, { ...permission, read: "(" }), "precondition-failed", /for 'read' '\('/],
    [() => users.putPermission(ADMIN, { ...permission, read: "a".repeat(4097) }), "precondition-failed", /4096 bytes/],
    [() => users.limit(ADMIN, "guest", { maxChannels: -1 }), "precondition-failed", /at least 0, not -1/],
    [() => vhosts.limit(ADMIN, "/", { maxQueues: 0.5 }), "precondition-failed", /not 0.5/],
    [() => vhosts.limit(ADMIN, "x", {}), "not-found", /^vhost 'x' does not exist$/],
    [() => users.delete(ADMIN, "x"), "not-found", /^user 'x' does not exist$/],
  ];
  for (const [run, code, message] of cases) refuses(run, code, message);
  await assert.rejects(users.put(ADMIN, "", {}), { code: "precondition-failed", message: "a user has a name" });
});

test("patterns run in linear time, and a leading ^(?!...) leaves names out as RabbitMQ's policies do", () => {
  const matches = (source: string, name: string) => NamePattern.compile(source, "the pattern").matches(name);
  const evil = "a".repeat(50_000);
  assert(!matches("^(a+)+$", `${evil}!`));
  for (const [source, yes, no] of [
    ["", ["", "x"], []],
    ["b", ["abc"], ["ac"]],
    ["^(?!amq\\.).*", ["orders", "xamq."], ["amq.topic"]],
    ["^(?!amq\\.)(?!x(y|z)[)]\\))\\w+", ["xy"], ["xz))", "amq.q"]],
    ["^(?!amq\\.)(?!dlq)", ["q"], ["dlq1", "amq.a"]],
  ] as const) {
    for (const name of yes) assert(matches(source, name), `${source} ${name}`);
    for (const name of no) assert(!matches(source, name), `${source} ${name}`);
  }
  for (const source of ["^(?!a|b)c|d", "(?=a)", "(?<!a)b", "(a)\\1", "a(?!b)", "^(?!a"]) {
    refuses(
      () => NamePattern.compile(source, "the pattern"),
      "precondition-failed",
      /^the pattern '.*' is not a regular expression that runs here: .*Look-around/,
    );
  }
});
