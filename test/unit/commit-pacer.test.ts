import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CommitPacer } from "../../src/queues/commit-pacer.ts";

/** A pacer that is ready to try a wait; returns how many commits it passed over before. */
function rest(pacer: CommitPacer): number {
  let commits = 0;
  while (!pacer.shouldWait(1)) {
    assert.ok(++commits <= 10_000, "the pacer tries a wait now and then");
  }
  return commits;
}

test("a wait is tried once in hundreds of small commits, so that trying costs next to nothing", () => {
  const pacer = new CommitPacer();
  assert.ok(rest(pacer) >= 500);
  pacer.waited(1);
  assert.ok(rest(pacer) >= 500, "a wait that gathered nothing is followed by a rest");
});

test("waits go on for as long as they gather messages", () => {
  const pacer = new CommitPacer();
  rest(pacer);
  for (let i = 0; i < 100; i++) {
    pacer.waited(1 + 2);
    assert.equal(pacer.shouldWait(1), true);
  }
  pacer.waited(1 + 1);
  assert.equal(pacer.shouldWait(1), false);
});

test("a group that was sealed during the wait, because it grew so large, counts as a gain", () => {
  const pacer = new CommitPacer();
  rest(pacer);
  assert.equal(pacer.shouldWait(3), true);
  pacer.waited(1);
  assert.equal(pacer.shouldWait(3), true);
});

test("large groups, and groups without messages, never wait", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(20), fc.nat(20)), { maxLength: 2000 }), (groups) => {
      const pacer = new CommitPacer();
      for (const [messages, later] of groups) {
        if (!pacer.shouldWait(messages)) continue;
        assert.ok(messages > 0 && messages < 8, `${messages} messages waited`);
        pacer.waited(later);
      }
    }),
    { numRuns: 100 },
  );
});
