import assert from "node:assert/strict";
import { test } from "node:test";
import { type Config, loadConfig } from "../../src/config.ts";
import { ConfigError, type Setting, SETTINGS, settingsHelp, variableOf } from "../../src/settings.ts";

function load(argv: string[], env: Record<string, string> = {}, file?: string): Config {
  return loadConfig({
    argv,
    env,
    readText: (path) => {
      if (path.endsWith("password")) return "s3cret\nsecond line\n";
      if (file === undefined) throw new Error(`ENOENT: no such file ${path}`);
      return file;
    },
  });
}

function refusal(argv: string[], env: Record<string, string> = {}, file?: string): string {
  try {
    load(argv, env, file);
  } catch (error) {
    assert(error instanceof ConfigError);
    return error.message;
  }
  throw new Error("was not refused");
}

test("without any setting the broker listens on loopback with the well-known ports and TLS off", () => {
  const config = load([]);
  assert.deepEqual(config.hosts, ["127.0.0.1", "::1"]);
  assert.equal(config.hostsChosen, false);
  assert.equal(config.data, "./data");
  assert.deepEqual(
    [config.amqpPort, config.amqpsPort, config.httpPort, config.metricsPort],
    [5672, "off", 15672, 15692],
  );
});

test("a flag wins over a variable, a variable over the file, the file over the default", () => {
  const file = 'amqp-port = 1001\nhttp-port = 1002\nmetrics-port = "off"\nlog-format = "json"\n';
  const env = { QUAYSIDE_CONFIG: "some.toml", QUAYSIDE_AMQP_PORT: "2001", QUAYSIDE_HTTP_PORT: "2002" };
  const config = load(["--amqp-port", "3001"], env, file);
  assert.deepEqual(
    [config.amqpPort, config.httpPort, config.metricsPort, config.logFormat],
    [3001, 2002, "off", "json"],
  );
});

test("the port offset is added to every port that is neither 0 nor off", () => {
  const config = load(["--port-offset=100", "--http-port", "0", "--metrics-port", "off"]);
  assert.deepEqual([config.amqpPort, config.httpPort, config.metricsPort], [5772, 0, "off"]);
});

test("an unknown flag or key is refused with the nearest name", () => {
  assert.equal(refusal(["--amqp-prot", "1"]), "unknown flag --amqp-prot; did you mean --amqp-port?");
  assert.equal(
    refusal(["--config", "c.toml"], {}, 'dat = "x"'),
    'unknown key "dat" in the config file c.toml; did you mean data?',
  );
  assert.equal(refusal(["--zzzzzzzzzzzzzzzz", "1"]), "unknown flag --zzzzzzzzzzzzzzzz");
  assert.equal(refusal(["stray"]), 'unexpected argument "stray"');
  assert.equal(refusal(["--data"]), "flag --data needs a value");
});

test("a value that is not understood is refused with the place it came from", () => {
  assert.match(refusal(["--amqp-port", "70000"]), /^flag --amqp-port must be a whole number from 0 to 65535/);
  assert.match(refusal([], { QUAYSIDE_AMQP_PORT: "five" }), /^variable QUAYSIDE_AMQP_PORT must be/);
  assert.match(refusal(["--port-offset", "65000"]), /plus --port-offset 65000 is above 65535/);
  assert.match(refusal(["--log-format", "xml"]), /^flag --log-format must be one of text, json/);
  assert.match(refusal(["--data", " "]), /must not be empty/);
  assert.equal(refusal(["--amqps-port", "5671"]), "--amqps-port needs --tls-cert and --tls-key");
});

test("tables of the config file group keys, JSON with the same keys is read too", () => {
  const toml = 'host = ["127.0.0.1", "::1"]\n[amqp]\nport = 1001\n[log]\nlevel = "debug"\nformat = "json"\n';
  const fromToml = load(["--config", "c.toml"], {}, toml);
  const json = { host: ["127.0.0.1", "::1"], amqp: { port: 1001 }, log: { level: "debug" }, "log-format": "json" };
  const fromJson = load(["--config", "c.json"], {}, JSON.stringify(json));
  for (const config of [fromToml, fromJson]) {
    assert.deepEqual(config.hosts, ["127.0.0.1", "::1"]);
    assert.deepEqual([config.amqpPort, config.logLevel, config.logFormat], [1001, "debug", "json"]);
  }
});

