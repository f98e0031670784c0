// What no client library lets one send, in raw frames. Each scenario returns what the broker answered as
// sentences; `shows` is what RabbitMQ answers.

import {
  METHOD,
  type RawClient,
  emptyTable,
  frame,
  longString,
  method,
  shortString,
  u16,
  u32,
  u8,
} from "./raw-client.ts";

export interface RawScenario {
  readonly guarantee: string;
  readonly run: (client: RawClient) => Promise<readonly string[]>;
  readonly shows: readonly string[];
  /** Quayside answers something else on purpose. */
  readonly differs?: { readonly quayside: readonly string[]; readonly why: string };
}

const publishMethod = (bits: number): Buffer =>
  method(1, METHOD.basicPublish, u16(0), shortString(""), shortString("nowhere"), u8(bits));

/** A content header for basic with a body of `size` bytes and no properties. */
const header = (size: number, classId = 60): Buffer =>
  frame(2, 1, Buffer.concat([u16(classId), u16(0), u32(0), u32(size), u16(0)]));

async function afterChannel(client: RawClient, ...frames: Buffer[]): Promise<string[]> {
  await client.handshake();
  await client.openChannel();
  client.send(...frames);
  return [await client.readClose()];
}

async function greeting(client: RawClient, bytes: string): Promise<string[]> {
  client.send(Buffer.from(bytes, "latin1"));
  return [(await client.readBytes(9)).toString("hex")];
}

