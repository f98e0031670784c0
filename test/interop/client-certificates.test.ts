// TLS with client certificates: who is verified may log in by EXTERNAL, who is not may not, and nobody
// speaks a version of TLS that is no longer safe.

import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import amqplib, { credentials } from "amqplib";
import { type RunningBroker, startBroker } from "../../src/main.ts";
import { missing } from "./peers.ts";

const HAS_OPENSSL = spawnSync("openssl", ["version"], { stdio: "ignore" }).status === 0;

interface Identity {
  readonly cert: string;
  readonly key: string;
}

/** A certificate that vouches for itself. */
function identity(folder: string, name: string): Identity {
  const [key, cert] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const subject = ["-days", "2", "-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"];
  const made = spawnSync("openssl", ["req", "-x509", ...curve, ...subject, "-keyout", key, "-out", cert]);
  assert.equal(made.status, 0, made.stderr.toString());
  return { cert: readFileSync(cert, "utf8"), key: readFileSync(key, "utf8") };
}

describe("client certificates", () => {
  let folder: string;
  let broker: RunningBroker | undefined;
  let port = 0;
  let server: Identity;
  let guest: Identity;
  let nobody: Identity;
  let stranger: Identity;

  before(async () => {
    if (!HAS_OPENSSL) return;
    folder = mkdtempSync(join(tmpdir(), "quayside-certificates-"));
    const made = ["server", "guest", "nobody", "stranger"].map((name) => identity(folder, name));
    [server, guest, nobody, stranger] = made as [Identity, Identity, Identity, Identity];
    const ca = guest.cert + nobody.cert;
    const tls = { cert: server.cert, key: server.key, ca, clientsMust: false };
    broker = await startBroker({ memory: true, hosts: ["127.0.0.1"], amqpPort: "off", amqpsPort: 0, tls });
    port = broker.addresses.find(({ protocol }) => protocol === "amqps")?.port ?? 0;
  });
  after(async () => {
    await broker?.close();
    if (HAS_OPENSSL) rmSync(folder, { recursive: true, force: true });
  });

  const external = (who: Identity) =>
    amqplib.connect(
      { protocol: "amqps", hostname: "127.0.0.1", port },
      { ca: [server.cert], cert: who.cert, key: who.key, credentials: credentials.external() },
    );

  test("a certificate that is vouched for logs in as its common name", async (t) => {
    if (!HAS_OPENSSL) return missing(t, "openssl");
    const connection = await external(guest);
    const channel = await connection.createChannel();
    assert.equal((await channel.assertQueue("", { exclusive: true })).messageCount, 0);
    await connection.close();
  });

  test("a certificate of an unknown user, or one that nobody vouches for, does not log in", async (t) => {
    if (!HAS_OPENSSL) return missing(t, "openssl");
    await assert.rejects(external(nobody), /ACCESS[_-]REFUSED|403|Handshake terminated|Socket closed/i);
    await assert.rejects(external(stranger), /EXTERNAL is not provided by the server/);
  });

  test("without a certificate a password does", async (t) => {
    if (!HAS_OPENSSL) return missing(t, "openssl");
    const connection = await amqplib.connect(`amqps://guest:guest@127.0.0.1:${port}`, { ca: [server.cert] });
    await connection.close();
  });

  test("TLS 1.1 is refused, 1.2 is spoken", async (t) => {
    if (!HAS_OPENSSL) return missing(t, "openssl");
    const speak = async (version: "TLSv1.1" | "TLSv1.2"): Promise<string | null> => {
      // Security level 0 lets the client offer what its own defaults would not.
      const ciphers = "DEFAULT:@SECLEVEL=0";
      const range = { minVersion: version, maxVersion: version, ciphers } as const;
      const socket = connectTls({ host: "127.0.0.1", port, ca: server.cert, ...range });
      await once(socket, "secureConnect");
      const spoken = socket.getProtocol();
      socket.destroy();
      return spoken;
    };
    await assert.rejects(speak("TLSv1.1"));
    assert.equal(await speak("TLSv1.2"), "TLSv1.2");
  });
});
