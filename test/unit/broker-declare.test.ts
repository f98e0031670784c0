import type { FieldValue } from "../../src/model/field-table.ts";
import assert from "node:assert/strict";
import { test } from "node:test";
import { binding, exchange, openBench, publish, queue, reached, refuses } from "./broker-fixtures.ts";

const ALWAYS = { ifUnused: false, ifEmpty: false };

test("a queue that is declared again must be declared the same", async () => {
  const { broker, session } = await openBench();
  broker.declareQueue(session, queue("q", { arguments: new Map([["x-queue-mode", "lazy"]]) }));
  const again = new Map<string, string>([
    ["x-queue-mode", "lazy"],
    ["x-queue-type", "classic"],
    ["x-anything", "new"],
  ]);
  assert.deepEqual(broker.declareQueue(session, queue("q", { arguments: again })), {
    name: "q",
    messageCount: 0,
    consumerCount: 0,
  });
  const start = "inequivalent arg";
  const lazy = new Map([["x-queue-mode", "lazy"]]);
  const failed = "precondition-failed";
  refuses(
    () => broker.declareQueue(session, queue("q", { durable: false })),
    failed,
    `${start} 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'`,
  );
  refuses(
    () => broker.declareQueue(session, queue("q", { autoDelete: true })),
    failed,
    `${start} 'auto_delete' for queue 'q' in vhost '/': received 'true' but current is 'false'`,
  );
  refuses(
    () => broker.declareQueue(session, queue("q", { arguments: new Map([...lazy, ["x-queue-type", "quorum"]]) })),
    failed,
    `${start} 'x-queue-type' for queue 'q' in vhost '/': received 'quorum' but current is 'classic'`,
  );
  refuses(
    () => broker.declareQueue(session, queue("q", { arguments: new Map([["x-queue-mode", "default"]]) })),
    failed,
    `${start} 'x-queue-mode' for queue 'q' in vhost '/': received 'default' but current is 'lazy'`,
  );
  refuses(
    () => broker.declareQueue(session, queue("q")),
    failed,
    `${start} 'x-queue-mode' for queue 'q' in vhost '/': received none but current is the value 'lazy' of type 'longstr'`,
  );
});

test("arguments are compared by value, whatever their width on the wire", async () => {
  const { broker, session } = await openBench();
  broker.declareQueue(session, queue("q", { arguments: new Map([["x-queue-version", 2]]) }));
  broker.declareQueue(session, queue("q", { arguments: new Map([["x-queue-version", 2n]]) }));
});

test("a passive declaration finds what is there and makes nothing", async () => {
  const { broker, session } = await openBench();
  refuses(() => broker.declareQueue(session, queue("q", { passive: true })), "not-found", "no queue 'q' in vhost '/'");
  broker.declareQueue(session, queue("q"));
  broker.declareQueue(session, queue("q", { passive: true, durable: false, autoDelete: true }));
  refuses(
    () => broker.declareExchange(session, exchange("x", "", { passive: true })),
    "not-found",
    "no exchange 'x' in vhost '/'",
  );
  broker.declareExchange(session, exchange("amq.topic", "nonsense", { passive: true }));
});

test("names that start with amq. and the default exchange belong to the broker", async () => {
  const { broker, session } = await openBench();
  const refused = "access-refused";
  const onDefault = "operation not permitted on the default exchange";
  refuses(
    () => broker.declareQueue(session, queue("amq.mine")),
    refused,
    "queue name 'amq.mine' contains reserved prefix 'amq.*'",
  );
  refuses(
    () => broker.declareExchange(session, exchange("amq.mine", "direct")),
    refused,
    "exchange name 'amq.mine' contains reserved prefix 'amq.*'",
  );
  refuses(
    () => broker.deleteExchange(session, "amq.topic", false),
    refused,
    "deletion of system exchange 'amq.topic' in vhost '/' not allowed",
  );
  broker.declareQueue(session, queue("q"));
  refuses(() => broker.bindQueue(session, binding("", "q")), refused, onDefault);
  refuses(() => broker.unbindQueue(session, binding("", "q")), refused, onDefault);
  refuses(() => broker.deleteExchange(session, "", false), refused, onDefault);
  refuses(() => broker.declareExchange(session, exchange("", "direct")), refused, onDefault);
  refuses(() => broker.declareExchange(session, exchange("", "direct", { passive: true })), refused, onDefault);
  broker.declareExchange(session, exchange("amq.topic", "topic"));
});

