// What is kept of a password, and how one is checked against it. Never the password itself:
//
//   scram     the verifiers of SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677):
//               SaltedPassword = PBKDF2-HMAC-H(password, salt, iterations)
//               StoredKey      = H(HMAC-H(SaltedPassword, "Client Key"))
//               ServerKey      = HMAC-H(SaltedPassword, "Server Key")
//   rabbitmq  a hash from RabbitMQ's definitions: base64(salt of 4 bytes + H(salt + password))
//   none      nobody logs in with a password (certificates, or nothing yet)
//
// The password goes into PBKDF2 as its UTF-8 bytes, without SASLprep, as clients of Kafka do it.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { DecodeError } from "../../model/errors.ts";
import type { JsonValue } from "../../model/field-table-json.ts";
import type { Random } from "../../ports/clock.ts";
import type { Hashing, ScramHash } from "../../ports/hashing.ts";
import { JsonFields } from "../json-fields.ts";

export interface ScramVerifier {
  readonly salt: Buffer;
  readonly iterations: number;
  readonly storedKey: Buffer;
  readonly serverKey: Buffer;
}

export type RabbitHash = "sha256" | "sha512" | "md5";

export type Secret =
  | { readonly kind: "scram"; readonly sha256: ScramVerifier; readonly sha512: ScramVerifier }
  | { readonly kind: "rabbitmq"; readonly algorithm: RabbitHash; readonly hash: Buffer }
  | { readonly kind: "none" };

export const NO_SECRET: Secret = { kind: "none" };

/** About 10 ms of one core for each; clients that speak SCRAM do the same work, and Kafka's allow no more. */
const ITERATIONS = 16_384;
const SALT_BYTES = 16;
const RABBITMQ_SALT_BYTES = 4;
const DIGEST_BYTES = { md5: 16, sha256: 32, sha512: 64 } as const;

/** Derives the verifiers of a new password. */
export async function secretOf(password: string, hashing: Hashing, random: Random): Promise<Secret> {
  const verifiers: ScramVerifier[] = [];
  for (const hash of ["sha256", "sha512"] as const) {
    const salt = Buffer.from(random.bytes(SALT_BYTES));
    const salted = await hashing.pbkdf2({ password, salt, iterations: ITERATIONS, hash });
    const keys = { storedKey: storedKeyOf(salted, hash), serverKey: hmac(hash, salted, "Server Key") };
    verifiers.push({ salt, iterations: ITERATIONS, ...keys });
  }
  const [sha256, sha512] = verifiers;
  if (sha256 === undefined || sha512 === undefined) throw new TypeError("there is a verifier for each hash");
  return { kind: "scram", sha256, sha512 };
}

/** A secret that no password matches and that takes as long to check as any other. */
export function decoy(random: Random): Secret {
  const verifier = (bytes: number): ScramVerifier => ({
    salt: Buffer.from(random.bytes(SALT_BYTES)),
    iterations: ITERATIONS,
    storedKey: Buffer.from(random.bytes(bytes)),
    serverKey: Buffer.alloc(bytes),
  });
  return { kind: "scram", sha256: verifier(DIGEST_BYTES.sha256), sha512: verifier(DIGEST_BYTES.sha512) };
}

/** True when this is the password. */
export async function matchesSecret(password: string, secret: Secret, hashing: Hashing): Promise<boolean> {
  switch (secret.kind) {
    case "none":
      return false;
    case "rabbitmq": {
      const salt = secret.hash.subarray(0, RABBITMQ_SALT_BYTES);
      const digest = createHash(secret.algorithm).update(salt).update(password, "utf8").digest();
      return timingSafeEqual(digest, secret.hash.subarray(RABBITMQ_SALT_BYTES));
    }
    case "scram": {
      const { salt, iterations, storedKey } = secret.sha256;
      const salted = await hashing.pbkdf2({ password, salt, iterations, hash: "sha256" });
      return timingSafeEqual(storedKeyOf(salted, "sha256"), storedKey);
    }
  }
}

/** RabbitMQ's form of a password hash. Throws DecodeError when it is none. */
export function rabbitSecret(algorithm: RabbitHash, base64: string): Secret {
  const hash = Buffer.from(base64, "base64");
  if (hash.length !== RABBITMQ_SALT_BYTES + DIGEST_BYTES[algorithm]) {
    throw new DecodeError(`a password hash of ${algorithm} has ${hash.length} bytes`);
  }
  return { kind: "rabbitmq", algorithm, hash };
}

export function secretToJson(secret: Secret): JsonValue {
  switch (secret.kind) {
    case "none":
      return { kind: secret.kind };
    case "rabbitmq":
      return { kind: secret.kind, algorithm: secret.algorithm, hash: secret.hash.toString("base64") };
    case "scram":
      return { kind: secret.kind, sha256: verifierToJson(secret.sha256), sha512: verifierToJson(secret.sha512) };
  }
}

/** Reads what `secretToJson` wrote. Throws DecodeError on anything else. */
export function secretFromJson(json: unknown): Secret {
  const fields = new JsonFields(json);
  const kind = fields.string("kind");
  switch (kind) {
    case "none":
      return NO_SECRET;
    case "rabbitmq": {
      const algorithm = fields.string("algorithm");
      if (!isRabbitHash(algorithm)) throw new DecodeError(`unknown password hash ${algorithm}`);
      return rabbitSecret(algorithm, fields.string("hash"));
    }
    case "scram":
      return {
        kind,
        sha256: verifierFromJson(fields.get("sha256"), DIGEST_BYTES.sha256),
        sha512: verifierFromJson(fields.get("sha512"), DIGEST_BYTES.sha512),
      };
    default:
      throw new DecodeError(`unknown kind of secret: ${kind}`);
  }
}

export function isRabbitHash(algorithm: string): algorithm is RabbitHash {
  return Object.hasOwn(DIGEST_BYTES, algorithm);
}

function storedKeyOf(salted: Buffer, hash: ScramHash): Buffer {
  return createHash(hash)
    .update(hmac(hash, salted, "Client Key"))
    .digest();
}

function hmac(hash: ScramHash, key: Buffer, text: string): Buffer {
  return createHmac(hash, key).update(text).digest();
}

function verifierToJson({ salt, iterations, storedKey, serverKey }: ScramVerifier): JsonValue {
  const text = (bytes: Buffer): string => bytes.toString("base64");
  return { salt: text(salt), iterations, storedKey: text(storedKey), serverKey: text(serverKey) };
}

function verifierFromJson(json: unknown, keyBytes: number): ScramVerifier {
  const fields = new JsonFields(json);
  const bytes = (name: string): Buffer => Buffer.from(fields.string(name), "base64");
  const [salt, storedKey, serverKey] = [bytes("salt"), bytes("storedKey"), bytes("serverKey")];
  const iterations = fields.integer("iterations");
  if (salt.length === 0 || storedKey.length !== keyBytes || serverKey.length !== keyBytes) {
    throw new DecodeError("a verifier's keys have the wrong size");
  }
  // More would let a definitions file occupy the hashing thread for as long as it likes.
  if (iterations < 1 || iterations > ITERATIONS_MAX) throw new DecodeError(`a verifier has ${iterations} iterations`);
  return { salt, iterations, storedKey, serverKey };
}

const ITERATIONS_MAX = 1_000_000;
