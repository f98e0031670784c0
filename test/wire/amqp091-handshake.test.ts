import assert from "node:assert/strict";
import { test } from "node:test";
import { LIMITS } from "../../src/limits.ts";
import { encodeTable } from "../../src/model/field-table.ts";
import { type Client, PROTOCOL_HEADER, World } from "./amqp091-world.ts";

function startOk(client: Client, mechanism: string, response: Buffer, capabilities: readonly string[] = []): void {
  const flags = new Map(capabilities.map((name) => [name, true] as const));
  client.send(0, "connection.start-ok", {
    clientProperties: new Map([["capabilities", flags]]),
    mechanism,
    response,
    locale: "en_US",
  });
}

function plain(user: string, password: string): Buffer {
  return Buffer.from(`\0${user}\0${password}`);
}

async function tuned(tune: { channelMax?: number; frameMax?: number }): Promise<Client> {
  const client = (await World.open()).connect();
  client.raw(PROTOCOL_HEADER);
  startOk(client, "PLAIN", plain("guest", "guest"));
  client.received();
  client.send(0, "connection.tune-ok", { channelMax: 2047, frameMax: 131072, heartbeat: 0, ...tune });
  return client;
}

test("the protocol header may arrive byte by byte, and start names the mechanisms and honest capabilities", async () => {
  const client = (await World.open()).connect();
  for (const byte of PROTOCOL_HEADER) client.raw(Buffer.of(byte));
  const start = client.expect("connection.start");
  assert.equal(start.mechanisms.toString(), "AMQPLAIN PLAIN");
  assert.equal(start.serverProperties.get("product"), "RabbitMQ");
  assert.equal(start.serverProperties.get("version"), "4.1.0");
  const capabilities = start.serverProperties.get("capabilities");
  assert.ok(capabilities instanceof Map);
  assert.equal(capabilities.get("publisher_confirms"), true);
  assert.equal(capabilities.get("exchange_exchange_bindings"), true);
  assert.equal(capabilities.get("direct_reply_to"), true);
  assert.equal(capabilities.get("consumer_priorities"), true);
});

for (const [what, header] of [
  ["another version of AMQP", Buffer.from("AMQP\0\x01\0\0", "latin1")],
  ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ["a TLS hello", Buffer.from("16030100f0010000ec0303", "hex")],
] as const) {
  test(`${what} on the port is answered with the protocol header and a close`, async () => {
    const client = (await World.open()).connect();
    client.raw(header);
    client.settle();
    assert.deepEqual(client.socket.take(), PROTOCOL_HEADER);
    assert.equal(client.socket.ended, true);
  });
}

test("AMQPLAIN logs in as PLAIN does", async () => {
  const client = (await World.open()).connect();
  client.raw(PROTOCOL_HEADER);
  client.received();
  startOk(
    client,
    "AMQPLAIN",
    encodeTable(
      new Map([
        ["LOGIN", "guest"],
        ["PASSWORD", "guest"],
      ]),
    ).subarray(4),
  );
  const tune = client.expect("connection.tune");
  assert.deepEqual([tune.channelMax, tune.frameMax, tune.heartbeat], [2047, 131072, 60]);
});

test("while a password is checked nothing else is handled, and a connection that went meanwhile hears nothing", async () => {
  const world = await World.open();
  world.broker.logins = [];
  const [client, gone] = [world.connect(), world.connect()];
  for (const each of [client, gone]) {
    each.raw(PROTOCOL_HEADER);
    each.received();
    startOk(each, "PLAIN", plain("guest", "guest"));
    each.send(0, "connection.tune-ok", { channelMax: 2047, frameMax: 131072, heartbeat: 0 });
    assert.deepEqual(each.methodNames(), []);
  }
  gone.socket.peerClosed();
  for (const answer of world.broker.logins) answer();
  assert.deepEqual(gone.methodNames(), []);
  client.expect("connection.tune");
  client.send(0, "connection.open", { virtualHost: "/", capabilities: "", insist: false });
  client.expect("connection.open-ok");
});

test("a refusal that comes later closes the connection like one that comes at once", async () => {
  const world = await World.open();
  world.broker.logins = [];
  const client = world.connect();
  client.raw(PROTOCOL_HEADER);
  client.received();
  startOk(client, "PLAIN", plain("guest", "wrong"), ["authentication_failure_close"]);
  for (const answer of world.broker.logins) answer();
  const close = client.expect("connection.close");
  assert.deepEqual([close.replyCode, close.classId, close.methodId], [403, 10, 11]);
});

test("an unknown mechanism is 503", async () => {
  const client = (await World.open()).connect();
  client.raw(PROTOCOL_HEADER);
  client.received();
  startOk(client, "EXTERNAL", Buffer.alloc(0));
  assert.equal(client.expect("connection.close").replyCode, 503);
});

