// The user that a broker starts with. Without any user nobody could ever log in to make one.

import type { Effect } from "../effects.ts";
import { DEFAULT_VHOST } from "../effects.ts";
import { checkNameLength, type Namespace } from "../namespace.ts";
import type { Logins } from "./logins.ts";
import { NO_LIMITS } from "./records.ts";

export interface FirstAdmin {
  readonly name: string;
  readonly password: string;
}

/** RabbitMQ's, which clients log in as by default; it may log in from this machine only. */
const GUEST: FirstAdmin = { name: "guest", password: "guest" };

/** Makes `admin` unless it is there, or guest when there is nobody at all. Throws "unavailable". */
export async function ensureFirstUser(
  namespace: Namespace,
  logins: Logins,
  admin: FirstAdmin | undefined,
): Promise<void> {
  const { users } = namespace.state.access;
  const wanted = admin ?? (users.size === 0 ? GUEST : undefined);
  if (wanted === undefined || users.has(wanted.name)) return;
  checkNameLength(wanted.name);
  const { name, password } = wanted;
  const secret = await logins.secretOf(password);
  const effects: Effect[] = [{ kind: "user-put", user: { name, tags: ["administrator"], secret, limits: NO_LIMITS } }];
  if (namespace.topology.vhosts.has(DEFAULT_VHOST)) {
    const everything = { configure: ".*", write: ".*", read: ".*" };
    effects.push({ kind: "permission-put", permission: { vhost: DEFAULT_VHOST, user: name, ...everything } });
  }
  namespace.commit(effects);
}
