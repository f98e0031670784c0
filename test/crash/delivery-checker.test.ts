// The checker must catch what it exists for: each test plants one broken promise, or one permitted
// oddity that must not be reported.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DeliveryChecker } from "./delivery-checker.ts";
import type { CheckedChannel, Delivery } from "./delivery-checker.ts";

const SLACK_MS = 20;

function world(): DeliveryChecker {
  const checker = new DeliveryChecker({ slackMs: SLACK_MS });
  checker.addQueue("classic", { countsDeliveries: false });
  checker.addQueue("other", { countsDeliveries: false });
  checker.addQueue("quorum", { countsDeliveries: true });
  return checker;
}

function publish(checker: DeliveryChecker, sequence: number, queues: readonly string[] = ["classic"]): void {
  const publication = { publisher: 1, sequence, queues, persistent: true };
  checker.published(publication);
  checker.confirmed(publication);
}

interface Seen {
  readonly sequence: number;
  readonly atMs: number;
  readonly redelivered?: boolean;
  readonly count?: number;
}

function deliver(checker: DeliveryChecker, channel: CheckedChannel, seen: Seen): void {
  const delivery: Delivery = {
    publisher: 1,
    sequence: seen.sequence,
    redelivered: seen.redelivered ?? false,
    deliveryCount: seen.count,
    atMs: seen.atMs,
  };
  checker.delivered(channel, delivery);
}

function ack(checker: DeliveryChecker, channel: CheckedChannel, seen: Seen): void {
  checker.acked(channel, { publisher: 1, sequence: seen.sequence });
  checker.ackSent(channel, { publisher: 1, sequence: seen.sequence }, seen.atMs);
}

function expectOne(checker: DeliveryChecker, pattern: RegExp): void {
  assert.equal(checker.violations.length, 1, checker.violations.join("\n"));
  assert.match(checker.violations[0] ?? "", pattern);
}

test("a confirmed message that never comes is reported as lost", () => {
  const checker = world();
  publish(checker, 1);
  assert.equal(checker.owed(), 1);
  checker.drained();
  expectOne(checker, /1:1 is lost/);
});

test("a confirmed message that was delivered, not acked, and is gone is reported as lost", () => {
  const checker = world();
  publish(checker, 1);
  deliver(checker, checker.channelOpened("classic"), { sequence: 1, atMs: 100 });
  checker.brokerKilled(200);
  checker.drained();
  expectOne(checker, /1:1 is lost: promised, delivered, never acked/);
});

test("an unconfirmed message may be lost, from a quorum queue that delivered it it may not", () => {
  const checker = world();
  checker.published({ publisher: 1, sequence: 1, queues: ["classic"], persistent: true });
  checker.published({ publisher: 1, sequence: 2, queues: ["quorum"], persistent: true });
  deliver(checker, checker.channelOpened("classic"), { sequence: 1, atMs: 100 });
  deliver(checker, checker.channelOpened("quorum"), { sequence: 2, atMs: 100 });
  checker.brokerKilled(200);
  checker.drained();
  expectOne(checker, /^quorum: message 1:2 is lost/);
});

test("an unconfirmed message that one queue of a fan-out has after a restart is owed by all of them", () => {
  const checker = world();
  checker.published({ publisher: 1, sequence: 1, queues: ["classic", "other"], persistent: true });
  checker.brokerKilled(100);
  const channel = checker.channelOpened("classic");
  deliver(checker, channel, { sequence: 1, atMs: 200 });
  ack(checker, channel, { sequence: 1, atMs: 201 });
  checker.drained();
  expectOne(checker, /^other: message 1:1 is lost/);
});

test("a transient message may be lost", () => {
  const checker = world();
  const publication = { publisher: 1, sequence: 1, queues: ["classic"], persistent: false };
  checker.published(publication);
  checker.confirmed(publication);
  checker.brokerKilled(100);
  checker.drained();
  assert.deepEqual(checker.violations, []);
});

test("a message that nobody published is reported", () => {
  const checker = world();
  deliver(checker, checker.channelOpened("classic"), { sequence: 7, atMs: 1 });
  expectOne(checker, /1:7 was never published/);
});

