import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { AmqpError } from "../../src/protocols/amqp091/errors.ts";
import { type FrameHandler, FrameScanner } from "../../src/protocols/amqp091/frames.ts";
import { frame } from "./amqp091-world.ts";

/** Notes frames; holds in front of every frame of type 9 until told to go on. */
class Recorder implements FrameHandler {
  readonly frames: string[] = [];
  holding = false;
  private passed = false;

  messages(_bytes: Buffer, at: number): number {
    return at;
  }

  frame(type: number, channel: number, bytes: Buffer, start: number, end: number): boolean {
    if (type === 9 && !this.passed) {
      this.holding = true;
      this.passed = true;
      return false;
    }
    this.passed = false;
    this.frames.push(`${type}/${channel}/${bytes.toString("latin1", start, end)}`);
    return true;
  }
}

function feed(scanner: FrameScanner, recorder: Recorder, bytes: Buffer, cuts: readonly number[], release = true): void {
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    const chunk = Buffer.from(bytes.subarray(from, cut));
    scanner.feed(chunk, 0);
    chunk.fill(0xee);
    while (release && recorder.holding) {
      recorder.holding = false;
      scanner.proceed();
    }
    from = cut;
  }
}

const FRAMES = [
  frame(1, 1, Buffer.from("method")),
  frame(3, 65535, Buffer.alloc(0)),
  frame(2, 258, Buffer.from("h".repeat(300))),
  frame(8, 0, Buffer.alloc(0)),
];
const EXPECTED = ["1/1/method", "3/65535/", `2/258/${"h".repeat(300)}`, "8/0/"];

test("frames come out whole wherever the stream is cut in two or three", () => {
  const bytes = Buffer.concat(FRAMES);
  for (let first = 0; first <= bytes.length; first++) {
    for (const second of [first, first + 1, first + 7, first + 8, bytes.length]) {
      const recorder = new Recorder();
      const scanner = new FrameScanner(recorder, 4096);
      feed(scanner, recorder, bytes, [first, Math.min(second, bytes.length)]);
      assert.deepEqual(recorder.frames, EXPECTED, `cuts at ${first} and ${second}`);
      assert.equal(scanner.restBytes, 0);
    }
  }
});

test("any frames in any chunks come out in order, also when each frame of one type is held first", () => {
  const anyFrame = fc.record({ type: fc.constantFrom(1, 2, 3, 9), size: fc.nat({ max: 600 }) });
  fc.assert(
    fc.property(
      fc.array(anyFrame, { maxLength: 20 }),
      fc.array(fc.nat({ max: 8000 }), { maxLength: 12 }),
      (frames, points) => {
        const bytes = Buffer.concat(frames.map(({ type, size }, i) => frame(type, i, Buffer.alloc(size, "x"))));
        const recorder = new Recorder();
        const scanner = new FrameScanner(recorder, 4096);
        feed(
          scanner,
          recorder,
          bytes,
          points.map((point) => Math.min(point, bytes.length)).sort((a, b) => a - b),
        );
        assert.deepEqual(
          recorder.frames,
          frames.map(({ type, size }, i) => `${type}/${i}/${"x".repeat(size)}`),
        );
        assert.equal(scanner.restBytes, 0);
      },
    ),
    { numRuns: 300 },
  );
});

test("what arrives during a hold is kept in order, up to a limit", () => {
  const recorder = new Recorder();
  const scanner = new FrameScanner(recorder, 131072);
  feed(scanner, recorder, Buffer.concat([frame(9, 1, Buffer.from("held")), ...FRAMES]), [3, 20], false);
  assert.deepEqual(recorder.frames, []);
  recorder.holding = false;
  scanner.proceed();
  assert.deepEqual(recorder.frames, ["9/1/held", ...EXPECTED]);
  recorder.holding = true;
  const chunk = Buffer.alloc(65536);
  assert.throws(() => {
    for (let i = 0; i < 100; i++) scanner.feed(chunk, 0);
  }, AmqpError);
  assert.ok(scanner.restBytes <= 5 * 1024 * 1024);
});

test("a frame larger than frame-max is refused before its payload is waited for", () => {
  const header = Buffer.alloc(7);
  header[0] = 1;
  header.writeUInt32BE(4096 + 1, 3);
  for (const cuts of [[], [1, 2, 3, 4, 5, 6]]) {
    const recorder = new Recorder();
    assert.throws(
      () => feed(new FrameScanner(recorder, 4096), recorder, Buffer.concat([header, Buffer.of(0)]), cuts),
      /larger than frame_max 4096/,
    );
  }
  // Clients that forget the overhead of 8 bytes are let through, as by RabbitMQ.
  const largest = frame(3, 1, Buffer.alloc(4096));
  const recorder = new Recorder();
  feed(new FrameScanner(recorder, 4096), recorder, largest, [5, 100]);
  assert.equal(recorder.frames.length, 1);
});

test("a frame without its end mark is refused", () => {
  const bytes = frame(1, 1, Buffer.from("abc"));
  bytes[bytes.length - 1] = 205;
  for (const cuts of [[], [4], [bytes.length - 1]]) {
    const recorder = new Recorder();
    assert.throws(() => feed(new FrameScanner(recorder, 4096), recorder, bytes, cuts), /ends with 205 instead of 206/);
  }
});
