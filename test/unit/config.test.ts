import assert from "node:assert/strict";
import { test } from "node:test";
import { type Config, ConfigError, loadConfig, SETTINGS, settingsHelp, variableOf } from "../../src/config.ts";

function load(argv: string[], env: Record<string, string> = {}, file?: string): Config {
  return loadConfig({
    argv,
    env,
    readText: (path) => {
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
  const file = JSON.stringify({ "amqp-port": 1001, "http-port": 1002, "metrics-port": "off", log: "json" });
  const env = { QUAYSIDE_CONFIG: "some.json", QUAYSIDE_AMQP_PORT: "2001", QUAYSIDE_HTTP_PORT: "2002" };
  const config = load(["--amqp-port", "3001"], env, file);
  assert.deepEqual([config.amqpPort, config.httpPort, config.metricsPort, config.log], [3001, 2002, "off", "json"]);
});

test("the port offset is added to every port that is neither 0 nor off", () => {
  const config = load(["--port-offset=100", "--http-port", "0", "--metrics-port", "off"]);
  assert.deepEqual([config.amqpPort, config.httpPort, config.metricsPort], [5772, 0, "off"]);
});

test("an unknown flag or key is refused with the nearest name", () => {
  assert.equal(refusal(["--amqp-prot", "1"]), "unknown flag --amqp-prot; did you mean --amqp-port?");
  assert.equal(
    refusal(["--config", "c.json"], {}, '{"dat": "x"}'),
    'unknown key "dat" in the config file c.json; did you mean data?',
  );
  assert.equal(refusal(["--zzzzzzzzzzzzzzzz", "1"]), "unknown flag --zzzzzzzzzzzzzzzz");
  assert.equal(refusal(["stray"]), 'unexpected argument "stray"');
  assert.equal(refusal(["--data"]), "flag --data needs a value");
});

test("a value that is not understood is refused with the place it came from", () => {
  assert.match(refusal(["--amqp-port", "70000"]), /^flag --amqp-port must be a whole number from 0 to 65535/);
  assert.match(refusal([], { QUAYSIDE_AMQP_PORT: "five" }), /^variable QUAYSIDE_AMQP_PORT must be/);
  assert.match(refusal(["--port-offset", "65000"]), /plus --port-offset 65000 is above 65535/);
  assert.match(refusal(["--log", "xml"]), /^flag --log must be one of text, json/);
  assert.match(refusal(["--data", " "]), /must not be empty/);
  assert.equal(refusal(["--amqps-port", "5671"]), "--amqps-port needs --tls-cert and --tls-key");
});

test("a config file that cannot be read or is no JSON object is refused with its path", () => {
  assert.match(refusal(["--config", "gone.json"]), /^cannot read the config file gone\.json: ENOENT/);
  assert.match(refusal(["--config", "c.json"], {}, "{oops"), /^cannot read the config file c\.json: /);
  assert.match(refusal(["--config", "c.json"], {}, "[]"), /must hold one JSON object/);
  assert.match(refusal(["--config", "c.json"], {}, '{"data": null}'), /must be a string or a number/);
});

test("every setting has a variable and a line in the help text", () => {
  for (const { name } of SETTINGS) {
    assert.match(settingsHelp(), new RegExp(`--${name} `));
    assert.match(variableOf(name), /^QUAYSIDE_[A-Z_]+$/);
  }
});
