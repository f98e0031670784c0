// Data folders of released storage formats open in this version. Each is kept packed in test/data: a
// file name and its gzipped bytes. The broker that wrote it was killed with kill -9.

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import amqp from "amqplib";
import { startBroker } from "../../src/main.ts";

function unpack(format: string): string {
  const packed = new URL(`../../../test/data/${format}.json`, import.meta.url);
  const files = JSON.parse(readFileSync(packed, "utf8")) as Record<string, string>;
  const folder = mkdtempSync(join(tmpdir(), "quayside-format-"));
  for (const [name, bytes] of Object.entries(files)) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, gunzipSync(Buffer.from(bytes, "base64")));
  }
  return folder;
}

test("a data folder of storage format 1 opens with everything in it", async () => {
  const data = unpack("storage-format-1");
  const broker = await startBroker({ data, hosts: ["127.0.0.1"], amqpPort: 0 });
  try {
    const connection = await amqp.connect(broker.addresses[0]!.url);
    const channel = await connection.createChannel();
    await channel.checkExchange("orders");
    const bodies: string[] = [];
    const again: string[] = [];
    for (let message = await channel.get("work"); message !== false; message = await channel.get("work")) {
      bodies.push(message.content.toString());
      if (message.fields.redelivered) again.push(message.content.toString());
      const number = Number(message.content.toString().slice("order ".length));
      assert.equal(message.properties.messageId, `m${number}`);
      assert.deepEqual(message.properties.headers, { number, tags: ["a", "b"] });
    }
    const left = Array.from({ length: 20 }, (_, i) => `order ${i}`).filter((_, i) => i !== 0 && i !== 2);
    assert.deepEqual(bodies, left);
    assert.deepEqual(again.slice(0, 4), ["order 1", "order 3", "order 4", "order 5"]);
    assert.equal((await channel.checkQueue("safe")).messageCount, 5);
    // The binding is there too.
    channel.publish("orders", "order.changed", Buffer.from("new"));
    await channel.deleteQueue("safe");
    const routed = await channel.get("work");
    assert.equal(routed !== false && routed.content.toString(), "new");
    await connection.close();
  } finally {
    await broker.close();
    rmSync(data, { recursive: true, force: true });
  }
});
