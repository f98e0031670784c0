// What the load generator is asked to do and what it answers. The harness and the generator are
// separate processes that share nothing but these shapes.

export interface LoadJob {
  readonly host: string;
  readonly port: number;
  readonly publishers: number;
  readonly consumers: number;
  readonly queues: number;
  readonly queuePrefix: string;
  readonly queueType: "classic" | "quorum";
  readonly durable: boolean;
  readonly persistent: boolean;
  readonly bodyBytes: number;
  /** Most unconfirmed messages per publisher; 0 publishes without confirms. */
  readonly confirmWindow: number;
  /** One basic.ack for every so many deliveries (multiple when > 1); 0 consumes with auto-ack. */
  readonly ackEvery: number;
  readonly prefetch: number;
  /** Messages over all publishers; 0 publishes until `durationMs` has passed. */
  readonly messages: number;
  readonly durationMs: number;
  /** Messages a second over all publishers (open loop); 0 publishes as fast as the window allows. */
  readonly ratePerSecond: number;
  /** Puts the time of sending into each body and reports latencies. */
  readonly stamped: boolean;
  /** Deletes the queues before and after; false leaves what was published in them. */
  readonly ownsQueues: boolean;
  /** Consume this many messages that were queued before; publishers must be 0 then. */
  readonly drainMessages: number;
  /** Gives up when no message moved for so long. */
  readonly stallMs: number;
}

export interface LatencySummary {
  readonly samples: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
}

export interface LoadResult {
  readonly published: number;
  readonly confirmed: number;
  readonly delivered: number;
  readonly redelivered: number;
  /** From the first publish to the last confirm and delivery. */
  readonly elapsedMs: number;
  readonly ratePerSecond: number;
  readonly generatorCpuS: number;
  readonly confirm?: LatencySummary;
  readonly endToEnd?: LatencySummary;
}

export type ToGenerator =
  | { readonly kind: "prepare"; readonly job: LoadJob }
  | { readonly kind: "go" }
  | { readonly kind: "stop" };

export type FromGenerator =
  | { readonly kind: "prepared" }
  | { readonly kind: "progress"; readonly published: number; readonly delivered: number }
  | { readonly kind: "done"; readonly result: LoadResult }
  | { readonly kind: "closed" }
  | { readonly kind: "failed"; readonly reason: string };

export const LOAD_JOB_DEFAULTS: Omit<LoadJob, "port"> = {
  host: "127.0.0.1",
  publishers: 1,
  consumers: 1,
  queues: 1,
  queuePrefix: "bench",
  queueType: "classic",
  durable: true,
  persistent: true,
  bodyBytes: 100,
  confirmWindow: 1000,
  ackEvery: 100,
  prefetch: 1000,
  messages: 0,
  durationMs: 3000,
  ratePerSecond: 0,
  stamped: false,
  ownsQueues: true,
  drainMessages: 0,
  stallMs: 60_000,
};
