// Policies through the management interface, which both brokers have.

import type { Address } from "./runner.ts";

const LOGIN = `Basic ${Buffer.from("guest:guest").toString("base64")}`;

interface Policy {
  readonly pattern: string;
  readonly definition: Readonly<Record<string, string | number>>;
  readonly priority: number;
  readonly "apply-to": string;
}

async function call(address: Address, method: "PUT" | "DELETE", policy: string, body?: Policy): Promise<null> {
  if (address.httpPort === undefined) throw new Error("the broker was started without its management interface");
  const url = `http://${address.host}:${address.httpPort}/api/policies/%2F/${encodeURIComponent(policy)}`;
  const response = await fetch(url, {
    method,
    headers: { authorization: LOGIN, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!response.ok) throw new Error(`${method} of policy ${policy}: ${response.status} ${await response.text()}`);
  return null;
}

export const putPolicy = (address: Address, name: string, policy: Policy): Promise<null> =>
  call(address, "PUT", name, policy);

export const deletePolicy = (address: Address, name: string): Promise<null> => call(address, "DELETE", name);
