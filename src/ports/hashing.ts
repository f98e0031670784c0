// Password hashing: slow on purpose, so it runs beside the event loop.

export type ScramHash = "sha256" | "sha512";

export interface PasswordToHash {
  readonly password: string;
  readonly salt: Uint8Array;
  readonly iterations: number;
  readonly hash: ScramHash;
}

export interface Hashing {
  /** PBKDF2 with HMAC (RFC 8018); as many bytes as the hash has. */
  pbkdf2(what: PasswordToHash): Promise<Buffer>;
}