test("an exchange that is declared again must be declared the same", async () => {
  const { broker, session } = await openBench();
  broker.declareExchange(session, exchange("x", "direct"));
  broker.declareExchange(session, exchange("x", "direct"));
  const about = "for exchange 'x' in vhost '/': received";
  const cases = [
    [exchange("x", "fanout"), `inequivalent arg 'type' ${about} 'fanout' but current is 'direct'`],
    [exchange("x", "direct", { durable: false }), `inequivalent arg 'durable' ${about} 'false' but current is 'true'`],
    [
      exchange("x", "direct", { autoDelete: true }),
      `inequivalent arg 'auto_delete' ${about} 'true' but current is 'false'`,
    ],
    [exchange("x", "direct", { internal: true }), `inequivalent arg 'internal' ${about} 'true' but current is 'false'`],
    [exchange("y", "zzz"), "unknown exchange type 'zzz'"],
  ] as const;
  for (const [declaration, text] of cases) {
    refuses(() => broker.declareExchange(session, declaration), "precondition-failed", text);
  }
});

test("arguments with a value that means nothing are refused, harmless ones are kept", async () => {
  const { broker, session } = await openBench();
  const invalid: readonly (readonly [string, FieldValue, string])[] = [
    ["x-message-ttl", -1, "{value_negative,-1}"],
    ["x-message-ttl", "1000", '"expected integer, got longstr"'],
    ["x-expires", 0, "{value_zero,0}"],
    ["x-max-length", true, '"expected integer, got bool"'],
    ["x-max-length-bytes", -5, "{value_negative,-5}"],
    ["x-overflow", "spill", "invalid_overflow"],
    ["x-dead-letter-exchange", 1, "{unacceptable_type,signedint}"],
    ["x-dead-letter-routing-key", "key", "routing_key_but_no_dlx_defined"],
    ["x-max-priority", 256, "{max_value_exceeded,256}"],
    ["x-delivery-limit", "many", '"expected integer, got longstr"'],
    ["x-single-active-consumer", "yes", "{unacceptable_type,longstr}"],
    ["x-delayed-retry-type", "sometimes", "invalid_delayed_retry_type"],
    ["x-delayed-retry-jitter", 2, "{value_out_of_range,2}"],
    ["x-message-deduplication", 1, "{unacceptable_type,signedint}"],
  ];
  for (const [name, value, fault] of invalid) {
    refuses(
      () => broker.declareQueue(session, queue("q", { arguments: new Map([[name, value]]) })),
      "precondition-failed",
      `invalid arg '${name}' for queue 'q' in vhost '/': ${fault}`,
    );
  }
  refuses(
    () =>
      broker.declareExchange(
        session,
        exchange("x", "direct", { arguments: new Map([["x-message-deduplication", true]]) }),
      ),
    "precondition-failed",
    /^argument 'x-message-deduplication' .* is not available in this version/,
  );
  const harmless = new Map<string, string | number>([
    ["x-queue-mode", "lazy"],
    ["x-queue-version", 2],
    ["x-queue-leader-locator", "balanced"],
    ["x-max-in-memory-length", 5],
    ["x-quorum-initial-group-size", 3],
    ["x-unheard-of", "fine"],
  ]);
  broker.declareQueue(session, queue("q", { arguments: harmless }));
});

