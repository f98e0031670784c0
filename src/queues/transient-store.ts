// Bodies of transient messages: slabs in memory, each with a count of the rows that point at it. A
// slab is dropped when its last row is gone. Above its limit the store refuses, and the shard writes
// the body to the log instead (nothing waits for that write).

import { assert } from "../assert.ts";

interface TransientSlab {
  readonly bytes: Buffer;
  references: number;
}

export class TransientStore {
  usedBytes = 0;
  private readonly slabBytes: number;
  private readonly limitBytes: number;
  private readonly slabs = new Map<number, TransientSlab>();
  private readonly pool: Buffer[] = [];
  private nextId = 1;
  private openId = 0;
  private open: TransientSlab | undefined = undefined;
  private at = 0;
  private cachedId = 0;
  private cached: TransientSlab | undefined = undefined;

  /** Where `reserve` made room. */
  slabId = 0;
  bytes: Buffer = Buffer.alloc(0);
  offset = 0;

  constructor(slabBytes: number, limitBytes: number) {
    this.slabBytes = slabBytes;
    this.limitBytes = limitBytes;
  }

  /** Makes room for a record; false when the limit is reached. The result is in slabId, bytes, offset. */
  reserve(size: number): boolean {
    if (this.open === undefined || this.at + size > this.open.bytes.length) {
      const needed = Math.max(this.slabBytes, size);
      if (this.usedBytes + needed > this.limitBytes) return false;
      this.closeOpen();
      const pooled = needed === this.slabBytes ? this.pool.pop() : undefined;
      this.open = { bytes: pooled ?? Buffer.allocUnsafeSlow(needed), references: 0 };
      this.openId = this.nextId++;
      this.slabs.set(this.openId, this.open);
      this.usedBytes += needed;
      this.at = 0;
    }
    this.slabId = this.openId;
    this.bytes = this.open.bytes;
    this.offset = this.at;
    this.at += (size + 7) & ~7;
    return true;
  }

  get(slabId: number): Buffer {
    return this.slab(slabId).bytes;
  }

  retain(slabId: number): void {
    this.slab(slabId).references++;
  }

  release(slabId: number): void {
    const slab = this.slab(slabId);
    assert(slab.references > 0, "a transient slab is released as often as it was retained");
    slab.references--;
    if (slab.references > 0) return;
    if (slab === this.open) this.at = 0;
    else this.drop(slabId, slab);
  }

  private slab(slabId: number): TransientSlab {
    if (this.cachedId === slabId) return this.cached!;
    const slab = this.slabs.get(slabId);
    assert(slab !== undefined, "a transient row points at a slab");
    this.cachedId = slabId;
    this.cached = slab;
    return slab;
  }

  private closeOpen(): void {
    const open = this.open;
    this.open = undefined;
    if (open !== undefined && open.references === 0) this.drop(this.openId, open);
  }

  private drop(slabId: number, slab: TransientSlab): void {
    this.slabs.delete(slabId);
    if (this.cachedId === slabId) {
      this.cachedId = 0;
      this.cached = undefined;
    }
    this.usedBytes -= slab.bytes.length;
    if (slab.bytes.length === this.slabBytes && this.pool.length < 4) this.pool.push(slab.bytes);
  }
}
