// One client connection: its socket, its handshake, what holds it back, and how it ends.
//
//   header -> handshake -> open -> closing (our connection.close was sent) -> gone
//                             \-> connection.close from the client ---------> gone

import { assert } from "../../assert.ts";
import type { BrokerFacade, ChannelView, Session } from "../../broker/facade.ts";
import { LIMITS } from "../../limits.ts";
import type { FieldTable } from "../../model/field-table.ts";
import type { Clock, Random, Timer } from "../../ports/clock.ts";
import type { Logger } from "../../ports/logger.ts";
import type { ByteSocket, SocketEvents } from "../../ports/net.ts";
import type { Channel } from "./channel.ts";
import { ClientView, viewOf } from "./client-view.ts";
import { Dispatch, type DispatchHost } from "./dispatch.ts";
import type { DirectReplies } from "./direct-replies.ts";
import { connectionError, replyText, toAmqpError, type AmqpError } from "./errors.ts";
import { FrameScanner, HELD_BYTES_MAX } from "./frames.ts";
import { Handshake, PROTOCOL_HEADER, type HandshakeHost, type Tuning } from "./handshake.ts";
import { Heartbeat, type HeartbeatEvents } from "./heartbeat.ts";
import {
  HOLD_BLOCKED,
  HOLD_COMMIT,
  HOLD_GET,
  HOLD_LOGIN,
  Intake,
  PAUSE_BUDGET,
  PAUSE_CONGESTED,
  PAUSE_UNSENT,
} from "./intake.ts";
import { encodeMethod } from "./methods.ts";
import { type BufferPool, Outbox } from "./outbox.ts";
import { Settles } from "./settles.ts";
import { FRAME_HEARTBEAT, FRAME_METHOD, REPLY_CODES, type Method, type MethodFields, type MethodName } from "./spec.ts";
import type { KeptPublish, TransactionBudget } from "./transaction.ts";

/** How long a peer may take to answer our connection.close, ms. */
const CLOSE_TIMEOUT_MS = 5_000;
/**
 * Unsent bytes above which the socket is not read either. Deliveries stop at a fraction of it, so only
 * a peer that asks and asks without reading the answers gets here.
 */
const UNSENT_PAUSE_BYTES = 2 * LIMITS.messageBytesMax;

const CLASS_CONNECTION = 10;
const METHOD_START_OK = 11;

/** What a connection needs of the door. */
export interface ConnectionHost {
  readonly broker: BrokerFacade;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly serverProperties: FieldTable;
  readonly buffers: BufferPool;
  readonly replies: DirectReplies;
  readonly transactions: TransactionBudget;
  readonly tick: number;
  /** Who published last, and little: those who publish much make room for it. */
  readonly modest: Connection | undefined;
  modestPublished(connection: Connection): void;
  /** The connection has something to send at the end of this turn. */
  flushLater(connection: Connection): void;
  awaitCommit(channel: Channel): void;
  /** Call `flowChanged` when the flow changes. */
  awaitFlow(connection: Connection): void;
  /** Throws 530 when there are too many connections. */
  sessionOpened(): void;
  /** The connection no longer counts among those in their handshake. */
  handshakeDone(connection: Connection): void;
  countInternalError(): void;
  ended(connection: Connection): void;
}

