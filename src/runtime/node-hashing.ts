// PBKDF2 in Node's thread pool.

import { pbkdf2 } from "node:crypto";
import { promisify } from "node:util";
import type { Hashing } from "../ports/hashing.ts";

const derive = promisify(pbkdf2);
const BYTES = { sha256: 32, sha512: 64 } as const;

export function createNodeHashing(): Hashing {
  return {
    pbkdf2: ({ password, salt, iterations, hash }) => derive(password, salt, iterations, BYTES[hash], hash),
  };
}
