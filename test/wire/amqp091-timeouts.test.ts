// Consumers that hold deliveries for too long, and what basic.consume may ask for.

import assert from "node:assert/strict";
import { test } from "node:test";
import { NO_ARGUMENTS, World } from "./amqp091-world.ts";

async function consuming(timeoutMs: number | undefined) {
  const world = await World.open();
  const queue = world.broker.add("q");
  queue.consumerTimeoutMs = timeoutMs;
  return { world, queue, client: world.open() };
}

test("a delivery that waits longer than the queue's consumer timeout ends its channel with 406 and goes back", async () => {
  const { world, queue, client } = await consuming(30_000);
  client.consume("q");
  client.publish("q", "m");
  assert.equal(client.messages().length, 1);
  world.clock.advance(30_000);
  assert.deepEqual(client.received(), []);
  world.clock.advance(3_000);
  const close = client.expect("channel.close");
  assert.deepEqual([close.replyCode, close.classId, close.methodId], [406, 0, 0]);
  assert.equal(
    close.replyText,
    "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 30000 ms. " +
      "This timeout value can be configured, see consumers doc guide to learn more",
  );
  assert.deepEqual([queue.inFlight.size, queue.ready.length], [0, 1]);
  assert.deepEqual(world.broker.returns, ["timeout"]);
});

test("who acks in time is left alone, however long the channel lives", async () => {
  const { world, client } = await consuming(10_000);
  client.consume("q");
  for (let tag = 1; tag <= 20; tag++) {
    client.publish("q", "m");
    client.received();
    world.clock.advance(9_000);
    client.ack(tag);
  }
  assert.deepEqual(client.received(), []);
});

test("a consumer's own timeout comes before the queue's, longer or shorter", async () => {
  const { world, client } = await consuming(10_000);
  client.consume("q", { arguments: new Map([["x-consumer-timeout", 60_000]]) });
  client.publish("q", "m");
  client.received();
  world.clock.advance(59_000);
  assert.deepEqual(client.received(), []);
  world.clock.advance(4_000);
  assert.match(client.expect("channel.close").replyText, /Timeout value used: 60000 ms/);
});

test("a consumer with a timeout of 0 may hold its deliveries for ever", async () => {
  const { world, queue, client } = await consuming(10_000);
  client.consume("q", { arguments: new Map([["x-consumer-timeout", 0]]) });
  client.publish("q", "m");
  client.received();
  world.clock.advance(3_600_000);
  assert.deepEqual([client.received(), queue.inFlight.size], [[], 1]);
});

test("a message taken with basic.get has the queue's timeout; a queue without one waits for ever", async () => {
  const { world, client } = await consuming(5_000);
  const patient = world.broker.add("patient");
  const get = (queue: string) => client.send(1, "basic.get", { ticket: 0, queue, noAck: false });
  client.publish("patient", "m");
  get("patient");
  client.received();
  world.clock.advance(3_600_000);
  assert.equal(patient.inFlight.size, 1);
  client.publish("q", "m");
  get("q");
  client.received();
  world.clock.advance(8_000);
  assert.match(client.expect("channel.close").replyText, /Timeout value used: 5000 ms/);
});

test("arguments of basic.consume that are no integers are 406 in RabbitMQ's words", async () => {
  for (const [name, value, reason] of [
    ["x-priority", "high", '"expected integer, got longstr"'],
    ["x-priority", true, '"expected integer, got bool"'],
    ["x-consumer-timeout", -1, "{value_negative,-1}"],
  ] as const) {
    const { client } = await consuming(undefined);
    client.consume("q", { arguments: new Map([[name, value]]) });
    const close = client.expect("channel.close");
    assert.equal(close.replyCode, 406);
    assert.equal(close.replyText, `PRECONDITION_FAILED - invalid arg '${name}' for queue 'q' in vhost '/': ${reason}`);
  }
});

test("a consumer's priority reaches the broker and the management interface", async () => {
  const { world, queue, client } = await consuming(undefined);
  client.consume("q", { arguments: new Map([["x-priority", 10]]) });
  client.expect("basic.consume-ok");
  assert.equal(queue.consumers[0]?.options.priority, 10);
  const [view] = world.broker.clients.values();
  assert.equal(view?.channels()[0]?.consumers[0]?.priority, 10);
  client.consume("q", { tag: "plain", arguments: NO_ARGUMENTS });
  client.received();
  assert.equal(view?.channels()[0]?.consumers[1]?.priority, 0);
});