export class Connection implements SocketEvents, DispatchHost, HandshakeHost, HeartbeatEvents {
  phase: "header" | "handshake" | "open" | "closing" | "gone" = "header";
  /** In the door's list of connections to flush at the end of this turn. */
  flushQueued = false;
  readonly broker: BrokerFacade;
  readonly random: Random;
  readonly logger: Logger;
  readonly serverProperties: FieldTable;
  readonly outbox: Outbox;
  readonly settles: Settles;
  readonly replies: DirectReplies;
  readonly transactions: TransactionBudget;
  channelMax = 0;
  /** Unix time, ms. */
  readonly connectedAtMs: number;
  sentBytes = 0;
  tuning: Tuning = { channelMax: 0, frameBytesMax: LIMITS.frameBytesMax, heartbeatS: 0 };
  private readonly host: ConnectionHost;
  private readonly socket: ByteSocket;
  private readonly scanner: FrameScanner;
  private readonly dispatch: Dispatch;
  private readonly handshake: Handshake;
  private readonly heartbeat: Heartbeat;
  private header: Buffer = Buffer.alloc(0);
  private opened: Session | undefined = undefined;
  private readonly intake: Intake;
  private parsing = false;
  private timer: Timer | undefined = undefined;
  private unsentBytes = 0;
  private isStalled = false;
  private toldBlocked = false;
  private publishedInChunk = false;
  private endAfterFlush = false;
  private confirming: Channel[] = [];
  private waking: Channel[] = [];

  constructor(socket: ByteSocket, host: ConnectionHost) {
    this.socket = socket;
    this.host = host;
    this.broker = host.broker;
    this.random = host.random;
    this.logger = host.logger;
    this.serverProperties = host.serverProperties;
    this.replies = host.replies;
    this.transactions = host.transactions;
    this.outbox = new Outbox(LIMITS.frameBytesMax, host.buffers, () => host.flushLater(this));
    this.settles = new Settles(host.broker);
    this.dispatch = new Dispatch(this);
    this.intake = new Intake(socket, () => this.proceed());
    this.scanner = new FrameScanner(this.dispatch, LIMITS.handshakeBytesMax, LIMITS.handshakeBytesMax);
    this.connectedAtMs = host.clock.wallMs();
    this.handshake = new Handshake(this);
    this.heartbeat = new Heartbeat(host.clock, this);
    this.timer = host.clock.after(LIMITS.handshakeTimeoutMs, () => this.handshakeTimeout());
    socket.attach(this);
  }

  get session(): Session {
    assert(this.opened !== undefined, "a channel exists only in a session");
    return this.opened;
  }

  get isOpen(): boolean {
    return this.phase === "open";
  }

  get tick(): number {
    return this.host.tick;
  }

  /**
   * The end of a tick: channels whose consumers hold deliveries for too long end.
   */
  endTick(): void {
    this.intake.endTick();
    if (this.phase === "open") this.dispatch.checkTimeouts();
  }

  get channelCount(): number {
    return this.dispatch.channels.size;
  }

  // Bytes in

  data(chunk: Buffer): void {
    if (this.phase === "gone" || this.endAfterFlush) return;
    this.heartbeat.received();
    if (this.intake.received(chunk.length, this.othersAreModest)) this.host.flushLater(this);
    this.parse(() => {
      const at = this.phase === "header" ? this.takeHeader(chunk) : 0;
      if (at >= 0) this.scanner.feed(chunk, at);
    });
  }

  /** Runs a piece of parsing; what it throws has cost the framing, so nothing more is read. */
  private parse(work: () => void): void {
    this.parsing = true;
    try {
      work();
    } catch (error) {
      this.scanner.discard();
      this.dispatch.failed(0, error, 0, 0);
      this.finish();
    }
    this.parsing = false;
    this.chunkDone();
  }

  /** Collects the protocol header; returns the offset behind it, -1 when nothing is left to parse. */
  private takeHeader(chunk: Buffer): number {
    const used = Math.min(chunk.length, PROTOCOL_HEADER.length - this.header.length);
    this.header = Buffer.concat([this.header, chunk.subarray(0, used)]);
    if (this.header.length < PROTOCOL_HEADER.length) return -1;
    if (!Handshake.accepts(this.header)) {
      // AMQP 0-9-1 section 4.2.2: name the version that is spoken here, then close.
      this.outbox.raw(PROTOCOL_HEADER);
      this.finish();
      return -1;
    }
    this.phase = "handshake";
    this.handshake.start();
    return used;
  }

