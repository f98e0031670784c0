// Message groups of one queue: messages of one key are delivered one after the other, those of different
// keys in parallel. A message whose key is busy is parked when its turn comes, and takes its place again
// when the one before it is gone for good: acked, dropped, or a dead letter; a message that only came back
// keeps its key busy, or a later one would overtake it.
//
// Parked rows are DELAYED with the due time PARKED, which the log knows (HOLD): after a restart they are
// ready again, in their order.

import { recordEnvelopeEnd } from "../model/message.ts";
import { readHeaders } from "../model/properties.ts";
import type { Lane } from "./lane.ts";

const GROUP_HEADER = "x-message-group";
/** Parked rows at most: then the queue waits until a key is free. */
const PARKED_MAX = 8192;
/** Sequences of a lane stay below this. */
const SEQUENCES = 2 ** 44;

interface Group {
  /** The row that is at work, or came back and goes first. */
  owner: number;
  /** Rows that wait, in their order. */
  readonly parked: { readonly lane: Lane; readonly sequence: number }[];
}

export class Groups {
  parkedCount = 0;
  private readonly byKey = new Map<string, Group>();
  private readonly keys = new Map<number, string>();

  /** No row may be parked any more. */
  get isFull(): boolean {
    return this.parkedCount >= PARKED_MAX;
  }

  /**
   * The turn of a row has come. True: it may be delivered, and has its key from now on (a message without a
   * key always may). False: it is parked.
   */
  admits(lane: Lane, sequence: number, key: string | undefined): boolean {
    if (key === undefined) return true;
    const row = rowKey(lane, sequence);
    const group = this.byKey.get(key);
    if (group === undefined) {
      this.byKey.set(key, { owner: row, parked: [] });
      this.keys.set(row, key);
      return true;
    }
    if (group.owner === row) return true;
    group.parked.push({ lane, sequence });
    this.parkedCount++;
    return false;
  }

  /** A row is gone for good. Returns the parked row that follows it, or undefined. */
  release(lane: Lane, sequence: number): { readonly lane: Lane; readonly sequence: number } | undefined {
    const row = rowKey(lane, sequence);
    const key = this.keys.get(row);
    if (key === undefined) return undefined;
    this.keys.delete(row);
    const group = this.byKey.get(key);
    const next = group?.parked.shift();
    if (group === undefined || next === undefined) {
      this.byKey.delete(key);
      return undefined;
    }
    this.parkedCount--;
    group.owner = rowKey(next.lane, next.sequence);
    this.keys.set(group.owner, key);
    return next;
  }

  /** Takes all parked rows out, for a purge. */
  *takeParked(): Generator<{ readonly lane: Lane; readonly sequence: number }, void, void> {
    for (const group of this.byKey.values()) yield* group.parked.splice(0);
    this.parkedCount = 0;
  }
}

function rowKey(lane: Lane, sequence: number): number {
  return lane.index * SEQUENCES + sequence;
}

/** The key of the record at bytes[start, ...); undefined: it has none. */
export function readGroupKey(bytes: Buffer, start: number): string | undefined {
  const propertiesAt = recordEnvelopeEnd(bytes, start);
  const size = bytes.readUInt32LE(propertiesAt);
  if (size === 0) return undefined;
  const value = readHeaders(bytes, propertiesAt + 4, propertiesAt + 4 + size).get(GROUP_HEADER);
  return typeof value === "string" || typeof value === "number" || typeof value === "bigint" ? `${value}` : undefined;
}
