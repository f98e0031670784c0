// /v1/safe-defaults: retries and a dead-letter queue for queues that have none.

import { json } from "../answers.ts";
import { optionalText } from "../rabbitmq/fields.ts";
import type { Route } from "../route.ts";

export const SAFE_DEFAULT_ROUTES: readonly Route[] = [
  {
    method: "PUT",
    path: "/v1/safe-defaults/{vhost}",
    summary:
      "Sets a policy that gives each queue whose name matches {pattern} retries and a dead-letter queue of its own.",
    role: "operator",
    handler: async (call) => {
      const body = await call.object();
      const { policies, committed } = call.admin.broker.management;
      const pattern = optionalText(body, "pattern") ?? ".*";
      const policy = policies.putSafeDefaults(call.actor, call.vhost(), pattern, optionalText(body, "name"));
      await committed();
      return json({ ...policy, definition: Object.fromEntries(policy.definition) });
    },
  },
];
