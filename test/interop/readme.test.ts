// The README's programs, run as they stand there (only the port is another).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { startBroker } from "../../src/index.ts";
import { repositoryRoot } from "../unit/repository-root.ts";
import { missing, PIKA } from "./peers.ts";

const root = repositoryRoot(import.meta.url);
const readme = readFileSync(join(root, "README.md"), "utf8");

interface Snippet {
  readonly client: string;
  readonly language: string;
  readonly code: string;
}

/** The code blocks that follow a line with a client's name in bold. */
const snippets: Snippet[] = [...readme.matchAll(/^\*\*([\w@/-]+)\*\*\n\n```(\w+)\n([\s\S]*?)^```$/gm)].map(
  ([, client, language, code]) => ({ client: client ?? "", language: language ?? "", code: code ?? "" }),
);

test("the README has a program for each client library", () => {
  const clients = ["amqplib", "rabbitmq-client", "@cloudamqp/amqp-client", "pika"];
  assert.deepEqual(
    snippets.map(({ client }) => client),
    clients,
  );
});

for (const { client, language, code } of snippets) {
  test(`the README's program for ${client} publishes, is confirmed, and gets its message`, async (context) => {
    if (language === "python" && PIKA === undefined) return missing(context, "python3-pika");
    const broker = await startBroker({ memory: true, hosts: ["127.0.0.1"] });
    const program = code.replaceAll("127.0.0.1:5672", `127.0.0.1:${broker.addresses[0]?.port}`);
    const [command, args] =
      language === "python"
        ? ["/usr/bin/python3", ["-c", program]]
        : [process.execPath, ["--input-type=module", "-e", program]];
    const child = spawn(command as string, args as string[], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
    const gone = once(child, "close");
    const lines = createInterface(child.stdout);
    const line = await Promise.race([once(lines, "line"), gone.then(() => ["the program ended without a message"])]);
    assert.equal(line[0], "hello");
    child.kill("SIGTERM");
    await gone;
    await broker.close();
  });
}
