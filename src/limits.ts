// Every limit in one place. Reaching one is backpressure or a clear refusal, never growth.
// Relations between limits are asserted at load.

import { assert } from "./assert.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

export const LIMITS = {
  /** Largest message body unless set otherwise, bytes (RabbitMQ 4: 16 MiB). */
  messageBytesMax: 16 * MIB,
  /** The most that may be set as the largest message body, bytes. */
  messageBytesCeiling: 512 * MIB,
  /** Largest frame that we offer in connection.tune, bytes. */
  frameBytesMax: 131072,
  /** Smallest frame-max that a client may ask for, bytes. */
  frameBytesMin: 4096,
  channelsPerConnectionMax: 2047,
  connectionsMax: 20_000,
  /** A peer that has not finished its handshake by then is dropped, ms. */
  handshakeTimeoutMs: 10_000,
  /** Connections that have not finished their handshake; more are dropped. */
  handshakesMax: 4096,
  /** Largest frame, and bytes held back while a password is checked, before the handshake is done. */
  handshakeBytesMax: 16 * KIB,
  heartbeatDefaultS: 60,
  /** Deliveries that wait for an ack on one channel when the consumer set no prefetch. */
  unackedPerChannelMax: 1_000_000,
  /** A delivery that is not settled by then costs the consumer its channel, unless set otherwise (RabbitMQ: 30 min), ms. */
  consumerTimeoutMs: 30 * 60 * 1000,
  /** Names of messages that a queue with deduplication remembers. */
  dedupNamesMax: 1_000_000,
  consumersPerChannelMax: 10_000,
  vhostsMax: 10_000,
  usersMax: 100_000,
  permissionsMax: 1_000_000,
  /** Policies and parameters together. */
  policiesMax: 100_000,
  /** Answers to "may this user?" kept for one user in one vhost. */
  decisionsKeptMax: 16_384,
  passwordBytesMax: 1024,
  /** A password that was right is not checked again for so long, ms. */
  loginKnownMs: 60_000,
  loginsKnownMax: 20_000,
  /** Passwords that wait to be hashed; a login beyond is refused. */
  hashesWaitingMax: 10_000,
  /** Addresses that failed to log in are slowed down up to this, ms, and forgotten after that, ms. */
  loginBackoffMaxMs: 5_000,
  loginBackoffForgetMs: 60_000,
  loginBackoffAddressesMax: 10_000,
  /** A regular expression of a permission or a policy. */
  patternBytesMax: 4096,
  queuesMax: 1_000_000,
  exchangesMax: 100_000,
  bindingsMax: 1_000_000,
  nameBytesMax: 255,
  fieldTableDepthMax: 32,
  fieldTableEntriesMax: 4096,
  /** Entries that the history of a dead letter (x-death) keeps; older ones are forgotten. */
  deathsKeptMax: 100,
  /** Publishes that one transaction keeps until tx.commit, bytes, and all transactions together. */
  transactionBytesMax: 64 * MIB,
  transactionsTotalBytesMax: 256 * MIB,

  /** HTTP: connections, the time that a request may take to arrive, and its body. */
  httpConnectionsMax: 200,
  httpRequestTimeoutMs: 30_000,
  httpBodyBytesMax: 1 * MIB,
  /** Of definitions, and of messages with their body in base64. */
  httpLargeBodyBytesMax: 32 * MIB,
  /** Bodies that are being read, all together. */
  httpBodiesTotalBytesMax: 128 * MIB,
  jsonDepthMax: 64,
  /** Items of one list, and messages, that an answer holds. */
  httpListedMax: 20_000,
  httpMessagesMax: 1000,
  /** Messages that a look into a queue may pass over. */
  peekSkipMax: 100_000,
  /** Queues, connections, channels on one page of metrics. */
  metricsObjectsMax: 10_000,
  /** Rates: how often counters are looked at, ms, and of how many queues. */
  ratesPeriodMs: 5000,
  ratedQueuesMax: 10_000,

  /** Unsent bytes above which a connection gets no more deliveries. */
  socketUnsentBytesMax: 1 * MIB,
  /** Uncommitted bytes above which publishing connections are paused, and below which they go on. */
  commitBacklogHighBytes: 16 * MIB,
  commitBacklogLowBytes: 4 * MIB,
  /**
   * The same for connections that publish much, while others publish little: those then wait for a commit
   * of some milliseconds and not for one of everything that a flood has brought.
   */
  fairBacklogHighBytes: 256 * KIB,
  fairBacklogLowBytes: 128 * KIB,
  /** A connection that sends no more than this in a second publishes little, bytes. */
  modestBytesMax: 1 * MIB,
  /** Bytes that one connection may parse in one turn before others get theirs. */
  parseBudgetBytes: 256 * KIB,
  /** The same while others publish little. */
  parseBudgetFairBytes: 64 * KIB,

  /** A turn's effects are cut into entries of about this size. */
  entryTargetBytes: 64 * KIB,
  /** Slab that entries are filled in. */
  slabBytes: 512 * KIB,
  /** Committed slabs kept for deliveries. */
  tailCacheBytes: 16 * MIB,
  /** Bodies of transient messages kept in memory; above it they are written to the log. */
  transientBytesMax: 64 * MIB,
  /** Entries that one queue reads ahead from disk, bytes. */
  readAheadBytes: 1 * MIB,
  /** All read-ahead of all queues together, bytes. */
  readAheadTotalBytes: 32 * MIB,

  segmentBytes: 64 * MIB,
  /** Fresh or recycled segments kept ready; they let acks and snapshots go on when the disk is full. */
  segmentReserve: 2,
  segmentReserveMax: 12,
  /** One group commit writes at most this much. */
  commitBytesMax: 8 * MIB,
  /** Settles and deliveries wait at most this long for a commit to join, ms. */
  lazyCommitMs: 10,
  /** Small groups wait this long for company when that pays (queues/commit-pacer.ts), ms. */
  commitDelayMs: 1,

  pageRows: 4096,
  pageRowsFirst: 16,
  /** One queue's share of a turn. */
  queueQuantumBytes: 64 * KIB,
  queueQuantumMessages: 256,
  /** A turn's deliveries stop here, ms; the rest goes on in the next turn. */
  turnBudgetMs: 2,
  sliceBudgetMs: 2,

  snapshotMinBytes: 256 * MIB,
  /** The cleaner works when disk use exceeds twice the live bytes plus this. */
  cleanerSlackBytes: 1 * GIB,
  /** With fewer open files than this a broker warns at its start: each connection is one. */
  openFilesWanted: 8192,
  /** Publishers are blocked when the disk has less than this free unless set otherwise, bytes. */
  diskFreeBytesMin: 512 * MIB,
  /** Publishers are blocked, unless set otherwise, when the process uses more than this share of the machine's memory. */
  memoryShareMax: 0.4,
  /**
   * On a small machine the share above is less than the process holds with full caches and nothing to do,
   * and the alarm would never be lifted: there the limit is this, bytes, or at most that share.
   */
  memoryFloorBytes: 256 * MIB,
  memoryFloorShareMax: 0.8,
} as const;