test("a queue type is classic or quorum; a quorum queue is durable, shared and named", async () => {
  const { broker, session } = await openBench();
  const typed = (type: string | number) => ({ arguments: new Map<string, string | number>([["x-queue-type", type]]) });
  const failed = "precondition-failed";
  const thing = "for queue 'q' in vhost '/'";
  refuses(
    () => broker.declareQueue(session, queue("q", typed("zzz"))),
    failed,
    `invalid arg 'x-queue-type' ${thing}: "unsupported queue type 'zzz'"`,
  );
  refuses(() => broker.declareQueue(session, queue("q", typed(1))), failed, /invalid arg 'x-queue-type'/);
  refuses(() => broker.declareQueue(session, queue("q", typed("stream"))), failed, /is not available in this version/);
  const quorum = typed("quorum");
  const cases = [
    [queue("q", { ...quorum, durable: false }), `invalid property 'non-durable' ${thing}`],
    [queue("q", { ...quorum, exclusive: true }), `invalid property 'exclusive-owner' ${thing}`],
    [queue("q", { ...quorum, autoDelete: true }), `invalid property 'auto-delete' ${thing}`],
    [queue("", quorum), "Cannot declare a server-named queue for type rabbit_quorum_queue"],
  ] as const;
  for (const [declaration, text] of cases) refuses(() => broker.declareQueue(session, declaration), failed, text);
  broker.declareQueue(session, queue("q", quorum));
  broker.declareQueue(session, queue("c", typed("classic")));
  const [q, c] = ["q", "c"].map((name) => broker.route(session, "", name, Buffer.of(0, 0)).queueIds[0] ?? 0);
  assert(q !== undefined && c !== undefined);
  assert(broker.countsDeliveries(q), "quorum queues count deliveries");
  assert(!broker.countsDeliveries(c));
});

test("a queue without a name gets one that nobody has", async () => {
  const bench = await openBench();
  const names = new Set<string>();
  for (let i = 0; i < 10; i++) {
    const { name } = bench.broker.declareQueue(bench.session, queue("", { durable: false, exclusive: true }));
    assert.match(name, /^amq\.gen-[A-Za-z0-9_-]{22}$/);
    names.add(name);
    assert.deepEqual(reached(bench, "", name), [name]);
  }
  assert.equal(names.size, 10);
});

test("a name is at most 255 bytes, and loses its line breaks", async () => {
  const { broker, session } = await openBench();
  refuses(() => broker.declareQueue(session, queue("é".repeat(128))), "precondition-failed", /256 bytes is too long/);
  assert.equal(broker.declareQueue(session, queue("a\r\nb")).name, "ab");
});

test("deleting what is not there is fine, deleting what is used is not if the client says so", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  assert.equal(broker.deleteQueue(session, "q", ALWAYS), 0);
  broker.deleteExchange(session, "x", true);
  broker.unbindQueue(session, binding("x", "q"));
  broker.declareExchange(session, exchange("x", "fanout"));
  broker.declareQueue(session, queue("q"));
  broker.unbindQueue(session, binding("x", "q"));
  broker.bindQueue(session, binding("x", "q"));
  refuses(() => broker.deleteExchange(session, "x", true), "precondition-failed", "exchange 'x' in vhost '/' in use");
  publish(bench, "", "q", "one");
  refuses(
    () => broker.deleteQueue(session, "q", { ifUnused: false, ifEmpty: true }),
    "precondition-failed",
    "queue 'q' in vhost '/' not empty",
  );
  assert.equal(broker.purgeQueue(session, "q"), 1);
  assert.equal(broker.deleteQueue(session, "q", { ifUnused: true, ifEmpty: true }), 0);
  broker.deleteExchange(session, "x", true);
  refuses(() => broker.purgeQueue(session, "q"), "not-found", "no queue 'q' in vhost '/'");
});

