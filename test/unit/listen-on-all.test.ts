import assert from "node:assert/strict";
import { test } from "node:test";
import type { Listener } from "../../src/ports/net.ts";
import { createSilentLogger } from "../../src/runtime/console-logger.ts";
import { ListenError, listenOnAll } from "../../src/runtime/listen-on-all.ts";

/** A machine on which some host:port pairs are taken and some hosts are missing. */
class FakeMachine {
  readonly open = new Set<string>();
  readonly taken = new Set<string>();
  readonly absent = new Set<string>();
  #nextFree = 40_000;

  readonly listen = (host: string, port: number): Promise<Listener> => {
    if (this.absent.has(host)) return Promise.reject(systemError("EADDRNOTAVAIL"));
    const chosen = port === 0 ? this.#nextFree++ : port;
    const key = `${host} ${chosen}`;
    if (this.taken.has(key)) return Promise.reject(systemError("EADDRINUSE"));
    this.open.add(key);
    const close = (): Promise<void> => {
      this.open.delete(key);
      return Promise.resolve();
    };
    return Promise.resolve({ host, port: chosen, close });
  };
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code });
}

const base = { name: "amqp", hosts: ["127.0.0.1", "::1"], hostsChosen: false, logger: createSilentLogger() };

test("port 0 takes the same free number on every address, and looks on when it is taken on one", async () => {
  const machine = new FakeMachine();
  machine.taken.add("::1 40000");
  const listeners = await listenOnAll({ ...base, port: 0, listen: machine.listen });
  assert.deepEqual(
    listeners.map(({ host, port }) => `${host} ${port}`),
    ["127.0.0.1 40001", "::1 40001"],
  );
  assert.equal(machine.open.size, 2);
});

test("an absent ::1 is passed over with one line when it is only the default, and refused when chosen", async () => {
  const machine = new FakeMachine();
  machine.absent.add("::1");
  const lines: string[] = [];
  const logger = { ...createSilentLogger(), info: (line: string) => void lines.push(line) };
  const listeners = await listenOnAll({ ...base, logger, port: 5000, listen: machine.listen });
  assert.equal(listeners.length, 1);
  assert.equal(lines.length, 1);
  const chosen = listenOnAll({ ...base, hostsChosen: true, port: 5001, listen: machine.listen });
  await assert.rejects(chosen, { name: "ListenError", message: /has no address ::1/ });
});

test("a taken port is refused with its number and the flag to choose another, and nothing stays open", async () => {
  const machine = new FakeMachine();
  machine.taken.add("::1 5672");
  await assert.rejects(listenOnAll({ ...base, port: 5672, listen: machine.listen }), (error: unknown) => {
    return error instanceof ListenError && /port 5672 .*--amqp-port/.test(error.message);
  });
  assert.equal(machine.open.size, 0);
});
