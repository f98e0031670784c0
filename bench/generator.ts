// The load generator: a process of its own that takes one job at a time from its parent over the
// IPC channel. It prepares (connections, queues), says so, waits for the go, runs, and reports.

import { summarise } from "./latency.ts";
import { LoadConsumer } from "./load-consumer.ts";
import type { FromGenerator, LoadJob, LoadResult, ToGenerator } from "./load-job.ts";
import { LoadPublisher } from "./load-publisher.ts";
import { CHANNEL, RawConnection } from "./raw-connection.ts";
import { METHOD, declareQueue, deleteQueue } from "./wire.ts";

const PROGRESS_EVERY_MS = 500;

function tell(message: FromGenerator): void {
  process.send?.(message);
}

function queueName(job: LoadJob, index: number): string {
  return `${job.queuePrefix}-${index % job.queues}`;
}

async function deleteQueues(job: LoadJob): Promise<void> {
  const connection = await RawConnection.open(job.host, job.port);
  for (let q = 0; q < job.queues; q++) {
    await connection.call(deleteQueue(CHANNEL, queueName(job, q)), METHOD.queueDeleteOk);
  }
  await connection.close();
}

async function declareQueues(job: LoadJob): Promise<void> {
  if (job.ownsQueues) await deleteQueues(job);
  const connection = await RawConnection.open(job.host, job.port);
  const shape = { durable: job.durable, type: job.queueType };
  for (let q = 0; q < job.queues; q++) {
    await connection.call(declareQueue(CHANNEL, queueName(job, q), shape), METHOD.queueDeclareOk);
  }
  await connection.close();
}

/** One prepared job: everything is connected, nothing is published yet. */
class Run {
  readonly #job: LoadJob;
  readonly #publishers: LoadPublisher[] = [];
  readonly #consumers: LoadConsumer[] = [];
  #startedMs = 0;
  #openLoop: NodeJS.Timeout | undefined;
  #publishersDone = 0;
  #resolve: (result: LoadResult) => void = () => {};
  #reject: (error: Error) => void = () => {};
  #cpuBefore = process.cpuUsage();

  private constructor(job: LoadJob) {
    this.#job = job;
  }

  static async prepare(job: LoadJob): Promise<Run> {
    await declareQueues(job);
    const run = new Run(job);
    for (let i = 0; i < job.consumers; i++) {
      const consumer = await LoadConsumer.open(job);
      consumer.onDelivered = () => run.#finishIfDone();
      consumer.onLost = (error) => run.#reject(error);
      run.#consumers.push(consumer);
    }
    const share = job.messages > 0 ? Math.ceil(job.messages / job.publishers) : Number.POSITIVE_INFINITY;
    for (let i = 0; i < job.publishers; i++) {
      const messages = job.messages > 0 ? Math.min(share, job.messages - share * i) : share;
      const publisher = await LoadPublisher.open(job, { messages, queue: queueName(job, i) });
      publisher.onFinished = () => {
        run.#publishersDone++;
        run.#finishIfDone();
      };
      publisher.onLost = (error) => run.#reject(error);
      run.#publishers.push(publisher);
    }
    // A prepared drain must not start early: its deliveries belong into the measured time.
    if (job.drainMessages === 0) await run.#startConsumers();
    return run;
  }

