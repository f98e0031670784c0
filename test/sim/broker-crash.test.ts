// The broker with its real shard and the real log engine on a disk that loses power. Two logs, meta and
// shard, commit on their own; whatever the moment of the crash, afterwards:
// - the namespace is one that it had, no older than the last change that was answered;
// - a confirmed message is in its queue, and its queue is there, unless somebody deleted the queue.
// After a clean stop nothing at all is missing, even if the power fails then.
//
// QUAYSIDE_SIM_SEEDS=N tries N new seeds; QUAYSIDE_SIM_SEED=S runs one.

import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { test } from "node:test";
import { createBroker, type Broker } from "../../src/broker/broker.ts";
import type { Session } from "../../src/broker/facade.ts";
import { BrokerError } from "../../src/model/errors.ts";
import { openShard } from "../../src/queues/open-shard.ts";
import { SILENT, SimMachine } from "../conformance/log-engines.ts";
import {
  binding,
  durableState,
  exchange,
  message,
  NO_PROPERTIES,
  queue,
  testHashing,
} from "../unit/broker-fixtures.ts";
import type { Prng } from "./prng.ts";

const FIXED_SEEDS = 40;
const NEW_SEEDS = Number(process.env["QUAYSIDE_SIM_SEEDS"] ?? 10);
const LIVES = 5;
const STEPS_MAX = 60;
const ADMIN = { user: "guest", tags: ["administrator"] };
const ALWAYS = { ifUnused: false, ifEmpty: false };
const SMALL_LOG = { runningBytes: 1500, startBytes: 500, partBytes: 400 };
const SMALL_SHARD = { pageRows: 8, pageRowsFirst: 2, snapshotMinBytes: 4096, slabBytes: 8192, entryTargetBytes: 512 };

interface Messages {
  /** Publishes that were accepted, and those of them that were confirmed. */
  published: number;
  confirmed: number;
}

/** What one life of the process knows, from its start until the power fails. */
class Life {
  readonly broker: Broker;
  readonly session: Session;
  readonly machine: SimMachine;
  readonly random: Prng;
  /** Every namespace that this life had, oldest first; those before `answered` cannot be what is found. */
  readonly states: string[];
  answered = 0;
  /** By queue id; a queue that is deleted leaves. */
  readonly messages = new Map<number, Messages>();
  #unconfirmed: { readonly position: number; readonly messages: Messages }[] = [];
  isOver = false;

  /** A clean stop, doors closed before: broker first, then the shard. */
  readonly close: () => Promise<void>;

  constructor(machine: SimMachine, broker: Broker, closeShard: () => Promise<void>) {
    this.close = async () => {
      await broker.close();
      await closeShard();
      this.answered = this.states.length - 1;
      for (const messages of this.messages.values()) messages.confirmed = messages.published;
    };
    this.machine = machine;
    this.random = machine.random;
    this.broker = broker;
    this.session = broker.openSession("guest", "/");
    this.states = [durableState(broker)];
    for (const { name, messagesReady } of broker.snapshotOverview().queues) {
      this.messages.set(this.idOf(name) ?? 0, { published: messagesReady, confirmed: messagesReady });
    }
    broker.onCommitted(() => this.#confirm());
  }

  idOf(name: string): number | undefined {
    return this.broker.route(this.session, "", name, NO_PROPERTIES).queueIds[0];
  }

  /** One thing that a client does. Refusals are part of life. */
  act(): void {
    const choice = this.random.below(15);
    if (choice < 6) {
      this.#publish();
      return;
    }
    try {
      this.#change(choice);
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
    }
    const state = durableState(this.broker);
    if (state !== this.states.at(-1)) this.states.push(state);
    const index = this.states.length - 1;
    this.broker.whenMetaCommitted(() => {
      if (!this.isOver) this.answered = Math.max(this.answered, index);
    });
  }

  #change(choice: number): void {
    const { broker, session, random } = this;
    const q = `q${random.below(4)}`;
    const x = `x${random.below(2)}`;
    if (choice < 8) {
      broker.declareQueue(session, queue(q, { durable: random.chance(0.9) }));
      const id = this.idOf(q) ?? 0;
      if (!this.messages.has(id)) this.messages.set(id, { published: 0, confirmed: 0 });
    } else if (choice === 8) {
      broker.declareExchange(session, exchange(x, "fanout", { autoDelete: random.chance(0.5) }));
    } else if (choice === 9) {
      broker.bindQueue(session, binding(x, q, `${random.below(20)}`));
    } else if (choice === 10) {
      broker.unbindQueue(session, binding(x, q, `${random.below(20)}`));
    } else if (choice > 11) {
      this.#manage(choice);
    } else if (random.chance(0.4)) {
      this.messages.delete(this.idOf(q) ?? 0);
      broker.deleteQueue(session, q, ALWAYS);
    } else {
      broker.deleteExchange(session, x, false);
    }
  }

