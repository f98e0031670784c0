// Randomness of the real world, from the system's generator.

import { randomBytes } from "node:crypto";
import type { Random } from "../ports/clock.ts";

/** Bytes drawn at once: a system call per number would cost more than the number. */
const POOL_BYTES = 4096;

export function createNodeRandom(): Random {
  let pool = Buffer.alloc(0);
  let at = 0;
  return {
    u32(): number {
      if (at + 4 > pool.length) {
        pool = randomBytes(POOL_BYTES);
        at = 0;
      }
      const value = pool.readUInt32LE(at);
      at += 4;
      return value;
    },
    bytes: (size: number) => randomBytes(size),
  };
}