  async execute(): Promise<LoadResult> {
    const job = this.#job;
    const finished = new Promise<LoadResult>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    const watch = this.#watchForStall();
    this.#cpuBefore = process.cpuUsage();
    this.#startedMs = performance.now();
    const deadlineMs = job.messages > 0 ? Number.POSITIVE_INFINITY : this.#startedMs + job.durationMs;
    if (job.drainMessages > 0) await this.#startConsumers();
    if (job.ratePerSecond > 0) this.#startOpenLoop(deadlineMs);
    for (const publisher of this.#publishers) publisher.start(deadlineMs);
    try {
      return await finished;
    } finally {
      clearInterval(watch);
      clearInterval(this.#openLoop);
    }
  }

  /** After a failure the rest of the load must not disturb the next run. */
  stopPublishing(): void {
    for (const publisher of this.#publishers) publisher.endNow();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#publishers, ...this.#consumers].map((client) => client.close()));
    if (this.#job.ownsQueues) await deleteQueues(this.#job);
  }

  async #startConsumers(): Promise<void> {
    for (const [i, consumer] of this.#consumers.entries()) await consumer.start(queueName(this.#job, i));
  }

  /** Sends what is due each millisecond; bodies carry the time of sending, so a late timer is not latency. */
  #startOpenLoop(deadlineMs: number): void {
    const { ratePerSecond } = this.#job;
    let sent = 0;
    this.#openLoop = setInterval(() => {
      const nowMs = Math.min(performance.now(), deadlineMs);
      const due = Math.floor(((nowMs - this.#startedMs) * ratePerSecond) / 1000) - sent;
      sent += due;
      let left = due;
      for (const [i, publisher] of this.#publishers.entries()) {
        const count = Math.ceil(left / (this.#publishers.length - i));
        if (count > 0) publisher.send(count);
        left -= count;
      }
      if (nowMs < deadlineMs) return;
      clearInterval(this.#openLoop);
      for (const publisher of this.#publishers) publisher.endNow();
    }, 1);
  }

  #watchForStall(): NodeJS.Timeout {
    let lastTotal = -1;
    let movedMs = performance.now();
    return setInterval(() => {
      const total = this.#published() + this.#confirmed() + this.#delivered();
      tell({ kind: "progress", published: this.#published(), delivered: this.#delivered() });
      const nowMs = performance.now();
      if (total !== lastTotal) {
        lastTotal = total;
        movedMs = nowMs;
      } else if (nowMs - movedMs > this.#job.stallMs) {
        const counts = `${this.#published()} published, ${this.#confirmed()} confirmed`;
        this.#reject(new Error(`no progress: ${counts}, ${this.#delivered()} delivered`));
      }
    }, PROGRESS_EVERY_MS);
  }

  #finishIfDone(): void {
    if (this.#publishersDone < this.#publishers.length) return;
    const due = this.#job.drainMessages > 0 ? this.#job.drainMessages : this.#published();
    if (this.#consumers.length > 0 && this.#delivered() < due) return;
    const elapsedMs = performance.now() - this.#startedMs;
    const cpu = process.cpuUsage(this.#cpuBefore);
    const confirm = summarise(this.#publishers.map((publisher) => publisher.latency));
    const endToEnd = summarise(this.#consumers.map((consumer) => consumer.latency));
    this.#resolve({
      published: this.#published(),
      confirmed: this.#confirmed(),
      delivered: this.#delivered(),
      redelivered: this.#consumers.reduce((sum, consumer) => sum + consumer.redelivered, 0),
      elapsedMs,
      ratePerSecond: (due / elapsedMs) * 1000,
      generatorCpuS: (cpu.user + cpu.system) / 1e6,
      ...(confirm === undefined ? {} : { confirm }),
      ...(endToEnd === undefined ? {} : { endToEnd }),
    });
  }

  #published(): number {
    return this.#publishers.reduce((sum, publisher) => sum + publisher.published, 0);
  }

  #confirmed(): number {
    return this.#publishers.reduce((sum, publisher) => sum + publisher.confirmed, 0);
  }

  #delivered(): number {
    return this.#consumers.reduce((sum, consumer) => sum + consumer.delivered, 0);
  }
}

let prepared: Run | undefined;

async function handle(message: ToGenerator): Promise<void> {
  if (message.kind === "stop") {
    // Connections of a failed run may still be open.
    process.exit(0);
  }
  if (message.kind === "prepare") {
    prepared = await Run.prepare(message.job);
    tell({ kind: "prepared" });
    return;
  }
  const run = prepared;
  if (run === undefined) throw new Error("go before prepare");
  prepared = undefined;
  const result = await run.execute().finally(() => run.stopPublishing());
  // The parent reads the server's processor time at "done": clean up only afterwards.
  tell({ kind: "done", result });
  await run.close();
  tell({ kind: "closed" });
}

process.on("message", (message: ToGenerator) => {
  handle(message).catch((error: unknown) => {
    tell({ kind: "failed", reason: error instanceof Error ? error.message : String(error) });
  });
});