test("a wrong password is told as 403 to a client that wants it, and drops the socket of another", async () => {
  const world = await World.open();
  const told = world.connect();
  told.raw(PROTOCOL_HEADER);
  told.received();
  startOk(told, "PLAIN", plain("guest", "wrong"), ["authentication_failure_close"]);
  const close = told.expect("connection.close");
  assert.equal(close.replyCode, 403);
  assert.match(close.replyText, /^ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN\./);
  const dropped = world.connect();
  dropped.raw(PROTOCOL_HEADER);
  dropped.received();
  startOk(dropped, "PLAIN", plain("guest", "wrong"));
  assert.deepEqual(dropped.received(), []);
  assert.equal(dropped.socket.ended, true);
});

test("guest from another machine is refused", async () => {
  const client = (await World.open()).connect("192.0.2.7");
  client.raw(PROTOCOL_HEADER);
  client.received();
  startOk(client, "PLAIN", plain("guest", "guest"), ["authentication_failure_close"]);
  assert.equal(client.expect("connection.close").replyCode, 403);
});

for (const [tune, text] of [
  [{ frameMax: 4095 }, "NOT_ALLOWED - negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"],
  [
    { frameMax: 131073 },
    "NOT_ALLOWED - negotiated frame_max = 131073 is higher than the maximum allowed value (131072)",
  ],
  [
    { frameMax: 0 },
    "NOT_ALLOWED - negotiated frame_max = 0 (no limit) is higher than the maximum allowed value (131072)",
  ],
  [{ channelMax: 2048 }, "NOT_ALLOWED - negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"],
  [
    { channelMax: 0 },
    "NOT_ALLOWED - negotiated channel_max = 0 (no limit) is higher than the maximum allowed value (2047)",
  ],
] as const) {
  test(`tuning ${JSON.stringify(tune)} is refused with 530`, async () => {
    const close = (await tuned(tune)).expect("connection.close");
    assert.deepEqual([close.replyCode, close.replyText], [530, text]);
  });
}

test("frames of 4096 bytes are accepted", async () => {
  const client = await tuned({ frameMax: 4096 });
  client.send(0, "connection.open", { virtualHost: "/", capabilities: "", insist: false });
  client.expect("connection.open-ok");
});

test("an unknown vhost is 530 with the ids of connection.open", async () => {
  const client = await tuned({});
  client.send(0, "connection.open", { virtualHost: "nowhere", capabilities: "", insist: false });
  const close = client.expect("connection.close");
  assert.deepEqual([close.replyCode, close.classId, close.methodId], [530, 10, 40]);
});

test("a method out of turn during the handshake is an error of the connection", async () => {
  const client = (await World.open()).connect();
  client.raw(PROTOCOL_HEADER);
  client.received();
  client.send(0, "connection.open", { virtualHost: "/", capabilities: "", insist: false });
  assert.equal(client.expect("connection.close").replyCode, 503);
  const other = (await World.open()).connect();
  other.raw(PROTOCOL_HEADER);
  other.received();
  other.send(1, "channel.open", { outOfBand: "" });
  assert.equal(other.expect("connection.close").replyCode, 504);
});

test("a peer that does not finish its handshake in time is dropped", async () => {
  const world = await World.open();
  const client = world.connect();
  client.raw(PROTOCOL_HEADER);
  world.clock.advance(9_999);
  assert.equal(client.socket.destroyed, false);
  world.clock.advance(1);
  assert.equal(client.socket.destroyed, true);
});

test("heartbeats go out at half the interval, and a peer silent for two intervals is dropped", async () => {
  const world = await World.open();
  const client = world.open({ heartbeat: 10 });
  world.clock.advance(5_000);
  client.received();
  world.clock.advance(5_000);
  assert.deepEqual(
    client.received().map((frame) => frame.kind),
    ["heartbeat"],
  );
  for (let i = 0; i < 10; i++) {
    client.raw(Buffer.from("08000000000000ce", "hex"));
    world.clock.advance(10_000);
    assert.equal(client.socket.destroyed, false, "a peer that beats stays");
  }
  world.clock.advance(15_000);
  assert.equal(client.socket.destroyed, true);
});

test("closing from the client's side is answered with close-ok and ends the session and the socket", async () => {
  const world = await World.open();
  const client = world.open();
  assert.equal(world.broker.sessions.size, 1);
  client.send(0, "connection.close", { replyCode: 200, replyText: "bye", classId: 0, methodId: 0 });
  client.expect("connection.close-ok");
  assert.equal(client.socket.ended, true);
  assert.equal(world.broker.sessions.size, 0);
  client.socket.peerClosed();
  assert.equal(world.door.connectionCount, 0);
});

