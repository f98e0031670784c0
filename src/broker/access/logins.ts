// Who may log in. Checking a password is slow on purpose, so it runs beside the event loop, one at a time
// and with turns for each address: a storm of clients that reconnect neither stalls the broker nor takes the
// machine's cores. The same question that is asked again while it is being answered shares that answer, and a
// good answer is remembered for a minute.
//
// An unknown user costs as much time as a wrong password, so that names cannot be found by timing.

import { createHmac } from "node:crypto";
import { LIMITS } from "../../limits.ts";
import { BrokerError } from "../../model/errors.ts";
import type { Clock, Random } from "../../ports/clock.ts";
import type { Hashing } from "../../ports/hashing.ts";
import type { Logger } from "../../ports/logger.ts";
import { HashLine } from "./hash-line.ts";
import { LoginBackoff } from "./login-backoff.ts";
import type { AuthenticatedUser, Login } from "./login.ts";
import type { AccessRecords, UserRecord } from "./records.ts";
import { decoy, matchesSecret, secretOf, type Secret } from "./secrets.ts";

export interface LoginsOptions {
  readonly records: AccessRecords;
  readonly hashing: Hashing;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Refused from other machines: the well-known password of `guest` opens nothing to the network. */
  readonly loopbackUsers: ReadonlySet<string>;
  /** Replaces a user's secret. */
  readonly upgrade: (user: UserRecord) => void;
}

type Answer = (accepted: boolean) => void;

interface Known {
  /** The secret that the password matched; another one means it was changed. */
  readonly secret: Secret;
  readonly untilMs: number;
}

export class Logins {
  readonly #options: LoginsOptions;
  readonly #backoff: LoginBackoff;
  readonly #key: Uint8Array;
  readonly #decoy: Secret;
  /** Passwords that were right, by a keyed hash of user and password; never the password itself. */
  readonly #known = new Map<string, Known>();
  /** Questions that wait for their hash, with everybody who asked. */
  readonly #asked = new Map<string, Answer[]>();
  readonly #line = new HashLine();

  constructor(options: LoginsOptions) {
    this.#options = options;
    this.#backoff = new LoginBackoff(options.clock);
    this.#key = options.random.bytes(32);
    this.#decoy = decoy(options.random);
  }

  /** Calls `done` once: at once when the answer is known, else when the password is checked. */
  logIn(login: Login, done: (user: AuthenticatedUser | undefined) => void): void {
    const { records, clock } = this.#options;
    const key = this.#keyOf(login);
    if (this.#isKnown(key, login.user)) {
      done(this.#admit(login));
      return;
    }
    const answer: Answer = (accepted) => {
      if (accepted) this.#backoff.succeeded(login.peerHost);
      else this.#backoff.failed(login.peerHost);
      done(accepted ? this.#admit(login) : undefined);
    };
    const delayMs = this.#backoff.delayMs(login.peerHost);
    if (delayMs === 0) this.#ask(key, login, records.users.get(login.user), answer);
    else clock.after(delayMs, () => this.#ask(key, login, records.users.get(login.user), answer));
  }

  /** The user that a checked certificate names: it needs no password. */
  byCertificate(name: string, peerIsLoopback: boolean): AuthenticatedUser | undefined {
    return this.#admit({ user: name, peerIsLoopback });
  }

  /** What is kept of a new password. Waits in the line of hashes. */
  secretOf(password: string): Promise<Secret> {
    return this.#line.run("", () => secretOf(password, this.#options.hashing, this.#options.random));
  }

  #ask(key: string, login: Login, user: UserRecord | undefined, answer: Answer): void {
    const waiting = this.#asked.get(key);
    if (waiting !== undefined) {
      waiting.push(answer);
      return;
    }
    const answers = [answer];
    this.#asked.set(key, answers);
    const checked = this.#line.run(login.peerHost, () => this.#check(key, login, user));
    const tell = (accepted: boolean): void => {
      this.#asked.delete(key);
      for (const each of answers) each(accepted);
    };
    void checked.then(tell, (error: unknown) => {
      // The login is refused, and whoever runs the broker must learn why.
      this.#options.logger.error("a password could not be checked", { error: String(error) });
      tell(false);
    });
  }

  async #check(key: string, { password }: Login, user: UserRecord | undefined): Promise<boolean> {
    const { hashing } = this.#options;
    const secret = user === undefined || user.secret.kind === "none" ? this.#decoy : user.secret;
    const matches = await matchesSecret(password, secret, hashing);
    // RabbitMQ lets nobody in with an empty password, whatever is stored.
    if (!matches || user === undefined || password === "") return false;
    this.#remember(key, secret.kind === "rabbitmq" ? await this.#upgraded(user, password) : secret);
    return true;
  }

  /** A hash from RabbitMQ is weak and serves no SCRAM client: the first login replaces it. */
  async #upgraded(user: UserRecord, password: string): Promise<Secret> {
    const { hashing, random, records, upgrade, logger } = this.#options;
    const secret = await secretOf(password, hashing, random);
    const now = records.users.get(user.name);
    if (now === undefined || now.secret !== user.secret) return user.secret;
    try {
      upgrade({ ...now, secret });
      return secret;
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error;
      // Nothing is stored any more. The password was right all the same.
      logger.warn("the password hash of a user was not upgraded", { user: user.name, error: error.message });
      return user.secret;
    }
  }

  #remember(key: string, secret: Secret): void {
    this.#known.delete(key);
    const [oldest] = this.#known.keys();
    if (oldest !== undefined && this.#known.size >= LIMITS.loginsKnownMax) this.#known.delete(oldest);
    this.#known.set(key, { secret, untilMs: this.#options.clock.monotonicMs() + LIMITS.loginKnownMs });
  }

  #isKnown(key: string, user: string): boolean {
    const known = this.#known.get(key);
    if (known === undefined) return false;
    const current = this.#options.records.users.get(user)?.secret;
    if (known.secret === current && this.#options.clock.monotonicMs() < known.untilMs) return true;
    this.#known.delete(key);
    return false;
  }

  #admit({ user, peerIsLoopback }: Pick<Login, "user" | "peerIsLoopback">): AuthenticatedUser | undefined {
    const record = this.#options.records.users.get(user);
    if (record === undefined || (!peerIsLoopback && this.#options.loopbackUsers.has(user))) return undefined;
    return { name: record.name, tags: record.tags };
  }

  #keyOf({ user, password }: Login): string {
    return createHmac("sha256", this.#key).update(`${user.length}:${user}${password}`).digest("base64");
  }
}