  /** What an administrator does meanwhile: in vhosts of its own, so that clients are not put out. */
  #manage(choice: number): void {
    const { management } = this.broker;
    const { random } = this;
    const vhost = `v${random.below(2)}`;
    const n = random.below(3);
    if (choice === 12) {
      if (random.chance(0.3)) management.vhosts.delete(ADMIN, vhost);
      else management.vhosts.put(ADMIN, vhost, { description: `${n}` });
      return;
    }
    if (choice === 13) {
      const definition = new Map([["max-length", 1000 + n]]);
      if (random.chance(0.3)) management.policies.delete(ADMIN, "policy", "/", `p${n}`);
      else management.policies.put(ADMIN, "policy", "/", `p${n}`, { pattern: "^q", definition, priority: n });
      return;
    }
    if (!random.chance(0.3)) {
      const pattern = `^${n}`;
      const grant = { vhost, user: "guest", configure: pattern, write: pattern, read: pattern };
      management.users.putPermission(ADMIN, grant);
    } else if (random.chance(0.5)) {
      management.topology.declareQueue(ADMIN, vhost, queue(`${n}q`));
    } else {
      management.policies.putParameter(ADMIN, { vhost, component: "c", name: `${n}`, value: n });
    }
  }

  #publish(): void {
    const { broker, session, random } = this;
    const isFanout = random.chance(0.4) && broker.snapshotOverview().exchanges.some(({ name }) => name === "x0");
    const route = broker.route(session, isFanout ? "x0" : "", `q${random.below(4)}`, NO_PROPERTIES);
    const position = broker.publish(message("body"), route);
    for (const id of route.queueIds) {
      const messages = this.messages.get(id);
      assert(messages !== undefined, "the queue is known");
      messages.published++;
      if (position > 0) this.#unconfirmed.push({ position, messages });
    }
  }

  #confirm(): void {
    if (this.isOver) return;
    const { committed } = this.broker;
    this.#unconfirmed = this.#unconfirmed.filter(({ position, messages }) => {
      if (position <= committed) messages.confirmed++;
      return position > committed;
    });
  }

  /** Compares what the next life found with what this one was promised. */
  check(next: Life): void {
    const found = next.states[0] ?? "";
    const at = this.states.lastIndexOf(found);
    assert(at >= 0, `a namespace that never was: ${found}\n${this.states.join("\n")}`);
    assert(at >= this.answered, `change ${this.answered} was answered, but ${at} is found: ${found}`);
    const durable = new Set(this.broker.snapshotOverview().queues.flatMap((each) => (each.durable ? each.name : [])));
    for (const name of durable) {
      const id = this.idOf(name) ?? 0;
      const promised = this.messages.get(id) ?? { published: 0, confirmed: 0 };
      if (promised.confirmed === 0) continue;
      assert.equal(next.idOf(name), id, `${name} with ${promised.confirmed} confirmed messages is there`);
      const ready = next.messages.get(id)?.published ?? 0;
      assert(ready >= promised.confirmed, `${name} has ${ready} messages, ${promised.confirmed} were confirmed`);
      assert(ready <= promised.published, `${name} has ${ready} messages, ${promised.published} were published`);
    }
  }
}

async function begin(machine: SimMachine): Promise<Life> {
  const { clock, store } = machine;
  let broker: Broker | undefined;
  const events = {
    onCommitted: () => broker?.committedChanged(),
    onFlow: () => broker?.flowChanged(),
    onSpace: () => undefined,
    onFailed: () => undefined,
  };
  const setup = { store, clock, turn: clock, logger: SILENT, events, parameters: SMALL_SHARD };
  const opened = await machine.run(openShard(setup));
  const { shard } = opened;
  const { random } = machine;
  const atTurnEnd = (work: () => void): void => shard.atTurnEnd(work);
  broker = await machine.run(
    createBroker({
      store,
      shard,
      clock,
      random,
      hashing: testHashing,
      logger: SILENT,
      atTurnEnd,
      metaSnapshots: SMALL_LOG,
    }),
  );
  return new Life(machine, broker, () => opened.close());
}

async function simulate(seed: number): Promise<{ readonly confirmed: number; readonly changes: number }> {
  const machine = await SimMachine.boot(seed, { segmentBytes: 4096, faults: { slowCalls: 0.2 } });
  const { random, clock } = machine;
  let life = await begin(machine);
  let confirmed = 0;
  let changes = 0;
  for (let lives = 0; lives < LIVES; lives++) {
    for (let steps = random.below(STEPS_MAX); steps > 0; steps--) {
      life.act();
      if (random.chance(0.4)) await clock.advance(random.below(5) * 0.5);
    }
    const last = life;
    const end = random.pick(["crash", "crash", "kill", "close"]);
    if (end === "close") await machine.run(last.close());
    last.isOver = true;
    for (const messages of last.messages.values()) confirmed += messages.confirmed;
    changes += last.states.length - 1;
    if (end === "kill") await machine.kill();
    else await machine.crash();
    life = await begin(machine);
    last.check(life);
  }
  return { confirmed, changes };
}

const only = process.env["QUAYSIDE_SIM_SEED"];

test("whenever the power fails, no confirmed message and no answered change is lost", async () => {
  const seeds = Array.from({ length: FIXED_SEEDS }, (_, index) => index + 1);
  for (let count = 0; count < NEW_SEEDS; count++) seeds.push(randomInt(2 ** 32));
  let confirmed = 0;
  let changes = 0;
  for (const seed of only === undefined ? seeds : [Number(only)]) {
    try {
      const lived = await simulate(seed);
      confirmed += lived.confirmed;
      changes += lived.changes;
    } catch (error) {
      throw new Error(`seed ${seed} failed: run it with QUAYSIDE_SIM_SEED=${seed}`, { cause: error });
    }
  }
  assert(only !== undefined || (confirmed > 100 && changes > 500), "the lives were worth living");
});
