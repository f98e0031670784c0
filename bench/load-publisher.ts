// One publisher on its own connection. Closed loop: it writes from one block of pre-encoded messages,
// never more than the confirm window ahead. Open loop: it is told how many messages are due.

import { LatencyRecorder } from "./latency.ts";
import type { LoadJob } from "./load-job.ts";
import { CHANNEL, RawConnection } from "./raw-connection.ts";
import { FRAME_METHOD, METHOD, publishFrames, readU32, readU64, selectConfirms } from "./wire.ts";

/** One write of the closed loop; large enough that system calls do not count. */
const BLOCK_BYTES = 256 * 1024;
const UNSENT_BYTES_MAX = 1024 * 1024;
/** Confirms that one publisher may have outstanding in the open loop. */
const OPEN_LOOP_OUTSTANDING_MAX = 1 << 20;

export interface PublisherQuota {
  /** Most messages; Infinity when time decides. */
  readonly messages: number;
  readonly queue: string;
}

export class LoadPublisher {
  published = 0;
  confirmed = 0;
  readonly latency = new LatencyRecorder();
  onFinished: () => void = () => {};
  onLost: (error: Error) => void = () => {};
  readonly #job: LoadJob;
  readonly #quota: PublisherQuota;
  readonly #connection: RawConnection;
  readonly #message: Buffer;
  readonly #block: Buffer;
  readonly #blockCount: number;
  /** 1 = sent and unconfirmed, by tag modulo the ring's size: confirms may come out of order. */
  readonly #pending: Uint8Array;
  readonly #sentAtMs: Float64Array;
  #lowestTag = 1;
  #deadlineMs = Number.POSITIVE_INFINITY;
  #finished = false;

  private constructor(connection: RawConnection, job: LoadJob, quota: PublisherQuota) {
    this.#connection = connection;
    this.#job = job;
    this.#quota = quota;
    const body = Buffer.alloc(job.bodyBytes, 0x61);
    this.#message = publishFrames(CHANNEL, quota.queue, { body, persistent: job.persistent });
    this.#blockCount = Math.max(1, Math.floor(BLOCK_BYTES / this.#message.length));
    this.#block = Buffer.concat(new Array<Buffer>(this.#blockCount).fill(this.#message));
    const ring = ringSize(job.ratePerSecond > 0 ? OPEN_LOOP_OUTSTANDING_MAX : job.confirmWindow + 1);
    this.#pending = new Uint8Array(ring);
    this.#sentAtMs = new Float64Array(job.stamped ? ring : 0);
  }

  static async open(job: LoadJob, quota: PublisherQuota): Promise<LoadPublisher> {
    const connection = await RawConnection.open(job.host, job.port);
    if (job.confirmWindow > 0) await connection.call(selectConfirms(CHANNEL), METHOD.confirmSelectOk);
    const publisher = new LoadPublisher(connection, job, quota);
    connection.onFrame = (type, _channel, bytes, start) => {
      if (type === FRAME_METHOD) publisher.#method(bytes, start);
    };
    connection.onChunk = () => publisher.pump();
    connection.onLost = (error) => publisher.onLost(error);
    connection.socket.on("drain", () => publisher.pump());
    return publisher;
  }

  /** Publishes until the quota or `deadlineMs` (performance.now) is reached. */
  start(deadlineMs: number): void {
    this.#deadlineMs = deadlineMs;
    this.pump();
  }

  /** Closed loop: writes what the window allows. Open loop: only checks for the end. */
  pump(): void {
    const { confirmWindow, ratePerSecond } = this.#job;
    if (ratePerSecond === 0 && !this.#finished) {
      const socket = this.#connection.socket;
      while (socket.writableLength < UNSENT_BYTES_MAX) {
        const room = confirmWindow > 0 ? confirmWindow - (this.published - this.confirmed) : this.#blockCount;
        const count = Math.min(room, this.#left(), this.#blockCount);
        if (count <= 0) break;
        this.#note(count);
        socket.write(this.#block.subarray(0, count * this.#message.length));
      }
    }
    this.#finishIfDone();
  }

  /** Open loop: sends `count` messages now, each with the time of sending in its first 8 bytes. */
  send(count: number): void {
    const size = this.#message.length;
    const bodyAt = size - 1 - this.#job.bodyBytes;
    const out = Buffer.allocUnsafeSlow(count * size);
    const nowMs = performance.now();
    for (let i = 0; i < count; i++) {
      this.#message.copy(out, i * size);
      if (this.#job.stamped) out.writeDoubleBE(nowMs, i * size + bodyAt);
    }
    this.#note(count);
    this.#connection.socket.write(out);
  }

  /** Open loop: nothing more will be sent. */
  endNow(): void {
    this.#deadlineMs = 0;
    this.#finishIfDone();
  }

  close(): Promise<void> {
    return this.#connection.close();
  }

  #left(): number {
    if (performance.now() >= this.#deadlineMs) return 0;
    return this.#quota.messages - this.published;
  }

  #note(count: number): void {
    if (this.#job.confirmWindow > 0) {
      const mask = this.#pending.length - 1;
      const nowMs = this.#job.stamped ? performance.now() : 0;
      for (let i = 1; i <= count; i++) {
        const slot = (this.published + i) & mask;
        if (this.#pending[slot] === 1) throw new Error("more unconfirmed messages than the ring holds");
        this.#pending[slot] = 1;
        if (this.#job.stamped) this.#sentAtMs[slot] = nowMs;
      }
    }
    this.published += count;
  }

  #method(bytes: Buffer, start: number): void {
    const id = readU32(bytes, start);
    if (id === METHOD.basicNack) throw new Error("the server refused a message (basic.nack)");
    if (id !== METHOD.basicAck) return;
    const tag = readU64(bytes, start + 4);
    if (tag > this.published) throw new Error(`confirm of tag ${tag}, only ${this.published} were sent`);
    const multiple = ((bytes[start + 12] as number) & 1) === 1;
    const nowMs = this.#job.stamped ? performance.now() : 0;
    for (let t = multiple ? this.#lowestTag : tag; t <= tag; t++) this.#confirmOne(t, nowMs);
    const mask = this.#pending.length - 1;
    while (this.#lowestTag <= this.published && this.#pending[this.#lowestTag & mask] === 0) this.#lowestTag++;
  }

  #confirmOne(tag: number, nowMs: number): void {
    const slot = tag & (this.#pending.length - 1);
    if (this.#pending[slot] === 0) return;
    this.#pending[slot] = 0;
    this.confirmed++;
    if (this.#job.stamped) this.latency.add(nowMs - (this.#sentAtMs[slot] as number));
  }

  #finishIfDone(): void {
    if (this.#finished || this.#left() > 0) return;
    if (this.#job.confirmWindow > 0 && this.confirmed < this.published) return;
    this.#finished = true;
    this.onFinished();
  }
}

function ringSize(atLeast: number): number {
  let size = 1024;
  while (size < atLeast) size *= 2;
  return size;
}
