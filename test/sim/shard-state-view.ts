// Looks at a shard from outside: what it holds, in a form that two processes can compare, and whether
// its counters agree with its rows.

import assert from "node:assert/strict";
import type { LogReader } from "../../src/log/log.ts";
import {
  ABSENT,
  COLD,
  DELAYED,
  IN_FLIGHT,
  READY,
  RETURNED,
  SPILLED,
  STATE_MASK,
  TRANSIENT,
} from "../../src/queues/page.ts";
import type { Shard } from "../../src/queues/shard.ts";
import { textOf } from "../unit/shard-world.ts";
import type { FoundMessage } from "./shard-model.ts";

const LIVE = (1 << READY) | (1 << IN_FLIGHT) | (1 << RETURNED);

interface Row {
  readonly sequence: number;
  readonly deliveries: number;
  readonly isCold: boolean;
  readonly position: number;
  readonly start: number;
  readonly size: number;
}

/** Durable queues with their durable rows. `afterRestart`: rows in flight come back, counted. */
function rowsOf(shard: Shard, afterRestart: boolean): Map<number, Row[]> {
  const queues = new Map<number, Row[]>();
  for (const queue of [...shard.state.queues.values()].sort((a, b) => a.id - b.id)) {
    if (!queue.settings.durable) continue;
    const rows: Row[] = [];
    queues.set(queue.id, rows);
    for (const lane of queue.lanes) {
      for (const number of [...lane.pages.keys()].sort((a, b) => a - b)) {
        shard.reclaimer.finishPage(lane, number);
        const page = lane.pages.get(number);
        if (page === undefined) continue;
        for (let row = page.find(0, LIVE); row >= 0; row = page.find(row + 1, LIVE)) {
          const state = page.state(row);
          if ((state & TRANSIENT) !== 0) continue;
          const comesBack = afterRestart && (state & STATE_MASK) === IN_FLIGHT;
          rows.push({
            sequence: number * shard.state.pageRows + row,
            deliveries: page.deliveries(row) + (comesBack ? 1 : 0),
            isCold: (state & COLD) !== 0,
            position: page.position(row),
            start: page.offset(row) * 8,
            size: page.size(row),
          });
        }
      }
    }
  }
  return queues;
}

/** What a shard holds durably, a line a queue and a row. `afterRestart`: as the next process will see it. */
export function describeShard(
  shard: Shard,
  { afterRestart, locations }: { readonly afterRestart: boolean; readonly locations: boolean },
): string {
  const lines: string[] = [];
  for (const [queueId, rows] of rowsOf(shard, afterRestart)) {
    lines.push(`queue ${queueId} ${JSON.stringify(shard.state.queues.get(queueId)!.settings)}`);
    for (const { sequence, deliveries, isCold, position, start, size } of rows) {
      const location = locations ? ` at ${isCold ? "cold" : "main"} ${position}+${start}` : "";
      lines.push(`${sequence} of ${size} bytes, ${deliveries} deliveries${location}`);
    }
  }
  return lines.join("\n");
}

/**
 * Every durable row with all its columns, a line each. `live`: as the next process will see them. Whether a
 * row that is due by `nowMs` was let go already makes no difference.
 */
export function describeRows(shard: Shard, live: boolean, nowMs: number): string {
  const lines: string[] = [];
  for (const queue of [...shard.state.queues.values()].sort((a, b) => a.id - b.id)) {
    lines.push(`queue ${queue.id} knows ${queue.names?.size ?? 0} names`);
    for (const { lane, page, row, sequence } of durableRows(shard, queue.id)) {
      const state = page.state(row);
      const isDelayed = (state & DELAYED) !== 0 && page.due(row) > nowMs;
      const comesBack = live && (state & (STATE_MASK | DELAYED)) === IN_FLIGHT;
      const due = isDelayed ? ` due ${page.due(row)}` : "";
      const deliveries = page.deliveries(row) + (comesBack ? 1 : 0);
      const counts = `${deliveries} deliveries, ${page.failures(row)} failures, expires ${page.expiry(row)}`;
      lines.push(`${queue.id}/${lane.index}/${sequence}: ${counts}${due}`);
    }
  }
  return lines.join("\n");
}

function* durableRows(shard: Shard, queueId: number) {
  for (const lane of shard.state.queues.get(queueId)!.lanes) {
    for (const number of [...lane.pages.keys()].sort((a, b) => a - b)) {
      shard.reclaimer.finishPage(lane, number);
      const page = lane.pages.get(number);
      for (let row = page?.find(0, LIVE) ?? -1; row >= 0; row = page!.find(row + 1, LIVE)) {
        if ((page!.state(row) & TRANSIENT) !== 0) continue;
        yield { lane, page: page!, row, sequence: number * shard.state.pageRows + row };
      }
    }
  }
}