export const RAW_SCENARIOS: readonly RawScenario[] = [
  {
    guarantee: "Another protocol version is answered with the one that is spoken, then the socket closes",
    run: (client) => greeting(client, "AMQP\x00\x00\x08\x00"),
    shows: ["414d515000000901"],
  },
  {
    guarantee: "The broker offers 2047 channels, frames of 128 KiB and heartbeats of 60 seconds",
    async run(client) {
      const { channelMax, frameMaxBytes, heartbeatS } = await client.handshake();
      return [`channels ${channelMax}, frames ${frameMaxBytes}, heartbeat ${heartbeatS}`];
    },
    shows: ["channels 2047, frames 131072, heartbeat 60"],
  },
  {
    guarantee: "A frame-max below the minimum is refused with 530",
    async run(client) {
      await client.handshake({ frameMaxBytes: 1024 });
      return [await client.readClose()];
    },
    shows: ["socket closed"],
    differs: {
      quayside: [
        "connection 530 NOT_ALLOWED - negotiated frame_max = 1024 is lower than " +
          "the minimum allowed value (4096) (0xa001f)",
      ],
      why: "RabbitMQ 3.10 waits three seconds and cuts the socket; saying why at once helps",
    },
  },
  {
    guarantee: "An unknown login mechanism is refused with 503",
    async run(client) {
      client.send(Buffer.from("AMQP\x00\x00\x09\x01", "latin1"));
      await client.readMethod();
      client.send(
        method(0, METHOD.connectionStartOk, emptyTable, shortString("ODD"), longString("x"), shortString("en_US")),
      );
      return [await client.readClose()];
    },
    shows: ["socket closed"],
    differs: {
      quayside: ["connection 503 COMMAND_INVALID - unknown authentication mechanism 'ODD' (0xa000b)"],
      why: "RabbitMQ 3.10 waits three seconds and cuts the socket; saying why at once helps",
    },
  },
  {
    guarantee: "A login by AMQPLAIN works",
    async run(client) {
      client.send(Buffer.from("AMQP\x00\x00\x09\x01", "latin1"));
      await client.readMethod();
      const field = (name: string, value: string): Buffer =>
        Buffer.concat([shortString(name), Buffer.from("S"), longString(value)]);
      const response = Buffer.concat([field("LOGIN", "guest"), field("PASSWORD", "guest")]);
      client.send(
        method(
          0,
          METHOD.connectionStartOk,
          emptyTable,
          shortString("AMQPLAIN"),
          u32(response.length),
          response,
          shortString("en_US"),
        ),
      );
      return [((await client.readMethod())?.id ?? 0).toString(16)];
    },
    shows: [METHOD.connectionTune.toString(16)],
  },
  {
    guarantee: "A method on a channel that is not open is refused with 504",
    async run(client) {
      await client.handshake();
      await client.readMethod();
      client.send(method(5, METHOD.basicQos, u32(0), u16(1), u8(0)));
      return [await client.readClose()];
    },
    shows: ["connection 504 CHANNEL_ERROR - expected 'channel.open' (0x3c000a)"],
  },
  {
    guarantee: "Opening a channel twice is refused with 504",
    run: (client) => afterChannel(client, method(1, METHOD.channelOpen, shortString(""))),
    shows: ["connection 504 CHANNEL_ERROR - second 'channel.open' seen (0x14000a)"],
  },
  {
    guarantee: "Prefetch by size is not implemented: 540",
    run: (client) => afterChannel(client, method(1, METHOD.basicQos, u32(100), u16(1), u8(0))),
    shows: ["connection 540 NOT_IMPLEMENTED - prefetch_size!=0 (100) (0x3c000a)"],
  },
  {
    guarantee: "channel.flow that stops deliveries is not implemented: 540; one that lets them run is answered",
    async run(client) {
      await client.handshake();
      await client.openChannel();
      client.send(method(1, METHOD.channelFlow, u8(1)));
      const first = await client.readMethod();
      client.send(method(1, METHOD.channelFlow, u8(0)));
      return [(first?.id ?? 0).toString(16), await client.readClose()];
    },
    shows: [METHOD.channelFlowOk.toString(16), "connection 540 NOT_IMPLEMENTED - active=false (0x140014)"],
  },
  {
    guarantee: "Immediate publishing is not implemented: 540",
    run: (client) => afterChannel(client, publishMethod(2), header(0)),
    shows: ["connection 540 NOT_IMPLEMENTED - immediate=true (0x3c0028)"],
  },
  {
    guarantee: "A frame that does not end with its mark is refused with 501",
    async run(client) {
      await client.handshake();
      await client.openChannel();
      const bad = method(1, METHOD.basicQos, u32(0), u16(1), u8(0));
      bad[bad.length - 1] = 0;
      client.send(bad);
      return [(await client.readClose()).slice(0, 27)];
    },
    shows: ["connection 501 FRAME_ERROR "],
  },
  {
    guarantee: "A method in the middle of a message is refused with 505",
    async run(client) {
      const answer = await afterChannel(client, publishMethod(0), method(1, METHOD.basicQos, u32(0), u16(1), u8(0)));
      return answer.map((text) => text.slice(0, 32));
    },
    shows: ["connection 505 UNEXPECTED_FRAME "],
  },
  {
    guarantee: "A body without a publish is refused with 505",
    async run(client) {
      const answer = await afterChannel(client, frame(3, 1, Buffer.from("body")));
      return answer.map((text) => text.slice(0, 32));
    },
    shows: ["connection 505 UNEXPECTED_FRAME "],
  },
  {
    guarantee: "A method that does not exist is refused",
    async run(client) {
      const answer = await afterChannel(client, method(1, 0x003c_03e7));
      return answer.map((text) => text.slice(0, 14));
    },
    shows: ["socket closed"],
    differs: {
      quayside: ["connection 540"],
      why: "RabbitMQ 3.10 cuts the socket when it cannot decode a method; saying why helps",
    },
  },
  {
    guarantee: "connection.close is answered with close-ok",
    async run(client) {
      await client.handshake();
      await client.openChannel();
      client.send(method(0, METHOD.connectionClose, u16(200), shortString("bye"), u16(0), u16(0)));
      return [((await client.readMethod())?.id ?? 0).toString(16)];
    },
    shows: [METHOD.connectionCloseOk.toString(16)],
  },
  {
    guarantee: "A connection that stays silent beyond its heartbeats is cut; one that beats lives on",
    async run(client) {
      await client.handshake({ heartbeatS: 1 });
      await client.readMethod();
      const started = performance.now();
      let beats = 0;
      // Until the broker gives up, it sends heartbeats itself.
      while ((await client.readFrame()) !== undefined) beats += 1;
      const seconds = (performance.now() - started) / 1000;
      return [
        beats > 0 ? "sent heartbeats" : "sent nothing",
        seconds > 0.9 && seconds < 8 ? "then cut it" : `cut after ${seconds} s`,
      ];
    },
    shows: ["sent heartbeats", "then cut it"],
  },
];