  private chunkDone(): void {
    try {
      this.settles.flush();
    } catch (error) {
      this.dispatch.failed(0, error, 0, 0);
    }
    this.dispatch.release();
    if (this.waking.length > 0) this.wakeChannels();
    if (this.publishedInChunk && this.phase === "open" && this.mustWait()) {
      this.intake.raise(PAUSE_CONGESTED);
      this.host.awaitFlow(this);
    }
    if (this.publishedInChunk && !this.isHeavy) this.host.modestPublished(this);
    this.publishedInChunk = false;
  }

  /** True while this publisher is to be read no further: for the sake of memory, or of the others. */
  private mustWait(): boolean {
    const { congestion } = this.broker;
    return congestion === "all" || (congestion === "many" && this.othersAreModest && this.isHeavy);
  }

  private get othersAreModest(): boolean {
    const { modest } = this.host;
    return modest !== undefined && modest !== this;
  }

  /** True for a connection that sends much. */
  get isHeavy(): boolean {
    return this.intake.isHeavy;
  }

  private wakeChannels(): void {
    const channels = this.waking;
    this.waking = [];
    for (const channel of channels) {
      channel.wakeQueued = false;
      if (!channel.closing) channel.wake();
    }
  }

  // Holding and pausing

  get holding(): boolean {
    return this.intake.holds || this.phase === "gone" || this.endAfterFlush;
  }

  get paused(): boolean {
    return this.intake.paused;
  }

  get receivedBytes(): number {
    return this.intake.receivedBytes;
  }

  private lower(reasons: number): void {
    if (this.phase !== "gone") this.intake.lower(reasons);
  }

  /** Parses what was kept. While frames are being parsed, the parser sees by itself that it may go on. */
  private proceed(): void {
    if (!this.holding && !this.parsing) this.parse(() => this.scanner.proceed());
  }

  afterCommit(answer: () => void): void {
    this.intake.raise(HOLD_COMMIT);
    this.broker.whenMetaCommitted(() => {
      if (this.phase === "open") answer();
      this.lower(HOLD_COMMIT);
    });
  }

  afterStored(answer: () => void): void {
    this.intake.raise(HOLD_COMMIT);
    this.broker.whenStored(() => {
      if (this.phase === "open") answer();
      this.lower(HOLD_COMMIT);
    });
  }

  publishKept(channel: Channel, kept: readonly KeptPublish[]): void {
    this.dispatch.publishKept(channel, kept);
  }

  holdForGet(): () => void {
    this.intake.raise(HOLD_GET);
    return () => this.lower(HOLD_GET);
  }

  blockPublisher(): void {
    this.intake.raise(HOLD_BLOCKED);
    this.host.awaitFlow(this);
    if (!this.handshake.can("connection.blocked")) return;
    this.toldBlocked = true;
    this.send(0, "connection.blocked", { reason: `low on ${this.broker.publishBlocked ?? "resources"}` });
  }

  /** Alarms or congestion changed. Returns true to hear of the next change as well. */
  flowChanged(): boolean {
    if (this.phase !== "open") return false;
    if (this.intake.has(HOLD_BLOCKED) && this.broker.publishBlocked === undefined) {
      if (this.toldBlocked) this.send(0, "connection.unblocked", {});
      this.toldBlocked = false;
      this.lower(HOLD_BLOCKED);
    }
    if (this.intake.has(PAUSE_CONGESTED) && !this.mustWait()) this.lower(PAUSE_CONGESTED);
    return this.intake.has(HOLD_BLOCKED | PAUSE_CONGESTED);
  }

  published(): void {
    this.publishedInChunk = true;
  }

  // Bytes out

  send<N extends MethodName>(channel: number, name: N, fields: MethodFields<N>): void {
    this.outbox.frame(FRAME_METHOD, channel, encodeMethod(name, fields));
  }

  sendHeartbeat(): void {
    this.outbox.frame(FRAME_HEARTBEAT, 0, Buffer.alloc(0));
  }

