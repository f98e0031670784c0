import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Confirms } from "../../src/protocols/amqp091/confirms.ts";
import { Unacked } from "../../src/protocols/amqp091/unacked.ts";

interface Entry {
  readonly tag: number;
  readonly queueId: number;
  readonly sequence: number;
  readonly consumer: number;
}

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("add" as const),
      skip: fc.nat({ max: 3 }),
      queueId: fc.nat({ max: 1 }),
      count: fc.nat({ max: 40 }),
    }),
    fc.record({ kind: fc.constant("one" as const), pick: fc.nat() }),
    fc.record({ kind: fc.constant("upTo" as const), pick: fc.nat() }),
  ),
  { maxLength: 60 },
);

test("unacked deliveries agree with a plain map under any sequence of deliveries and acks", () => {
  fc.assert(
    fc.property(steps, (plan) => {
      const model: Entry[] = [];
      const consumers: number[] = [];
      const unacked = new Unacked((consumer) => consumers.push(consumer));
      let tag = 0;
      let sequence = 0;
      for (const step of plan) {
        consumers.length = 0;
        const taken: Entry[] = [];
        const visit = (queueId: number, lane: number, first: number, last: number): void => {
          assert.equal(lane, 3);
          for (let one = first; one <= last; one++) taken.push({ tag: 0, queueId, sequence: one, consumer: 0 });
        };
        let expected: Entry[] = [];
        if (step.kind === "add") {
          tag += step.skip;
          for (let i = 0; i < step.count; i++) {
            const entry = { tag: ++tag, queueId: step.queueId, sequence: ++sequence, consumer: tag % 5 };
            model.push(entry);
            unacked.add(entry.tag, entry.queueId, 3, entry.sequence, entry.consumer, 0);
          }
        } else if (model.length === 0 || step.pick % 7 === 0) {
          const unknown = tag + 1 + (step.pick % 3);
          assert.equal(step.kind === "one" ? unacked.takeOne(unknown, visit) : unacked.takeUpTo(unknown, visit), false);
        } else {
          const at = step.pick % model.length;
          const wanted = model[at]!.tag;
          expected = step.kind === "one" ? model.splice(at, 1) : model.splice(0, at + 1);
          assert.equal(step.kind === "one" ? unacked.takeOne(wanted, visit) : unacked.takeUpTo(wanted, visit), true);
          assert.equal(unacked.has(wanted), false);
        }
        assert.deepEqual(
          taken.map(({ queueId, sequence: one }) => [queueId, one]),
          expected.map(({ queueId, sequence: one }) => [queueId, one]),
        );
        assert.deepEqual(
          consumers,
          expected.map(({ consumer }) => consumer),
        );
        assert.equal(unacked.count, model.length);
        for (const entry of model) assert.equal(unacked.has(entry.tag), true);
      }
    }),
    { numRuns: 300 },
  );
});

test("one message that is never acked does not make the window grow with the traffic behind it", () => {
  const unacked = new Unacked(() => undefined);
  unacked.add(1, 1, 0, 1, 0, 0);
  for (let tag = 2; tag < 200_000; tag++) {
    unacked.add(tag, 1, 0, tag, 0, 0);
    if (tag > 12)
      assert.equal(
        unacked.takeOne(tag - 10, () => undefined),
        true,
      );
  }
  assert.equal(unacked.has(1), true);
  assert.ok((unacked as unknown as { tags: Float64Array }).tags.length <= 64, "the arrays stayed small");
});

test("confirms come in order, once each, never before their commit, and all of them in the end", () => {
  const kind = fc.constantFrom("persistent", "transient", "rejected");
  const publishes = fc.array(fc.record({ kind, commit: fc.nat({ max: 3 }) }), { maxLength: 200 });
  fc.assert(
    fc.property(publishes, (plan) => {
      const confirms = new Confirms();
      const positions: number[] = [];
      let open = 1;
      let committed = 0;
      let confirmed = 0;
      const check = (): void => {
        confirms.advance(committed);
        while (confirms.next()) {
          const { tag, multiple, rejected } = confirms;
          assert.ok(tag > confirmed && tag <= positions.length);
          assert.equal(multiple, tag - confirmed > 1);
          for (let number = 1; number <= tag; number++)
            assert.ok(positions[number - 1]! <= committed, "durable before it is confirmed");
          for (let number = confirmed + 1; number <= tag; number++)
            assert.equal(positions[number - 1]! < 0, rejected, "each publish gets its own answer");
          confirmed = tag;
        }
        assert.equal(confirms.unanswered, positions.length - confirmed);
      };
      for (const { kind: one, commit } of plan) {
        const position = one === "persistent" ? open : one === "transient" ? 0 : -1;
        positions.push(position);
        confirms.note(position);
        if (commit === 1) open++;
        if (commit === 2) {
          committed = open;
          open++;
        }
        check();
      }
      committed = open;
      check();
      assert.equal(confirmed, positions.length);
      assert.equal(confirms.waiting, false);
    }),
    { numRuns: 300 },
  );
});
