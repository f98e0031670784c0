// The clients that are connected.

import { hasRole, type Actor } from "../access/roles.ts";
import { accessRefused } from "../refusals.ts";
import type { SessionView } from "../facade.ts";
import type { Sessions } from "../sessions.ts";

export class SessionManagement {
  readonly #sessions: Sessions;

  constructor(sessions: Sessions) {
    this.#sessions = sessions;
  }

  list(): IterableIterator<SessionView> {
    return this.#sessions.all();
  }

  get(id: number): SessionView | undefined {
    return this.#sessions.get(id);
  }

  /**
   * Ends a client's connection; false when there is none with this session id. Everybody may close the own
   * ones, administrators all. Throws "access-refused".
   */
  close(actor: Actor, id: number, reason: string): boolean {
    const session = this.#sessions.get(id);
    if (session?.client === undefined) return false;
    if (session.user !== actor.user && !hasRole(actor, "admin")) {
      throw accessRefused(`user '${actor.user}' may only close its own connections`);
    }
    session.client.close(reason);
    return true;
  }
}