  get hasRoom(): boolean {
    return this.unsentBytes + this.outbox.size <= LIMITS.socketUnsentBytesMax;
  }

  stalled(): void {
    this.isStalled = true;
  }

  awaitCommit(channel: Channel): void {
    if (!channel.awaitsCommit) this.host.awaitCommit(channel);
  }

  confirmLater(channel: Channel): void {
    if (channel.confirmQueued) return;
    channel.confirmQueued = true;
    if (this.confirming.length === 0) this.host.flushLater(this);
    this.confirming.push(channel);
  }

  wakeLater(channel: Channel): void {
    if (channel.wakeQueued) return;
    channel.wakeQueued = true;
    this.waking.push(channel);
  }

  /** The end of a turn: confirms, then everything in one write. */
  flush(): void {
    if (this.phase === "gone") return;
    this.intake.endTurn();
    for (const channel of this.confirming) {
      channel.confirmQueued = false;
      channel.sendConfirms();
    }
    this.confirming.length = 0;
    if (this.outbox.size > 0) {
      this.sentBytes += this.outbox.size;
      this.socket.write(this.outbox.take());
      if (this.socket.unsentBytes === 0) this.outbox.takenIsSent();
      this.heartbeat.wrote();
    }
    if (this.endAfterFlush) {
      this.socket.end();
      return;
    }
    this.noteUnsent();
    this.lower(PAUSE_BUDGET);
  }

  drain(): void {
    if (this.phase !== "gone") this.noteUnsent();
  }

  private noteUnsent(): void {
    this.unsentBytes = this.socket.unsentBytes;
    if (this.unsentBytes > UNSENT_PAUSE_BYTES) this.intake.raise(PAUSE_UNSENT);
    else if (this.unsentBytes === 0) this.lower(PAUSE_UNSENT);
    if (!this.isStalled || !this.hasRoom) return;
    this.isStalled = false;
    for (const channel of this.dispatch.channels.values()) channel.wake();
  }

  // The handshake

  authenticate(user: string, password: string, answer: (accepted: boolean) => void): void {
    const peerHost = this.socket.remoteAddress;
    this.intake.raise(HOLD_LOGIN);
    this.broker.logIn({ user, password, peerHost, peerIsLoopback: isLoopback(peerHost) }, (found) => {
      if (found === undefined) this.logger.warn("a login was refused", { user, from: peerHost });
      this.answerLogin(() => answer(found !== undefined));
    });
  }

  get certificateName(): string | undefined {
    return this.socket.peerCertificate?.commonName;
  }

  acceptsCertificate(name: string): boolean {
    const found = this.broker.logInByCertificate(name, isLoopback(this.socket.remoteAddress));
    if (found === undefined) this.logger.warn("a certificate was refused", { name, from: this.socket.remoteAddress });
    return found !== undefined;
  }

  get clientProperties(): FieldTable {
    return this.handshake.clientProperties;
  }

  channelViews(): readonly ChannelView[] {
    return [...this.dispatch.channels.values()].map(viewOf);
  }

  private answerLogin(answer: () => void): void {
    if (this.phase !== "handshake") return;
    try {
      answer();
    } catch (error) {
      this.dispatch.failed(0, error, CLASS_CONNECTION, METHOD_START_OK);
    }
    this.lower(HOLD_LOGIN);
  }

  tuned(tuning: Tuning): void {
    this.tuning = tuning;
    this.channelMax = tuning.channelMax;
    this.scanner.frameBytesMax = tuning.frameBytesMax;
    this.outbox.frameBytesMax = tuning.frameBytesMax;
    this.heartbeat.start(tuning.heartbeatS);
  }