assert(LIMITS.frameBytesMin <= LIMITS.frameBytesMax, "frame limits are ordered");
assert(LIMITS.handshakeBytesMax <= LIMITS.frameBytesMax, "a frame of the handshake is no larger than others");
assert(LIMITS.loginBackoffMaxMs < LIMITS.handshakeTimeoutMs, "a login that waits is answered within its handshake");
assert(LIMITS.messageBytesMax * 1.34 + 65536 <= LIMITS.httpLargeBodyBytesMax, "the largest message fits a request");
assert(LIMITS.httpLargeBodyBytesMax <= LIMITS.httpBodiesTotalBytesMax, "the largest body may be read");
assert(LIMITS.commitBacklogLowBytes < LIMITS.commitBacklogHighBytes, "flow watermarks are ordered");
assert(LIMITS.fairBacklogLowBytes < LIMITS.fairBacklogHighBytes, "watermarks of fairness are ordered");
assert(LIMITS.fairBacklogHighBytes <= LIMITS.commitBacklogLowBytes, "who publishes much is stopped first");
assert(LIMITS.messageBytesMax + 4096 <= LIMITS.segmentBytes, "the largest message fits a segment");
assert(LIMITS.messageBytesMax <= LIMITS.messageBytesCeiling, "the default message size may be set");
assert(LIMITS.entryTargetBytes < LIMITS.slabBytes, "an entry fits a slab");
assert(LIMITS.segmentReserve <= LIMITS.segmentReserveMax, "the reserve fits the pool");
