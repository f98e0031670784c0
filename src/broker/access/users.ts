// Who may log in. Passwords are kept as salted SHA-256 digests and compared in constant time; an
// unknown user costs as much time as a wrong password, so that names cannot be found by timing.

import { createHash, timingSafeEqual } from "node:crypto";
import type { Random } from "../../ports/clock.ts";

export interface UserSettings {
  readonly name: string;
  readonly password: string;
  /** Refused from other machines: the well-known password of `guest` opens nothing to the network. */
  readonly loopbackOnly: boolean;
}

export const DEFAULT_USERS: readonly UserSettings[] = [{ name: "guest", password: "guest", loopbackOnly: true }];

interface User {
  readonly salt: Uint8Array;
  readonly digest: Buffer;
  readonly loopbackOnly: boolean;
}

const SALT_BYTES = 16;

export class Users {
  readonly #users = new Map<string, User>();
  readonly #nobody: User;

  constructor(settings: readonly UserSettings[], random: Random) {
    for (const { name, password, loopbackOnly } of settings) {
      const salt = random.bytes(SALT_BYTES);
      this.#users.set(name, { salt, digest: digestOf(salt, password), loopbackOnly });
    }
    const salt = random.bytes(SALT_BYTES);
    this.#nobody = { salt, digest: digestOf(salt, ""), loopbackOnly: false };
  }

  /** `loopback`: the peer is on this machine. */
  authenticate(name: string, password: string, loopback: boolean): boolean {
    const known = this.#users.get(name);
    const user = known ?? this.#nobody;
    const matches = timingSafeEqual(digestOf(user.salt, password), user.digest);
    return known !== undefined && matches && (loopback || !user.loopbackOnly);
  }
}

function digestOf(salt: Uint8Array, password: string): Buffer {
  return createHash("sha256").update(salt).update(password, "utf8").digest();
}
