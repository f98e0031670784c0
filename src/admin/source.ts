// What the admin pages show, as plain data. main.ts fills it from the broker, the shard and the machine,
// so that pages and metrics depend on none of their insides.

export interface QueueView {
  readonly vhost: string;
  readonly name: string;
  readonly type: string;
  readonly durable: boolean;
  readonly exclusive: boolean;
  readonly autoDelete: boolean;
  readonly messagesReady: number;
  readonly messagesUnacked: number;
  readonly consumers: number;
  /** Stored size of ready and unacknowledged messages, bytes. */
  readonly bytes: number;
}

export interface CountersView {
  readonly published: number;
  readonly delivered: number;
  readonly redelivered: number;
  readonly acked: number;
  readonly requeued: number;
  readonly purged: number;
  readonly dropped: number;
  /** Group commits of the log since start. */
  readonly commits: number;
}

export interface OverviewView {
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly connections: number;
  readonly queues: number;
  readonly exchanges: number;
  readonly bindings: number;
  readonly consumers: number;
  readonly messagesReady: number;
  readonly messagesUnacked: number;
  readonly counters: CountersView;
  /** Why publishers wait now. */
  readonly alarms: { readonly memory: boolean; readonly disk: boolean };
  /** Set when storage has failed: nothing is confirmed any more. */
  readonly failed: boolean;
  /** The broker is about to stop: no new clients, please. */
  readonly draining: boolean;
  readonly residentBytes: number;
  readonly memoryLimitBytes: number;
  /** Free space of the data folder's file system, bytes; undefined without a folder. */
  readonly diskFreeBytes: number | undefined;
  readonly diskLimitBytes: number;
  readonly cpuSeconds: number;
  /** How late the event loop runs, seconds: quantile -> value; empty when it is not measured. */
  readonly loopDelay: ReadonlyMap<number, number>;
}

export interface AdminSource {
  overview(): OverviewView;
  /** Every queue, ordered by vhost and name. */
  queues(): readonly QueueView[];
}
