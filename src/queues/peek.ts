// A look at the messages of a queue that are ready, without taking them: nothing of the queue's state
// changes, and nothing is marked as redelivered. Bodies are copied, from memory or from the logs, some at
// a time, since an entry that is read back holds many of them. What is gone by then is left out.

import type { LogReader } from "../log/log.ts";
import { BrokerError, StorageError } from "../model/errors.ts";
import type { Lane } from "./lane.ts";
import { COLD, READY, RETURNED, SPILLED, STATE_MASK, TRANSIENT } from "./page.ts";
import type { Queue } from "./queue.ts";
import type { Peeked, PeekOptions } from "./shard-port.ts";
import { locationKey, type ShardState } from "./shard-state.ts";
import type { Slabs } from "./slabs.ts";

/** Messages that are looked up together. */
const BATCH = 32;
/** Reads of a batch that the cleaner may cut across. */
const ATTEMPTS = 3;
const VISIBLE = (1 << READY) | (1 << RETURNED);

export interface PeekSources {
  readonly state: ShardState;
  readonly slabs: Slabs;
  readonly readers: { readonly main: LogReader; readonly cold: LogReader | undefined };
}

interface Place {
  readonly lane: Lane;
  readonly sequence: number;
}

/** In the order in which they would be delivered. Rejects with "unavailable" when a body cannot be read. */
export async function peek(queue: Queue, sources: PeekSources, options: PeekOptions): Promise<readonly Peeked[]> {
  const places = placesOf(queue, sources.state.pageRows, options);
  const found: Peeked[] = [];
  let bytes = 0;
  for (let at = 0; at < places.length && bytes < options.bytesMax; at += BATCH) {
    for (const message of await readBatch(queue, sources, places.slice(at, at + BATCH))) {
      if (found.length > 0 && bytes + message.record.length > options.bytesMax) return found;
      bytes += message.record.length;
      found.push(message);
    }
  }
  return found;
}

/** Higher priorities first; in a lane by sequence, which is where a message that came back stands again. */
function placesOf(queue: Queue, pageRows: number, { skip, count }: PeekOptions): readonly Place[] {
  const places: Place[] = [];
  let left = skip;
  for (const lane of queue.lanes.toReversed()) {
    for (const sequence of visibleRows(lane, pageRows)) {
      if (places.length >= count) return places;
      if (left > 0) left--;
      else places.push({ lane, sequence });
    }
  }
  return places;
}

function* visibleRows(lane: Lane, pageRows: number): Generator<number> {
  const numbers = [...lane.pages.keys()].sort((a, b) => a - b);
  for (const number of numbers) {
    const page = lane.pages.get(number);
    for (let row = page?.find(0, VISIBLE) ?? -1; row >= 0; row = page?.find(row + 1, VISIBLE) ?? -1) {
      const sequence = number * pageRows + row;
      // A purge drops what was never delivered below the cursor bit by bit.
      if (sequence >= lane.cursor || (page!.state(row) & STATE_MASK) === RETURNED) yield sequence;
    }
  }
}

async function readBatch(queue: Queue, sources: PeekSources, places: readonly Place[]): Promise<readonly Peeked[]> {
  let entries: ReadonlyMap<number, Buffer> = new Map();
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const { found, absent } = lookUp(queue, sources, places, entries);
    if (absent.length === 0) return found;
    try {
      entries = await fetchAll(sources, absent);
    } catch (error) {
      if (!(error instanceof StorageError)) throw error;
      // The cleaner may have moved a body before the read got there: the rows know where it is now.
      if (attempt < ATTEMPTS) continue;
      throw new BrokerError("unavailable", `a message cannot be read back: ${error.message}`, { cause: error });
    }
  }
  return lookUp(queue, sources, places, entries).found;
}

interface Location {
  readonly position: number;
  readonly cold: boolean;
}

/** What is in memory or among `entries`, and where the rest is. */
function lookUp(
  queue: Queue,
  { state, slabs }: PeekSources,
  places: readonly Place[],
  entries: ReadonlyMap<number, Buffer>,
): { readonly found: readonly Peeked[]; readonly absent: readonly Location[] } {
  const found: Peeked[] = [];
  const absent: Location[] = [];
  if (queue.deleted) return { found, absent };
  for (const { lane, sequence } of places) {
    const page = lane.page(Math.floor(sequence / state.pageRows));
    const row = lane.rowOf(sequence);
    if (page?.find(row, VISIBLE) !== row) continue;
    const flags = page.state(row);
    const position = page.position(row);
    const cold = (flags & COLD) !== 0;
    let bytes: Buffer | undefined;
    let start = page.offset(row) * 8;
    if ((flags & (TRANSIENT | SPILLED)) === TRANSIENT) {
      bytes = state.transient.get(position);
    } else if (!cold && slabs.find(position)) {
      bytes = slabs.foundBytes;
      start += slabs.foundStart;
    } else {
      bytes = entries.get(locationKey(position, cold));
    }
    if (bytes === undefined) absent.push({ position, cold });
    else {
      const record = Buffer.from(bytes.subarray(start, start + page.size(row)));
      found.push({ record, deliveries: page.deliveries(row) });
    }
  }
  return { found, absent };
}

async function fetchAll(
  { readers }: PeekSources,
  locations: readonly Location[],
): Promise<ReadonlyMap<number, Buffer>> {
  const entries = new Map<number, Buffer>();
  for (const cold of [false, true]) {
    const wanted = locations.filter((location) => location.cold === cold).map(({ position }) => position);
    const reader = cold ? readers.cold : readers.main;
    if (wanted.length === 0 || reader === undefined) continue;
    const positions = [...new Set(wanted)].sort((a, b) => a - b);
    for (const { position, payload } of await reader.fetch(positions))
      entries.set(locationKey(position, cold), payload);
  }
  return entries;
}
