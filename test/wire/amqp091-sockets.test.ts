// The door's sockets on the real network: ports/net.ts as runtime/node-net.ts implements it.

import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import type { ByteSocket, Listener } from "../../src/ports/net.ts";
import { createNodeNet } from "../../src/runtime/node-net.ts";

interface Pair {
  readonly listener: Listener;
  readonly server: ByteSocket;
  readonly peer: Socket;
  readonly received: Buffer[];
  readonly drained: () => Promise<void>;
  readonly arrived: (size: number) => Promise<void>;
  readonly closed: Promise<Error | undefined>;
}

/** Resolves `wait` calls whenever something happened. */
class Bell {
  private waiters: (() => void)[] = [];

  ring(): void {
    for (const wake of this.waiters.splice(0)) wake();
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.waiters.push(resolve));
  }
}

async function openPair(): Promise<Pair> {
  const accepted: ByteSocket[] = [];
  const received: Buffer[] = [];
  const bell = new Bell();
  let drains = 0;
  let close: (error: Error | undefined) => void = () => undefined;
  const closed = new Promise<Error | undefined>((resolve) => {
    close = resolve;
  });
  const listener = await createNodeNet().listen({ host: "127.0.0.1", port: 0 }, (socket) => {
    socket.attach({
      data: (chunk) => {
        received.push(Buffer.from(chunk));
        bell.ring();
      },
      drain: () => {
        drains++;
        bell.ring();
      },
      close: (error) => close(error),
    });
    accepted.push(socket);
    bell.ring();
  });
  const peer = connect(listener.port, "127.0.0.1");
  await bell.until(() => accepted.length > 0);
  return {
    listener,
    server: accepted[0]!,
    peer,
    received,
    drained: () => {
      const before = drains;
      return bell.until(() => drains > before);
    },
    arrived: (size) => bell.until(() => received.reduce((sum, chunk) => sum + chunk.length, 0) >= size),
    closed,
  };
}

test("a socket knows its ends, receives, and says when it is gone", async () => {
  const { listener, server, peer, received, arrived, closed } = await openPair();
  assert.equal(server.remoteAddress, "127.0.0.1");
  assert.equal(server.localPort, listener.port);
  assert.equal(server.remotePort, peer.localPort);
  assert.equal(server.encrypted, false);
  peer.write("hello");
  await arrived(5);
  assert.equal(Buffer.concat(received).toString(), "hello");
  peer.end();
  assert.equal(await closed, undefined);
  assert.equal(server.unsentBytes, 0);
  server.write(Buffer.from("into the void"));
  await listener.close();
});

test("bytes that the peer does not read are counted as unsent, and drain tells when they are gone", async () => {
  const { listener, server, peer, drained, closed } = await openPair();
  peer.pause();
  const chunk = Buffer.alloc(1024 * 1024, "u");
  let written = 0;
  while (server.unsentBytes === 0) {
    server.write(chunk);
    written += chunk.length;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(server.unsentBytes > 0);
  const emptied = drained();
  let seen = 0;
  peer.on("data", (bytes: Buffer) => {
    seen += bytes.length;
  });
  peer.resume();
  await emptied;
  assert.equal(server.unsentBytes, 0);
  const ended = new Promise<void>((resolve) => peer.once("end", resolve));
  server.end();
  await ended;
  assert.equal(seen, written);
  await closed;
  await listener.close();
});

test("a paused socket hands over nothing until it is resumed", async () => {
  const { listener, server, peer, received, arrived, closed } = await openPair();
  server.pause();
  const flushed = new Promise<void>((resolve) => peer.write("later", () => resolve()));
  await flushed;
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(received.length, 0);
  server.resume();
  await arrived(5);
  server.destroy();
  await closed;
  await listener.close();
});

test("a reset connection closes with its error, and the process goes on", async () => {
  const { listener, server, peer, closed } = await openPair();
  peer.resetAndDestroy();
  const error = await closed;
  assert.equal((error as NodeJS.ErrnoException | undefined)?.code, "ECONNRESET");
  server.write(Buffer.from("nobody reads this"));
  server.destroy();
  await listener.close();
});

test("a taken port fails with the system's code, and a closed listener accepts nobody", async () => {
  const net = createNodeNet();
  const listener = await net.listen({ host: "127.0.0.1", port: 0 }, (socket) => socket.destroy());
  const again = net.listen({ host: "127.0.0.1", port: listener.port }, () => undefined);
  await assert.rejects(again, { code: "EADDRINUSE" });
  await listener.close();
  const refused = new Promise<string | undefined>((resolve) => {
    connect(listener.port, "127.0.0.1").once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
  });
  assert.equal(await refused, "ECONNREFUSED");
});
