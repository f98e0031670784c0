// What people and programs do who run the broker: list, make, change and delete. Each call that changes
// something names who asks, and is refused like a client's request: with a BrokerError. It is decided and
// applied at once; `committed` tells when it is durable, and nobody should be answered before.

import type { Logins } from "../access/logins.ts";
import type { Namespace } from "../namespace.ts";
import type { Sessions } from "../sessions.ts";
import { SessionManagement } from "./sessions.ts";
import { UserManagement } from "./users.ts";
import { VhostManagement } from "./vhosts.ts";

export interface ManagementParts {
  readonly namespace: Namespace;
  readonly sessions: Sessions;
  readonly logins: Logins;
}

export interface Management {
  readonly vhosts: VhostManagement;
  readonly users: UserManagement;
  readonly sessions: SessionManagement;
  /** Resolves once everything that was changed so far is durable. */
  committed(): Promise<void>;
}

export function createManagement({ namespace, sessions, logins }: ManagementParts): Management {
  return {
    vhosts: new VhostManagement(namespace, sessions),
    users: new UserManagement(namespace, sessions, logins),
    sessions: new SessionManagement(sessions),
    committed: () => new Promise((resolve) => namespace.meta.whenCommitted(resolve)),
  };
}
