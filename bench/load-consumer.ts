// One consumer on its own connection. Counts deliveries, checks that delivery tags are dense, acks
// every so many, and writes all acks of a chunk at once.

import { LatencyRecorder } from "./latency.ts";
import type { LoadJob } from "./load-job.ts";
import { CHANNEL, RawConnection } from "./raw-connection.ts";
import { AckBuffer, FRAME_BODY, FRAME_METHOD, METHOD, consume, qos, readU32, readU64 } from "./wire.ts";

export class LoadConsumer {
  delivered = 0;
  redelivered = 0;
  readonly latency = new LatencyRecorder();
  /** Called after each chunk that carried deliveries. */
  onDelivered: () => void = () => {};
  onLost: (error: Error) => void = () => {};
  readonly #job: LoadJob;
  readonly #connection: RawConnection;
  readonly #acks = new AckBuffer(CHANNEL);
  #acked = 0;
  #reported = 0;

  private constructor(connection: RawConnection, job: LoadJob) {
    this.#connection = connection;
    this.#job = job;
  }

  static async open(job: LoadJob): Promise<LoadConsumer> {
    const connection = await RawConnection.open(job.host, job.port);
    const consumer = new LoadConsumer(connection, job);
    connection.onFrame = (type, _channel, bytes, start) => {
      if (type === FRAME_METHOD) consumer.#method(bytes, start);
      else if (type === FRAME_BODY && job.stamped) consumer.#body(bytes, start);
    };
    connection.onChunk = () => consumer.#chunk();
    connection.onLost = (error) => consumer.onLost(error);
    if (job.ackEvery > 0) await connection.call(qos(CHANNEL, job.prefetch), METHOD.basicQosOk);
    return consumer;
  }

  /** Deliveries may come from here on. */
  async start(queue: string): Promise<void> {
    const request = consume(CHANNEL, queue, { autoAck: this.#job.ackEvery === 0 });
    await this.#connection.call(request, METHOD.basicConsumeOk);
  }

  /** Acks what the last incomplete group left open, then leaves. */
  async close(): Promise<void> {
    if (this.#job.ackEvery > 0 && this.#acked < this.delivered) {
      this.#acks.add(this.delivered, true);
      this.#flushAcks();
    }
    await this.#connection.close();
  }

  #method(bytes: Buffer, start: number): void {
    if (readU32(bytes, start) !== METHOD.basicDeliver) return;
    const tagAt = start + 5 + (bytes[start + 4] as number);
    const tag = readU64(bytes, tagAt);
    this.delivered++;
    if (tag !== this.delivered) throw new Error(`delivery tag ${tag} where ${this.delivered} was due`);
    if (bytes[tagAt + 8] !== 0) this.redelivered++;
    const every = this.#job.ackEvery;
    if (every > 0 && this.delivered - this.#acked >= every) {
      this.#acks.add(tag, every > 1);
      this.#acked = this.delivered;
    }
  }

  #body(bytes: Buffer, start: number): void {
    this.latency.add(performance.now() - bytes.readDoubleBE(start));
  }

  #chunk(): void {
    this.#flushAcks();
    if (this.delivered === this.#reported) return;
    this.#reported = this.delivered;
    this.onDelivered();
  }

  #flushAcks(): void {
    const acks = this.#acks.take();
    if (acks !== undefined) this.#connection.socket.write(acks);
  }
}
