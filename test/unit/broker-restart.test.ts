import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { META_FORMAT } from "../../src/broker/meta-replay.ts";
import type { LogStore, LogWriter } from "../../src/log/log.ts";
import { BrokerError, StorageError } from "../../src/model/errors.ts";
import {
  binding,
  durableState,
  exchange,
  idOf,
  openBench,
  publish,
  queue,
  reached,
  refuses,
  TestSink,
  type Bench,
} from "./broker-fixtures.ts";

const SMALL = { runningBytes: 2000, startBytes: 500, partBytes: 300 };
const ALWAYS = { ifUnused: false, ifEmpty: false };

async function entryCount(store: LogStore): Promise<{ first: number; entries: number }> {
  const reader = await store.reader("meta");
  let entries = 0;
  for await (const batch of reader.read(1)) entries += batch.length;
  return { first: reader.bounds().first, entries };
}

/** Appends raw entries behind the broker's back, as damage or another version would leave them. */
async function appendRaw(store: LogStore, turn: Bench["turn"], texts: readonly string[]): Promise<void> {
  const ignore = () => undefined;
  const { writer } = await store.acquire("meta", "test", { onCommitted: ignore, onExtent: ignore, onSpace: ignore });
  for (const text of texts) writer.append([Buffer.from(text)]);
  turn.run();
  await writer.release();
}

test("durable queues, exchanges and bindings survive a restart, all others do not", async () => {
  const bench = await openBench();
  const { broker, session, turn } = bench;
  broker.declareExchange(session, exchange("x", "topic", { arguments: new Map([["note", 9007199254740993n]]) }));
  broker.declareExchange(session, exchange("tx", "topic", { durable: false }));
  broker.declareQueue(session, queue("q", { arguments: new Map([["x-queue-type", "quorum"]]) }));
  broker.declareQueue(session, queue("tq", { durable: false }));
  broker.declareQueue(session, queue("eq", { exclusive: true }));
  broker.bindQueue(session, binding("x", "q", "a.#", new Map([["k", Buffer.from([1, 255])]])));
  for (const [from, to] of [
    ["x", "tq"],
    ["tx", "q"],
    ["x", "eq"],
    ["amq.fanout", "q"],
  ] as const) {
    broker.bindQueue(session, binding(from, to, "t"));
  }
  turn.run();
  const expected = durableState(broker);
  const after = await bench.crash();
  assert.deepEqual(durableState(after.broker), expected);
  assert.equal(after.broker.snapshotOverview().queues.length, 1);
  assert.deepEqual(reached(after, "x", "a.b"), ["q"]);
  assert.deepEqual(reached(after, "x", "t"), []);
  assert.deepEqual(reached(after, "amq.fanout", ""), ["q"]);
  assert(after.broker.countsDeliveries(idOf(after.broker, after.session, "q")));
  refuses(() => reached(after, "tx", "t"), "not-found", "no exchange 'tx' in vhost '/'");
});

test("what was not committed before a crash never happened, and its queue in the shard is dropped", async () => {
  const bench = await openBench();
  bench.broker.declareQueue(bench.session, queue("kept"));
  bench.turn.run();
  bench.broker.declareQueue(bench.session, queue("lost"));
  const shard = bench.shard.afterRestart();
  assert.equal(shard.queues.size, 2);
  const after = await bench.crash(shard);
  assert.deepEqual(
    after.broker.snapshotOverview().queues.map(({ name }) => name),
    ["kept"],
  );
  assert.equal(shard.queues.size, 1);
});

test("a queue whose creation or deletion a crash cut off in the shard is created or deleted at the start", async () => {
  const bench = await openBench();
  const { broker, session, turn } = bench;
  for (const name of ["a", "b"]) broker.declareQueue(session, queue(name));
  const [a, b] = ["a", "b"].map((name) => idOf(broker, session, name));
  assert(a !== undefined && b !== undefined);
  const shard = bench.shard.afterRestart();
  broker.deleteQueue(session, "b", ALWAYS);
  turn.run();
  shard.deleteQueue(a);
  assert(shard.hasQueue(b), "the shard did not hear of the deletion");
  const after = await bench.crash(shard);
  assert(shard.hasQueue(a));
  assert(!shard.hasQueue(b));
  assert.equal(publish(after, "", "a", "works"), shard.openPosition);
});