  openSession(user: string, vhost: string): void {
    this.host.sessionOpened();
    this.opened = this.broker.openSession(user, vhost, new ClientView(this, this.socket));
    this.phase = "open";
    this.scanner.heldBytesMax = HELD_BYTES_MAX;
    this.host.handshakeDone(this);
    this.timer?.cancel();
    this.timer = undefined;
    this.logger.debug("a connection was opened", {
      from: this.socket.remoteAddress,
      port: this.socket.remotePort,
      user,
      vhost,
    });
  }

  get tellsCancels(): boolean {
    return this.handshake.can("consumer_cancel_notify");
  }

  connectionMethod(method: Method): void {
    switch (method.name) {
      case "connection.close":
        this.dispatch.sendConfirms();
        this.shut();
        this.send(0, "connection.close-ok", {});
        return this.finish();
      case "connection.close-ok":
        if (this.phase === "closing") this.finish();
        return;
      case "connection.update-secret":
        if (this.phase !== "open") break;
        return this.send(0, "connection.update-secret-ok", {});
      default:
        break;
    }
    if (this.phase === "handshake") return this.handshake.handle(method);
    throw connectionError("channel-error", `unexpected method ${method.name} on channel 0`);
  }

  private handshakeTimeout(): void {
    this.logger.warn("a connection did not finish its handshake in time", { from: this.socket.remoteAddress });
    this.destroy();
  }

  // The end

  peerIsGone(silentMs: number): void {
    this.logger.warn("a client missed its heartbeats", { from: this.socket.remoteAddress, silentMs });
    this.destroy();
  }

  internalError(error: AmqpError): void {
    this.host.countInternalError();
    const cause = error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : String(error.cause);
    this.logger.error("an internal error closes a connection", { from: this.socket.remoteAddress, error: cause });
  }

  /** Sends connection.close and waits for close-ok. */
  closeWith(error: AmqpError, classId: number, methodId: number): void {
    if (this.phase === "closing" || this.phase === "gone") return;
    const silent = error.replyCode === REPLY_CODES["access-refused"] && this.handshake.authenticating;
    this.logger.info("a connection is closed with an error", { from: this.socket.remoteAddress, text: error.message });
    this.shut();
    if (this.phase === "header" || (silent && !this.handshake.can("authentication_failure_close"))) {
      this.finish();
      return;
    }
    this.phase = "closing";
    this.send(0, "connection.close", {
      replyCode: error.replyCode,
      replyText: replyText(error.message),
      classId,
      methodId,
    });
    this.timer?.cancel();
    this.timer = this.host.clock.after(CLOSE_TIMEOUT_MS, () => this.destroy());
    this.intake.lowerAll();
  }

  /** The operator or a shutdown closes the connection: 320 CONNECTION_FORCED. */
  force(reason: string): void {
    if (this.phase === "header" || this.phase === "handshake") {
      this.destroy();
      return;
    }
    this.closeWith(connectionError("connection-forced", reason), 0, 0);
  }

  /** Closes the socket once everything written so far is out. */
  private finish(): void {
    if (this.phase === "gone") return;
    this.phase = "closing";
    this.endAfterFlush = true;
    this.scanner.discard();
    this.host.flushLater(this);
    this.timer?.cancel();
    this.timer = this.host.clock.after(CLOSE_TIMEOUT_MS, () => this.destroy());
  }

  destroy(): void {
    this.socket.destroy();
    this.close();
  }

  close(): void {
    if (this.phase === "gone") return;
    this.shut();
    this.phase = "gone";
    this.timer?.cancel();
    this.heartbeat.stop();
    this.outbox.discard();
    this.scanner.discard();
    this.host.ended(this);
  }

  /** Ends channels and session, once; whatever the broker answers, the connection goes on ending. */
  private shut(): void {
    const session = this.opened;
    if (session === undefined) return;
    this.opened = undefined;
    try {
      this.dispatch.shut();
      this.broker.closeSession(session);
    } catch (error) {
      this.internalError(toAmqpError(error));
    }
  }
}

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.") || address.startsWith("::ffff:127.");
}
