// How a verb reaches the running broker, and in which form it prints.

import type { FlagSpec } from "./verb.ts";

export const CONNECTION_FLAGS: readonly FlagSpec[] = [
  { name: "url", value: "URL", help: "HTTP address of the broker [QUAYSIDE_URL, or http://127.0.0.1:15672]" },
  { name: "user", value: "NAME", help: "who asks [QUAYSIDE_USER, or guest]" },
  {
    name: "password-file",
    value: "FILE",
    help: "file whose first line is the password [or the variable QUAYSIDE_PASSWORD, or guest for guest]",
  },
  { name: "vhost", value: "NAME", help: "vhost that the verb works in [QUAYSIDE_VHOST, or /]" },
  { name: "output", short: "o", value: "json|table", help: "form of the output [table]" },
];