test("a queue id is never given out twice, not even that of a transient queue before a restart", async () => {
  let bench = await openBench();
  const used = new Set<number>();
  for (let round = 0; round < 4; round++) {
    for (let i = 0; i < 3; i++) {
      const durable = i === 1;
      bench.broker.declareQueue(bench.session, queue(`${round}-${i}`, { durable }));
      const id = idOf(bench.broker, bench.session, `${round}-${i}`);
      assert(!used.has(id), `id ${id} is new`);
      used.add(id);
    }
    bench.turn.run();
    bench = await bench.crash();
  }
  assert.equal(used.size, 12);
});

test("an auto-delete queue or exchange that is idle survives a restart", async () => {
  const bench = await openBench();
  const { broker, session, turn } = bench;
  broker.declareQueue(session, queue("q", { autoDelete: true }));
  broker.declareExchange(session, exchange("x", "fanout", { autoDelete: true }));
  broker.declareQueue(session, queue("t", { durable: false }));
  broker.bindQueue(session, binding("x", "t"));
  turn.run();
  const after = await bench.crash();
  assert.deepEqual(reached(after, "x", ""), []);
  after.broker.consume(after.session, "q", new TestSink(), { noAck: false, exclusive: false }).cancel();
  after.turn.run();
  const again = await after.crash();
  assert.deepEqual(again.broker.snapshotOverview().queues, []);
});

const step = fc.record({
  kind: fc.constantFrom("queue", "exchange", "bind", "unbind", "drop-queue", "drop-exchange", "commit", "crash"),
  queue: fc.nat(4),
  exchange: fc.nat(3),
  key: fc.constantFrom("", "a", "a.*"),
  durable: fc.boolean(),
  autoDelete: fc.boolean(),
});

function apply({ broker, session }: Bench, each: typeof step extends fc.Arbitrary<infer T> ? T : never): void {
  const { durable, autoDelete, key } = each;
  const q = `q${each.queue}`;
  const x = `x${each.exchange}`;
  switch (each.kind) {
    case "queue":
      broker.declareQueue(session, queue(q, { durable, autoDelete, arguments: new Map([["x-note", key]]) }));
      break;
    case "exchange":
      broker.declareExchange(session, exchange(x, "topic", { durable, autoDelete }));
      break;
    case "bind":
      broker.bindQueue(session, binding(x, q, key));
      break;
    case "unbind":
      broker.unbindQueue(session, binding(x, q, key));
      break;
    case "drop-queue":
      broker.deleteQueue(session, q, ALWAYS);
      break;
    case "drop-exchange":
      broker.deleteExchange(session, x, false);
      break;
  }
}

test("after any history, snapshots and crashes included, exactly the committed durable state is there", async () => {
  let crashes = 0;
  const steps = fc.array(step, { minLength: 20, maxLength: 150 });
  await fc.assert(
    fc.asyncProperty(steps, async (history) => {
      let bench = await openBench({ limits: SMALL, extentBytes: 1000 });
      let committed = durableState(bench.broker);
      for (const each of history) {
        if (each.kind === "commit") {
          bench.turn.run();
          committed = durableState(bench.broker);
        } else if (each.kind === "crash") {
          crashes++;
          bench = await bench.crash();
          assert.deepEqual(durableState(bench.broker), committed);
        } else {
          try {
            apply(bench, each);
          } catch (error) {
            if (!(error instanceof BrokerError)) throw error;
          }
        }
      }
    }),
    { numRuns: 150 },
  );
  assert(crashes > 100, "the histories contain crashes");
});

test("the meta log stays small: snapshots take the place of what came before", async () => {
  const bench = await openBench({ limits: SMALL, extentBytes: 1000 });
  const { broker, session, turn } = bench;
  broker.declareQueue(session, queue("q"));
  for (let i = 0; i < 500; i++) {
    broker.bindQueue(session, binding("amq.topic", "q", `key.${i}`));
    broker.unbindQueue(session, binding("amq.topic", "q", `key.${i}`));
    turn.run();
  }
  broker.bindQueue(session, binding("amq.topic", "q", "last"));
  turn.run();
  const { first, entries } = await entryCount(bench.store);
  assert(first > 500, `the log starts at ${first}`);
  assert(entries < 100, `${entries} entries are left`);
  const after = await bench.crash();
  assert.deepEqual(reached(after, "amq.topic", "last"), ["q"]);
  assert.equal(after.broker.snapshotOverview().bindings.length, 1);
});

