// The sessions that are open: who is logged in, where, and by which connection; and how many there may be.

import { BrokerError } from "../model/errors.ts";
import { ALL_GRANTS, type Access, type Grants } from "./access/grants.ts";
import type { AccessRecords } from "./access/records.ts";
import type { ClientConnection, Session, SessionView } from "./facade.ts";
import type { MetaState } from "./meta-state.ts";
import type { Queue, Vhost } from "./topology.ts";

/** Who asks: a user with its rights as they are at the moment, or the broker itself. */
interface Asker {
  readonly user: string;
  readonly access: Access;
  readonly records: AccessRecords;
}

/** The door's session plus what the broker keeps for it. */
export class OpenSession implements Session, SessionView {
  /** Above 0; 0 for work that no connection stands behind, which therefore owns nothing. */
  readonly id: number;
  readonly user: string;
  readonly home: Vhost;
  readonly client: ClientConnection | undefined;
  /** Its exclusive queues, which die with it. */
  readonly queues = new Set<Queue>();
  readonly #asker: Asker | undefined;
  #grants: Grants = ALL_GRANTS;
  #grantsVersion = 0;

  constructor(id: number, home: Vhost, asker?: Asker, client?: ClientConnection) {
    this.id = id;
    this.user = asker?.user ?? "";
    this.home = home;
    this.client = client;
    this.#asker = asker;
  }

  get vhost(): string {
    return this.home.name;
  }

  /** What the user may do in the vhost now. */
  get grants(): Grants {
    const asker = this.#asker;
    if (asker !== undefined && this.#grantsVersion !== asker.records.version) {
      this.#grants = asker.access.grantsOf(asker.user, this.vhost);
      this.#grantsVersion = asker.records.version;
    }
    return this.#grants;
  }

  get mayImpersonate(): boolean {
    return this.#asker?.records.users.get(this.user)?.tags.includes("impersonator") ?? true;
  }
}

export class Sessions {
  readonly #state: MetaState;
  readonly #access: Access;
  readonly #open = new Map<number, OpenSession>();
  #lastId = 0;

  constructor(state: MetaState, access: Access) {
    this.#state = state;
    this.#access = access;
  }

  get size(): number {
    return this.#open.size;
  }

  all(): IterableIterator<OpenSession> {
    return this.#open.values();
  }

  get(id: number): OpenSession | undefined {
    return this.#open.get(id);
  }

  /** Lets a user in. Throws "not-allowed", in RabbitMQ's words. */
  open(user: string, vhost: string, client?: ClientConnection): OpenSession {
    const home = this.#state.topology.vhosts.get(vhost);
    if (home === undefined) throw notAllowed(`vhost ${vhost} not found`);
    const refused = `access to vhost '${vhost}' refused for user '${user}'`;
    const { maxConnections } = home.record.limits;
    if (maxConnections !== undefined && this.#count((each) => each.home === home) >= maxConnections) {
      throw notAllowed(`${refused}: connection limit (${maxConnections}) is reached`);
    }
    const own = this.#state.access.users.get(user)?.limits.maxConnections;
    if (own !== undefined && this.#count((each) => each.user === user) >= own) {
      throw notAllowed(`connection refused for user '${user}': user connection limit (${own}) is reached`);
    }
    if (!this.#access.mayEnter(user, vhost)) throw notAllowed(refused);
    const session = new OpenSession(++this.#lastId, home, this.#asker(user), client);
    this.#open.set(session.id, session);
    return session;
  }

  close(id: number): void {
    this.#open.delete(id);
  }

  /** A session for one request that no connection stands behind. Without a user: the broker's own. */
  passing(home: Vhost, user?: string): OpenSession {
    return new OpenSession(0, home, user === undefined ? undefined : this.#asker(user));
  }

  /** Throws "not-allowed" when the user has as many channels open as it may have. */
  checkChannelLimit(session: OpenSession): void {
    const limit = this.#state.access.users.get(session.user)?.limits.maxChannels;
    if (limit === undefined) return;
    let count = 0;
    for (const { user, client } of this.#open.values()) {
      if (user === session.user) count += client?.channels().length ?? 0;
    }
    if (count < limit) return;
    throw notAllowed(
      `number of channels opened for user '${session.user}' has reached the maximum allowed user limit of ${limit}`,
    );
  }

  /** Ends the connections of sessions that have lost what they stand on. */
  closeWhere(concerns: (session: OpenSession) => boolean, reason: string): void {
    const found = [...this.#open.values()].filter(concerns);
    for (const { client } of found) client?.close(reason);
  }

  #asker(user: string): Asker {
    return { user, access: this.#access, records: this.#state.access };
  }

  #count(concerns: (session: OpenSession) => boolean): number {
    let count = 0;
    for (const session of this.#open.values()) if (concerns(session)) count++;
    return count;
  }
}

function notAllowed(message: string): BrokerError {
  return new BrokerError("not-allowed", message);
}