test("a binding needs both its ends, and exists once however often it is made", async () => {
  const bench = await openBench();
  const { broker, session } = bench;
  refuses(() => broker.bindQueue(session, binding("x", "q")), "not-found", "no exchange 'x' in vhost '/'");
  refuses(() => broker.bindQueue(session, binding("amq.direct", "q")), "not-found", "no queue 'q' in vhost '/'");
  broker.declareQueue(session, queue("q"));
  broker.bindQueue(session, binding("amq.direct", "q", "k", new Map([["a", 1]])));
  broker.bindQueue(session, binding("amq.direct", "q", "k", new Map([["a", 1]])));
  broker.bindQueue(session, binding("amq.direct", "q", "k"));
  assert.equal(broker.snapshotOverview().bindings.length, 2);
  broker.unbindQueue(session, binding("amq.direct", "q", "k", new Map([["a", 2]])));
  assert.equal(broker.snapshotOverview().bindings.length, 2, "other arguments, another binding");
  broker.unbindQueue(session, binding("amq.direct", "q", "k", new Map([["a", 1]])));
  assert.deepEqual(reached(bench, "amq.direct", "k"), ["q"]);
  broker.unbindQueue(session, binding("amq.direct", "q", "k"));
  assert.deepEqual(reached(bench, "amq.direct", "k"), []);
  refuses(
    () => broker.bindQueue(session, binding("amq.headers", "q", "", new Map([["x-match", "most"]]))),
    "precondition-failed",
    /Invalid x-match field value <<"most">>/,
  );
});

test("an auto-delete exchange goes with its last binding, and not before it had one", async () => {
  const { broker, session } = await openBench();
  const names = () =>
    broker
      .snapshotOverview()
      .exchanges.map(({ name }) => name)
      .filter((name) => name.startsWith("x"));
  broker.declareExchange(session, exchange("x1", "fanout", { autoDelete: true }));
  broker.declareExchange(session, exchange("x2", "fanout", { autoDelete: true }));
  broker.declareQueue(session, queue("q1"));
  broker.declareQueue(session, queue("q2"));
  assert.deepEqual(names(), ["x1", "x2"]);
  for (const to of ["q1", "q2"]) for (const from of ["x1", "x2"]) broker.bindQueue(session, binding(from, to));
  broker.bindQueue(session, binding("x1", "q1", "again"));
  broker.unbindQueue(session, binding("x1", "q1"));
  broker.unbindQueue(session, binding("x1", "q1", "again"));
  assert.deepEqual(names(), ["x1", "x2"]);
  broker.unbindQueue(session, binding("x1", "q2"));
  assert.deepEqual(names(), ["x2"]);
  broker.deleteQueue(session, "q1", ALWAYS);
  assert.deepEqual(names(), ["x2"]);
  broker.deleteQueue(session, "q2", ALWAYS);
  assert.deepEqual(names(), []);
});

test("an exchange keeps its alternate exchange, which a second declaration must repeat", async () => {
  const { broker, session } = await openBench();
  const declare = (value?: string | number) => {
    const args = new Map<string, string | number>(value === undefined ? [] : [["alternate-exchange", value]]);
    broker.declareExchange(session, exchange("x", "direct", { arguments: args }));
  };
  refuses(
    () => declare(1),
    "precondition-failed",
    "invalid type 'signedint' for arg 'alternate-exchange' in exchange 'x' in vhost '/'",
  );
  declare("y");
  declare("y");
  refuses(
    () => declare("z"),
    "precondition-failed",
    "inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received 'z' but current is 'y'",
  );
  refuses(() => declare(), "precondition-failed", /received none but current is the value 'y' of type 'longstr'$/);
});

test("a vhost that does not exist is refused", async () => {
  const { broker } = await openBench();
  refuses(() => broker.openSession("guest", "other"), "not-allowed", "vhost other not found");
  assert.equal(broker.openSession("guest", "/").vhost, "/");
});

test("guest logs in from this machine only, and nobody else does", async () => {
  const { broker } = await openBench();
  const accepted = async (user: string, password: string, peerIsLoopback: boolean): Promise<boolean> => {
    return (await broker.authenticate({ user, password, peerIsLoopback, peerHost: "192.0.2.1" })) !== undefined;
  };
  assert(await accepted("guest", "guest", true));
  assert(!(await accepted("guest", "guest", false)));
  assert(!(await accepted("guest", "wrong", true)));
  assert(!(await accepted("guest", "", true)));
  assert(!(await accepted("nobody", "", true)));
  assert(!(await accepted("__proto__", "guest", true)));
});
