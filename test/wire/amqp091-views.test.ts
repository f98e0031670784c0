// What the management interface sees of a connection, and how it ends one.

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ClientConnection } from "../../src/broker/facade.ts";
import { NO_ARGUMENTS, World } from "./amqp091-world.ts";

function clientOf(world: World): ClientConnection {
  const [view] = world.broker.clients.values();
  assert.ok(view !== undefined);
  return view;
}

test("a connection shows where it comes from, what was negotiated, and what it says about itself", async () => {
  const world = await World.open();
  world.open({ frameMax: 8192, channelMax: 7, heartbeat: 30, capabilities: ["basic.nack"] });
  const view = clientOf(world);
  const { protocol, peerHost, peerPort, host, port, encrypted } = view;
  assert.deepEqual(
    { protocol, peerHost, peerPort, host, port, encrypted },
    {
      protocol: "AMQP 0-9-1",
      peerHost: "127.0.0.1",
      peerPort: 40000,
      host: "127.0.0.1",
      port: 5672,
      encrypted: false,
    },
  );
  assert.deepEqual([view.frameBytesMax, view.channelMax, view.heartbeatS], [8192, 7, 30]);
  assert.deepEqual(view.clientProperties, new Map([["capabilities", new Map([["basic.nack", true]])]]));
});

test("bytes are counted in both directions", async () => {
  const world = await World.open();
  const client = world.open();
  const view = clientOf(world);
  const { receivedBytes, sentBytes } = view;
  client.send(1, "channel.flow", { active: true });
  client.expect("channel.flow-ok");
  assert.deepEqual([view.receivedBytes - receivedBytes, view.sentBytes - sentBytes], [13, 13]);
});

test("channels show their consumers, prefetch, unacked deliveries, and publishes without a confirm", async () => {
  const world = await World.open();
  world.broker.add("q");
  const client = world.open();
  client.send(1, "confirm.select", { nowait: true });
  client.send(1, "basic.qos", { prefetchSize: 0, prefetchCount: 9, global: true });
  client.send(1, "basic.qos", { prefetchSize: 0, prefetchCount: 5, global: false });
  client.consume("q", { tag: "worker" });
  client.publish("q", "m", { properties: { deliveryMode: 2 } });
  client.send(2, "channel.open", { outOfBand: "" });
  client.send(2, "tx.select", {});
  client.received();
  const consumers = [
    {
      tag: "worker",
      queueId: 1,
      noAck: false,
      exclusive: false,
      prefetch: 5,
      priority: 0,
      arguments: NO_ARGUMENTS,
      active: true,
    },
  ];
  const nothing = { prefetch: 0, globalPrefetch: 0, unacked: 0, unconfirmed: 0, confirm: false, consumers: [] };
  assert.deepEqual(clientOf(world).channels(), [
    {
      number: 1,
      prefetch: 5,
      globalPrefetch: 9,
      unacked: 1,
      unconfirmed: 1,
      confirm: true,
      transactional: false,
      consumers,
    },
    { number: 2, ...nothing, transactional: true },
  ]);
});

test("an operator closes a connection with 320 and its reason", async () => {
  const world = await World.open();
  const client = world.open();
  clientOf(world).close("closed by the operator");
  const close = client.expect("connection.close");
  assert.deepEqual([close.replyCode, close.replyText], [320, "CONNECTION_FORCED - closed by the operator"]);
  client.send(0, "connection.close-ok", {});
  client.settle();
  assert.equal(client.socket.ended, true);
  assert.equal(world.broker.sessions.size, 0);
});