/** The bodies of all durable messages by queue; nothing may move them meanwhile. */
export async function readAllTexts(shard: Shard): Promise<Map<number, string[]>> {
  const found = new Map<number, string[]>();
  const entries = new Map<string, Buffer>();
  for (const queueId of shard.state.queues.keys()) {
    const texts: string[] = [];
    for (const { page, row } of [...durableRows(shard, queueId)]) {
      const isCold = (page.state(row) & COLD) !== 0;
      const [position, start, size] = [page.position(row), page.offset(row) * 8, page.size(row)];
      const reader = isCold ? shard.readers.cold! : shard.readers.main;
      texts.push(textOf(await entryAt(reader, entries, position, isCold), start, size));
    }
    found.set(queueId, texts);
  }
  return found;
}

/**
 * The durable messages of each queue, read back from the logs. The cleaner may move a body between
 * the look at the index and the read: then everything is looked at again.
 */
export async function readMessages(shard: Shard): Promise<Map<number, FoundMessage[]>> {
  for (let tries = 0; ; tries++) {
    try {
      return await tryReadMessages(shard);
    } catch (error) {
      if (tries === 20) throw error;
    }
  }
}

async function tryReadMessages(shard: Shard): Promise<Map<number, FoundMessage[]>> {
  const queues = new Map<number, FoundMessage[]>();
  const entries = new Map<string, Buffer>();
  for (const [queueId, rows] of rowsOf(shard, false)) {
    const found: FoundMessage[] = [];
    for (const { sequence, deliveries, isCold, position, start, size } of rows) {
      const reader = isCold ? shard.readers.cold! : shard.readers.main;
      const text = textOf(await entryAt(reader, entries, position, isCold), start, size);
      found.push({ text, sequence, deliveries });
    }
    queues.set(queueId, found);
  }
  return queues;
}

async function entryAt(
  reader: LogReader,
  entries: Map<string, Buffer>,
  position: number,
  isCold: boolean,
): Promise<Buffer> {
  const key = `${position} ${isCold}`;
  let payload = entries.get(key);
  if (payload === undefined) {
    payload = (await reader.fetch([position]))[0]!.payload;
    entries.set(key, payload);
  }
  return payload;
}

/** Throws with the first line that differs. */
export function sameState(before: string, after: string): void {
  const expected = before.split("\n");
  const actual = after.split("\n");
  for (let i = 0; i < Math.max(expected.length, actual.length); i++) {
    if (expected[i] !== actual[i]) throw new Error(`recovered "${actual[i]}" where "${expected[i]}" was live`);
  }
}

/** Depths and references are what the rows say. */
export function checkCounters(shard: Shard): void {
  const references = new Map<string, number>();
  for (const queue of shard.state.queues.values()) {
    for (const lane of queue.lanes) {
      const counted = { ready: 0, inFlight: 0, bytes: 0 };
      for (const page of lane.pages.values()) {
        let live = 0;
        let returned = 0;
        for (let row = page.find(0, LIVE); row >= 0; row = page.find(row + 1, LIVE)) {
          const state = page.state(row);
          live++;
          if ((state & STATE_MASK) === RETURNED) returned++;
          if ((state & STATE_MASK) === IN_FLIGHT) counted.inFlight++;
          else counted.ready++;
          counted.bytes += page.size(row);
          if ((state & (TRANSIENT | SPILLED)) === TRANSIENT || page.position(row) === shard.openPosition) continue;
          const extents = (state & COLD) !== 0 ? shard.state.cold : shard.state.main;
          const key = `${(state & COLD) !== 0} ${extents.at(page.position(row)).first}`;
          references.set(key, (references.get(key) ?? 0) + 1);
        }
        assert.equal(page.live, live, "live rows of a page");
        assert.equal(page.returned, returned, "returned rows of a page");
        assert.equal(page.state(page.capacity) & STATE_MASK, ABSENT);
      }
      assert.deepEqual({ ready: lane.ready, inFlight: lane.inFlight, bytes: lane.bytes }, counted, `queue ${queue.id}`);
    }
  }
  for (const [isCold, extents] of [
    [false, shard.state.main],
    [true, shard.state.cold],
  ] as const) {
    for (const extent of extents.list) {
      assert.ok(extent.references >= (references.get(`${isCold} ${extent.first}`) ?? 0), "an extent lost a reference");
    }
  }
}
