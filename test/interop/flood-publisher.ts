// A client that publishes persistent messages as fast as its socket takes them, without confirms, until it
// is killed: `flood-publisher PORT QUEUE BODY_BYTES`. Prints "flooding" when it begins.

import { once } from "node:events";
import { connect } from "node:net";
import { frame, method, METHOD, RawClient, shortString, u16, u32, u8 } from "./raw-client.ts";

const BATCH_BYTES = 64 * 1024;
const BASIC_CLASS = 60;
const DELIVERY_MODE = 0x1000;

const [port = "", queue = "", size = ""] = process.argv.slice(2);
const body = Buffer.alloc(Number(size), 120);
const header = [u16(BASIC_CLASS), u16(0), u32(0), u32(body.length), u16(DELIVERY_MODE), u8(2)];
const message = Buffer.concat([
  method(1, METHOD.basicPublish, u16(0), shortString(""), shortString(queue), u8(0)),
  frame(2, 1, Buffer.concat(header)),
  frame(3, 1, body),
]);
const batch = Buffer.concat(Array.from({ length: Math.ceil(BATCH_BYTES / message.length) }, () => message));

const socket = connect(Number(port), "127.0.0.1");
socket.setNoDelay(true);
await once(socket, "connect");
await RawClient.over(socket, async (client) => {
  await client.handshake();
  await client.openChannel();
});
process.stdout.write("flooding\n");
for (;;) if (!socket.write(batch)) await once(socket, "drain");
