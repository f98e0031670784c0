import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { METHODS, REPLY_CODES } from "../../src/protocols/amqp091/spec.ts";

// RabbitMQ's machine-readable specification, when it lies beside the checkout or where AMQP_SPEC says.
const SPEC_FILE = process.env["AMQP_SPEC"] ?? join(process.cwd(), "..", "shared", "spec", "amqp-rabbitmq-0.9.1.json");

interface Spec {
  readonly domains: readonly (readonly [string, string])[];
  readonly constants: readonly { readonly name: string; readonly value: number; readonly class?: string }[];
  readonly classes: readonly {
    readonly id: number;
    readonly name: string;
    readonly methods: readonly {
      readonly id: number;
      readonly name: string;
      readonly arguments: readonly { readonly name: string; readonly type?: string; readonly domain?: string }[];
    }[];
  }[];
}

function camelCase(name: string): string {
  return name.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

test("our table of methods and reply codes equals the published one, field by field", () => {
  if (!existsSync(SPEC_FILE)) {
    console.log(
      "skipped: needs amqp-rabbitmq-0.9.1.json (set AMQP_SPEC to RabbitMQ's AMQP 0-9-1 code generation data)",
    );
    return;
  }
  const spec = JSON.parse(readFileSync(SPEC_FILE, "utf8")) as Spec;
  const domains = new Map(spec.domains);
  const published = new Map<string, readonly (string | number)[]>();
  for (const { id, name, methods } of spec.classes) {
    for (const method of methods) {
      const fields = method.arguments.map(
        (field) => `${camelCase(field.name)}:${field.type ?? domains.get(field.domain ?? "")}`,
      );
      published.set(`${name}.${method.name}`, [id, method.id, ...fields]);
    }
  }
  assert.deepEqual(new Map(Object.entries(METHODS)), published);
  const codes = spec.constants.filter(({ name, class: kind }) => kind !== undefined || name === "REPLY-SUCCESS");
  assert.deepEqual(
    new Map(Object.entries(REPLY_CODES)),
    new Map(codes.sort((a, b) => a.value - b.value).map(({ name, value }) => [name.toLowerCase(), value])),
  );
});

test("ids and names of methods are unique", () => {
  const ids = Object.values(METHODS).map(([classId, methodId]) => `${classId}.${methodId}`);
  assert.equal(new Set(ids).size, ids.length);
});