test("what lies before a snapshot is freed only once its last part is committed", async () => {
  const { store: inner, turn } = await openBench();
  const lastParts: number[] = [];
  const frees: { readonly to: number; readonly announced: number }[] = [];
  let announced = 0;
  const acquire: LogStore["acquire"] = async (id, owner, events) => {
    const result = await inner.acquire(id, owner, {
      ...events,
      // Entry by entry, as an engine does whose commits are smaller than a snapshot.
      onCommitted: (position) => {
        while (announced < position) events.onCommitted(++announced);
      },
    });
    announced = result.writer.committed;
    const writer: LogWriter = Object.create(result.writer, {
      committed: { get: () => announced },
      next: { get: () => result.writer.next },
      ended: { value: result.writer.ended },
      append: {
        value: (parts: readonly Buffer[]) => {
          const position = result.writer.append(parts);
          if (Buffer.concat(parts).includes('"last":true')) lastParts.push(position);
          return position;
        },
      },
      free: { value: (_from: number, to: number) => frees.push({ to, announced }) },
    });
    return { ...result, writer };
  };
  const { broker, session } = await openBench({ limits: SMALL, store: { ...inner, acquire }, turn });
  for (let i = 0; i < 40; i++) broker.declareQueue(session, queue(`q${i}`));
  turn.run();
  assert(frees.length > 0);
  for (const { to, announced: at } of frees) {
    const last = lastParts.find((position) => position >= to) ?? Number.POSITIVE_INFINITY;
    assert(last > to, "the snapshot has several parts");
    assert(at >= last, `freed up to ${to} at ${at}, before ${last} was committed`);
  }
});

test("a large state is cut into parts, and a snapshot without its last part counts for nothing", async () => {
  const bench = await openBench({ limits: { ...SMALL, runningBytes: 1e9, startBytes: 1e9 } });
  for (let i = 0; i < 50; i++) bench.broker.declareQueue(bench.session, queue(`q${i}`));
  bench.turn.run();
  const expected = durableState(bench.broker);
  const cut = `{"format":${META_FORMAT},"snapshot":{"part":0,"last":false},"effects":[]}`;
  await bench.broker.close();
  await appendRaw(bench.store, bench.turn, [cut]);
  const after = await bench.crash();
  assert.deepEqual(durableState(after.broker), expected);
});

test("a meta log of a newer format, or without a beginning, is refused with a sentence", async () => {
  const cases = [
    ['{"format":99,"effects":[]}', /it has format 99, this version reads up to 2; start a newer version/],
    ["no json", /meta log entry 2 cannot be applied/],
    ['{"format":1,"effects":[{"kind":"queue-deleted","id":5}]}', /a deleted queue exists/],
    ['{"format":1,"effects":[{"kind":"what"}]}', /unknown kind of effect: what/],
    ['{"format":1,"effects":[{"kind":"exchange-deleted"}]}', /name is not a string/],
    ['{"format":1}', /an entry has a format and effects/],
  ] as const;
  for (const [text, expected] of cases) {
    const bench = await openBench();
    await bench.broker.close();
    await appendRaw(bench.store, bench.turn, [text]);
    // The entry comes behind two epoch entries, one of the broker's and one of the writer above, and guest.
    const pattern = text === "no json" ? /meta log entry 4 cannot be applied/ : expected;
    await assert.rejects(bench.crash(), (error) => {
      assert(error instanceof StorageError);
      assert.equal(error.kind, "damaged");
      assert.match(error.message, pattern);
      return true;
    });
  }
});

test("once the meta log has failed, nothing is accepted any more", async () => {
  const bench = await openBench();
  const { broker, session, store, turn } = bench;
  broker.declareQueue(session, queue("q"));
  const exclusive = broker.openSession("guest", "/");
  broker.declareQueue(exclusive, queue("mine", { exclusive: true }));
  turn.run();
  const route = broker.route(session, "", "q", Buffer.of(0, 0));
  const ignore = () => undefined;
  await store.acquire("meta", "another broker", { onCommitted: ignore, onExtent: ignore, onSpace: ignore });
  const declare = () => broker.declareQueue(session, queue("r"));
  refuses(declare, "unavailable", /^storage has failed \(.*another broker.*\); nothing is accepted until a restart$/);
  assert.equal((await broker.ended)?.kind, "fenced");
  const attempts = [
    declare,
    () => broker.publish(undefined as never, route),
    () => broker.purgeQueue(session, "q"),
    () => broker.deleteExchange(session, "nothing", false),
    () => broker.consume(session, "q", new TestSink(), { noAck: true, exclusive: false }),
    () => broker.openSession("guest", "/"),
  ];
  for (const attempt of attempts) refuses(attempt, "unavailable", /^storage has failed/);
  broker.closeSession(exclusive);
});