test("a message that two consumers hold at the same time is reported", () => {
  const checker = world();
  publish(checker, 1);
  deliver(checker, checker.channelOpened("classic"), { sequence: 1, atMs: 1 });
  deliver(checker, checker.channelOpened("classic"), { sequence: 1, atMs: 2, redelivered: true });
  expectOne(checker, /while another consumer held it/);
});

test("first deliveries out of a publisher's order are reported, repeats are not", () => {
  const checker = world();
  for (const sequence of [1, 2, 3]) publish(checker, sequence);
  const channel = checker.channelOpened("classic");
  deliver(checker, channel, { sequence: 2, atMs: 1 });
  checker.returned(channel, { publisher: 1, sequence: 2 });
  deliver(checker, channel, { sequence: 3, atMs: 2 });
  deliver(checker, channel, { sequence: 2, atMs: 3, redelivered: true });
  assert.deepEqual(checker.violations, []);
  deliver(checker, channel, { sequence: 1, atMs: 4 });
  expectOne(checker, /1:1 was first delivered after 3/);
});

test("a repeat without the redelivered mark is reported, unless the first came just before the kill", () => {
  const checker = world();
  publish(checker, 1);
  publish(checker, 2);
  const before = checker.channelOpened("classic");
  deliver(checker, before, { sequence: 1, atMs: 100 });
  deliver(checker, before, { sequence: 2, atMs: 195 });
  checker.brokerKilled(200);
  const after = checker.channelOpened("classic");
  deliver(checker, after, { sequence: 1, atMs: 300 });
  deliver(checker, after, { sequence: 2, atMs: 300 });
  expectOne(checker, /1:1 is not marked redelivered/);
});

test("repeats shortly before a kill may all be forgotten, the mark and the count with them", () => {
  const checker = world();
  publish(checker, 1, ["quorum"]);
  const before = checker.channelOpened("quorum");
  deliver(checker, before, { sequence: 1, atMs: 190 });
  checker.returned(before, { publisher: 1, sequence: 1 });
  deliver(checker, before, { sequence: 1, atMs: 195, redelivered: true, count: 1 });
  checker.brokerKilled(200);
  deliver(checker, checker.channelOpened("quorum"), { sequence: 1, atMs: 300 });
  assert.deepEqual(checker.violations, []);
});

test("an acked message that comes back is reported, unless the ack came just before the kill", () => {
  const checker = world();
  publish(checker, 1);
  publish(checker, 2);
  const before = checker.channelOpened("classic");
  deliver(checker, before, { sequence: 1, atMs: 10 });
  deliver(checker, before, { sequence: 2, atMs: 10 });
  ack(checker, before, { sequence: 1, atMs: 100 });
  ack(checker, before, { sequence: 2, atMs: 190 });
  checker.brokerKilled(200);
  const after = checker.channelOpened("classic");
  deliver(checker, after, { sequence: 1, atMs: 300, redelivered: true });
  deliver(checker, after, { sequence: 2, atMs: 300, redelivered: true });
  expectOne(checker, /1:1 came back 100 ms of life after its ack/);
  assert.equal(checker.worstForgottenMs, 10);
});

test("a message whose ack is certain stays forbidden after it was pruned", () => {
  const checker = world();
  publish(checker, 1);
  const channel = checker.channelOpened("classic");
  deliver(checker, channel, { sequence: 1, atMs: 10 });
  ack(checker, channel, { sequence: 1, atMs: 20 });
  checker.prune(1000);
  assert.equal(checker.tracked(), 0);
  deliver(checker, channel, { sequence: 1, atMs: 1100, redelivered: true });
  expectOne(checker, /1:1 came back 980 ms of life after its ack/);
});

test("a delivery count that does not grow is reported", () => {
  const checker = world();
  publish(checker, 1, ["quorum"]);
  const channel = checker.channelOpened("quorum");
  deliver(checker, channel, { sequence: 1, atMs: 10 });
  checker.returned(channel, { publisher: 1, sequence: 1 });
  deliver(checker, channel, { sequence: 1, atMs: 20, redelivered: true, count: 1 });
  checker.brokerKilled(200);
  assert.deepEqual(checker.violations, []);
  deliver(checker, checker.channelOpened("quorum"), { sequence: 1, atMs: 300, redelivered: true, count: 1 });
  expectOne(checker, /has delivery count 1, at least 2 was due/);
});