test("closing the door tells every client 320 and waits for the answers, at most a second", async () => {
  const world = await World.open();
  const polite = world.open();
  const mute = world.open();
  const early = world.connect();
  const closed = world.door.close();
  await Promise.resolve();
  const close = polite.expect("connection.close");
  assert.deepEqual([close.replyCode, close.replyText], [320, "CONNECTION_FORCED - broker is shutting down"]);
  assert.equal(early.socket.destroyed, true);
  polite.send(0, "connection.close-ok", {});
  polite.received();
  assert.equal(polite.socket.ended, true);
  polite.socket.peerClosed();
  world.clock.advance(1_000);
  await closed;
  assert.equal(mute.socket.destroyed, true);
  assert.equal(world.broker.sessions.size, 0);
});

test("after our connection.close everything but its answer is ignored", async () => {
  const world = await World.open();
  const client = world.open();
  client.send(9, "basic.qos", { prefetchSize: 0, prefetchCount: 1, global: false });
  assert.equal(client.expect("connection.close").replyCode, 504);
  client.publish("q", "ignored");
  client.send(1, "basic.qos", { prefetchSize: 0, prefetchCount: 1, global: false });
  assert.deepEqual(client.received(), []);
  assert.equal(world.broker.published, 0);
  client.send(0, "connection.close-ok", {});
  client.received();
  assert.equal(client.socket.ended, true);
});

test("update-secret is accepted", async () => {
  const client = (await World.open()).open();
  client.send(0, "connection.update-secret", { newSecret: Buffer.from("s"), reason: "rotation" });
  client.expect("connection.update-secret-ok");
});

test("a verified client certificate logs in as its common name by EXTERNAL, which is offered to it alone", async () => {
  const world = await World.open();
  const offered = (client: Client): string => {
    client.raw(PROTOCOL_HEADER);
    return client.expect("connection.start").mechanisms.toString();
  };
  const client = world.connect("10.0.0.1", { commonName: "guest" });
  assert.equal(offered(client), "AMQPLAIN PLAIN EXTERNAL");
  startOk(client, "EXTERNAL", Buffer.alloc(0));
  client.expect("connection.tune");

  const stranger = world.connect("10.0.0.1", { commonName: "mallory" });
  offered(stranger);
  startOk(stranger, "EXTERNAL", Buffer.alloc(0), ["authentication_failure_close"]);
  const close = stranger.expect("connection.close");
  assert.equal(close.replyCode, 403);
  assert.match(close.replyText, /Login was refused using authentication mechanism EXTERNAL/);

  for (const certificate of [undefined, { commonName: undefined }]) {
    const nameless = world.connect("127.0.0.1", certificate);
    assert.equal(offered(nameless), "AMQPLAIN PLAIN");
    startOk(nameless, "EXTERNAL", Buffer.alloc(0));
    assert.equal(nameless.expect("connection.close").replyCode, 503);
  }
});

test("before the login a frame is small, and what is sent while a password is checked is little", async () => {
  const world = await World.open();
  const large = world.connect();
  large.raw(PROTOCOL_HEADER);
  large.received();
  large.raw(Buffer.from("0100000000500000", "hex"));
  assert.equal(large.expect("connection.close").replyCode, 501);

  world.broker.logins = [];
  const eager = world.connect();
  eager.raw(PROTOCOL_HEADER);
  eager.received();
  startOk(eager, "PLAIN", plain("guest", "guest"));
  eager.raw(Buffer.alloc(20_000));
  assert.equal(eager.expect("connection.close").replyCode, 506);
  assert.equal(eager.socket.ended, true);
});

test("connections that do not finish their handshake are bounded; one that does makes room", async () => {
  const world = await World.open();
  const waiting = Array.from({ length: LIMITS.handshakesMax }, () => world.connect());
  assert.equal(waiting.at(-1)?.socket.destroyed, false);
  assert.equal(world.connect().socket.destroyed, true);
  waiting[0]?.logIn();
  assert.equal(world.connect().socket.destroyed, false);
  world.clock.advance(LIMITS.handshakeTimeoutMs);
  assert.equal(waiting[1]?.socket.destroyed, true);
  assert.equal(waiting[0]?.socket.destroyed, false);
});

test("channel_max limits how many channels are open, whatever their numbers", async () => {
  const client = await tuned({ channelMax: 2 });
  client.send(0, "connection.open", { virtualHost: "/", capabilities: "", insist: false });
  for (const number of [65_535, 7]) client.send(number, "channel.open", { outOfBand: "" });
  client.send(7, "channel.close", { replyCode: 200, replyText: "", classId: 0, methodId: 0 });
  client.send(9, "channel.open", { outOfBand: "" });
  client.received();
  client.send(1, "channel.open", { outOfBand: "" });
  const close = client.expect("connection.close");
  assert.equal(close.replyCode, 530);
  assert.match(String(close.replyText), /number of channels opened \(2\) has reached the negotiated channel_max \(2\)/);
});
