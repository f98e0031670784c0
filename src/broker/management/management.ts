// What people and programs do who run the broker: list, make, change and delete. Each call that changes
// something names who asks, and is refused like a client's request: with a BrokerError. It is decided and
// applied at once; `committed` tells when it is durable, and nobody should be answered before.

import type { Logins } from "../access/logins.ts";
import type { Namespace } from "../namespace.ts";
import type { Sessions } from "../sessions.ts";
import type { BrokerFacade } from "../facade.ts";
import type { Clock } from "../../ports/clock.ts";
import { DefinitionManagement } from "./definitions.ts";
import { MessageManagement } from "./messages.ts";
import { PolicyManagement } from "./policies.ts";
import { SessionManagement } from "./sessions.ts";
import { TopologyManagement } from "./topology.ts";
import { UserManagement } from "./users.ts";
import { VhostManagement } from "./vhosts.ts";

export interface ManagementParts {
  readonly namespace: Namespace;
  readonly sessions: Sessions;
  readonly logins: Logins;
  readonly clock: Clock;
  readonly facade: BrokerFacade;
}

export interface Management {
  readonly vhosts: VhostManagement;
  readonly users: UserManagement;
  readonly policies: PolicyManagement;
  readonly topology: TopologyManagement;
  readonly messages: MessageManagement;
  readonly sessions: SessionManagement;
  readonly definitions: DefinitionManagement;
  /** Resolves once everything that was changed so far is durable. */
  readonly committed: () => Promise<void>;
}

export function createManagement(parts: ManagementParts): Management {
  const { namespace, sessions, logins, facade } = parts;
  return {
    vhosts: new VhostManagement(namespace, sessions),
    users: new UserManagement(namespace, sessions, logins),
    policies: new PolicyManagement(namespace),
    topology: new TopologyManagement(parts),
    messages: new MessageManagement(parts),
    sessions: new SessionManagement(sessions),
    definitions: new DefinitionManagement(parts),
    committed: () => new Promise((resolve) => facade.whenMetaCommitted(resolve)),
  };
}