test("a config file that cannot be read, or says what is no setting, is refused with its path", () => {
  assert.match(refusal(["--config", "gone.toml"]), /^cannot read the config file gone\.toml: ENOENT/);
  assert.match(refusal(["--config", "c.toml"], {}, "oops = = 1"), /^cannot read the config file c\.toml: /);
  assert.match(refusal(["--config", "c.json"], {}, "[]"), /must hold one table/);
  assert.match(refusal(["--config", "c.toml"], {}, "data = true"), /must be a string or a number/);
  assert.match(refusal(["--config", "c.toml"], {}, "host = [1]"), /must be a string or a list of strings/);
  assert.match(refusal(["--config", "c.toml"], {}, "[amqp]\nprt = 1"), /unknown key "amqp-prt".*mean amqp-port\?/);
  assert.match(refusal(["--config", "c.toml"], {}, "amqp-port = 1\n[amqp]\nport = 2"), /is in .* twice/);
  assert.match(refusal(["--config", "c.toml"], {}, 'config = "d.toml"'), /unknown key "config"/);
});

test("sizes and shares are read with their units and kept within what works", () => {
  const limits = (...argv: string[]) => {
    const { messageBytesMax, memoryLimit, diskFreeBytesMin } = load(argv);
    return [messageBytesMax, memoryLimit, diskFreeBytesMin];
  };
  assert.deepEqual(limits(), [16 * 2 ** 20, { share: 0.4 }, 512 * 2 ** 20]);
  const given = ["--max-message-size", "512MiB", "--memory-limit", "1.5 GB", "--disk-free-limit", "1024"];
  assert.deepEqual(limits(...given), [512 * 2 ** 20, { bytes: 1.5e9 }, 1024]);
  assert.deepEqual(limits("--memory-limit", "0.6")[1], { share: 0.6 });
  assert.match(refusal(["--max-message-size", "513MiB"]), /at most 536870912 bytes/);
  assert.match(refusal(["--max-message-size", "many"]), /must be a size such as/);
  assert.match(refusal(["--memory-limit", "120%"]), /above 0% and at most 100%/);
});

test("the administrator's password comes from the environment or a file, never from the command line", () => {
  assert.equal(load([]).admin, undefined);
  const fromFile = load([], { QUAYSIDE_ADMIN_USER: "ann", QUAYSIDE_ADMIN_PASSWORD_FILE: "a/password" });
  assert.deepEqual(fromFile.admin, { name: "ann", password: "s3cret" });
  const fromVariable = load(["--admin-user", "ann"], { QUAYSIDE_ADMIN_PASSWORD: "pw" });
  assert.deepEqual(fromVariable.admin, { name: "ann", password: "pw" });
  assert.match(refusal(["--admin-password", "pw"]), /not taken as a flag.*QUAYSIDE_ADMIN_PASSWORD/);
  assert.match(refusal(["--admin-user", "ann"]), /needs QUAYSIDE_ADMIN_PASSWORD or --admin-password-file/);
  assert.match(refusal([], { QUAYSIDE_ADMIN_PASSWORD: "pw" }), /needs a name/);
});

test("client certificates are asked for only with an authority that signs them", () => {
  assert.match(refusal(["--tls-client-certificates", "required"]), /needs --tls-ca/);
  const config = load(["--tls-client-certificates", "required", "--tls-ca", "ca.pem"]);
  assert.equal(config.tlsClientCertificates, "required");
});

test("every setting has a variable and a line in the help text", () => {
  for (const setting of SETTINGS) {
    const { name, secret }: Setting = setting;
    assert(settingsHelp().includes(secret === true ? ` ${variableOf(name)} ` : ` --${name} `), name);
    assert.match(variableOf(name), /^QUAYSIDE_[A-Z_]+$/);
  }
});
