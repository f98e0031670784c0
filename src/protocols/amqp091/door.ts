// The AMQP 0-9-1 door: listeners, the set of connections, and what reaches all of them - commits,
// flow, the end of a turn, shutdown.

import type { BrokerFacade } from "../../broker/facade.ts";
import { LIMITS } from "../../limits.ts";
import type { FieldTable } from "../../model/field-table.ts";
import type { Clock, Random, Timer } from "../../ports/clock.ts";
import type { Logger } from "../../ports/logger.ts";
import type { ByteSocket, Listener, ListenOptions, Net } from "../../ports/net.ts";
import type { Channel } from "./channel.ts";
import { CONSUMER_TICK_MS } from "./channel-host.ts";
import { Connection, type ConnectionHost } from "./connection.ts";
import { DirectReplies } from "./direct-replies.ts";
import { connectionError } from "./errors.ts";
import { BufferPool } from "./outbox.ts";
import { serverProperties, type ServerIdentity } from "./server-properties.ts";
import { TransactionBudget } from "./transaction.ts";

/** How long clients get to answer connection.close at shutdown, ms. */
const SHUTDOWN_MS = 1_000;
/** Those who publish much make room for so many ticks after somebody has published a little. */
const MODEST_TICKS = 5;
/** Sockets beyond the limit of connections: room to tell a client politely why it is refused. */
const SOCKETS_SPARE = 1_024;

export interface AmqpDoorOptions extends ServerIdentity {
  readonly net: Net;
  readonly broker: BrokerFacade;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly listeners: readonly ListenOptions[];
}

export interface AmqpDoor {
  /** Where it listens, in the order of the options. */
  readonly addresses: readonly { readonly host: string; readonly port: number; readonly tls: boolean }[];
  /** Connections that have finished their handshake. */
  readonly connectionCount: number;
  readonly channelCount: number;
  /** Connections that ended with 541 because of a fault of the broker. */
  readonly internalErrors: number;
  /** Serves a socket that was accepted elsewhere (tests, simulations). */
  accept(socket: ByteSocket): void;
  /** Stops listening, closes every connection with 320, waits up to a second for the clients' answers. */
  close(): Promise<void>;
}

/** Starts the door. Fails with the system's code when an address cannot be had; nothing listens then. */
export async function startAmqpDoor(options: AmqpDoorOptions): Promise<AmqpDoor> {
  const door = new Door(options);
  try {
    for (const listener of options.listeners) await door.listen(listener);
  } catch (error) {
    await door.close();
    throw error;
  }
  return door;
}

class Door implements AmqpDoor, ConnectionHost {
  readonly broker: BrokerFacade;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly serverProperties: FieldTable;
  readonly buffers = new BufferPool();
  readonly replies = new DirectReplies();
  readonly transactions = new TransactionBudget();
  internalErrors = 0;
  tick = 0;
  modest: Connection | undefined = undefined;
  private modestTick = 0;
  private readonly net: Net;
  private readonly listeners: { readonly listener: Listener; readonly tls: boolean }[] = [];
  private readonly connections = new Set<Connection>();
  private readonly inHandshake = new Set<Connection>();
  private readonly heldByFlow = new Set<Connection>();
  private ticker: Timer | undefined = undefined;
  private flushing: Connection[] = [];
  private awaitingCommit: Channel[] = [];
  private stopped: (() => void) | undefined = undefined;
  private stopping = false;

  constructor(options: AmqpDoorOptions) {
    this.net = options.net;
    this.broker = options.broker;
    this.clock = options.clock;
    this.random = options.random;
    this.logger = options.logger;
    this.serverProperties = serverProperties(options);
    this.broker.onCommitted(() => this.committed());
    this.broker.onFlow(() => this.flowChanged());
  }

  async listen(options: ListenOptions): Promise<void> {
    const listener = await this.net.listen(options, (socket) => this.accept(socket));
    this.listeners.push({ listener, tls: options.tls !== undefined });
  }

  get addresses(): readonly { readonly host: string; readonly port: number; readonly tls: boolean }[] {
    return this.listeners.map(({ listener, tls }) => ({ host: listener.host, port: listener.port, tls }));
  }

  get connectionCount(): number {
    let count = 0;
    for (const connection of this.connections) if (connection.isOpen) count++;
    return count;
  }

  get channelCount(): number {
    let count = 0;
    for (const connection of this.connections) count += connection.channelCount;
    return count;
  }

  accept(socket: ByteSocket): void {
    const full = this.connections.size >= LIMITS.connectionsMax + SOCKETS_SPARE;
    if (this.stopping || full || this.inHandshake.size >= LIMITS.handshakesMax) {
      const [open, handshakes] = [this.connections.size, this.inHandshake.size];
      this.logger.warn("a connection was refused", { from: socket.remoteAddress, open, handshakes });
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, this);
    this.connections.add(connection);
    this.inHandshake.add(connection);
    if (this.connections.size === 1) this.armTicks();
  }

  modestPublished(connection: Connection): void {
    this.modest = connection;
    this.modestTick = this.tick;
  }

  /** Counts ticks while there are connections. */
  private armTicks(): void {
    this.ticker?.cancel();
    this.ticker = this.clock.after(CONSUMER_TICK_MS, () => {
      this.tick++;
      for (const each of this.connections) each.endTick();
      const { modest } = this;
      // Whoever begins to publish looks modest at first.
      if (modest !== undefined && (modest.isHeavy || this.tick - this.modestTick > MODEST_TICKS)) {
        this.modest = undefined;
        this.flowChanged();
      }
      if (this.connections.size > 0) this.armTicks();
    });
  }

  // What connections ask of the door

  sessionOpened(): void {
    if (this.connections.size <= LIMITS.connectionsMax) return;
    throw connectionError("not-allowed", `access refused: the connection limit (${LIMITS.connectionsMax}) is reached`);
  }

  handshakeDone(connection: Connection): void {
    this.inHandshake.delete(connection);
  }

  flushLater(connection: Connection): void {
    if (connection.flushQueued) return;
    connection.flushQueued = true;
    this.flushing.push(connection);
    if (this.flushing.length === 1) this.broker.atTurnEnd(this.flushAll);
  }

  private readonly flushAll = (): void => {
    const connections = this.flushing;
    this.flushing = [];
    for (const connection of connections) {
      connection.flushQueued = false;
      connection.flush();
    }
  };

  awaitCommit(channel: Channel): void {
    channel.awaitsCommit = true;
    this.awaitingCommit.push(channel);
  }

  private committed(): void {
    const channels = this.awaitingCommit;
    if (channels.length === 0) return;
    const committed = this.broker.committed;
    this.awaitingCommit = [];
    for (const channel of channels) {
      channel.awaitsCommit = false;
      channel.committed(committed);
    }
  }

  awaitFlow(connection: Connection): void {
    this.heldByFlow.add(connection);
  }

  private flowChanged(): void {
    for (const connection of [...this.heldByFlow]) {
      if (!connection.flowChanged()) this.heldByFlow.delete(connection);
    }
  }

  countInternalError(): void {
    this.internalErrors++;
  }

  ended(connection: Connection): void {
    this.connections.delete(connection);
    this.inHandshake.delete(connection);
    this.heldByFlow.delete(connection);
    if (this.modest === connection) this.modest = undefined;
    if (this.connections.size === 0) this.stopped?.();
  }

  async close(): Promise<void> {
    this.stopping = true;
    await Promise.all(this.listeners.map(({ listener }) => listener.close()));
    if (this.connections.size === 0) return;
    await new Promise<void>((resolve) => {
      const timer = this.clock.after(SHUTDOWN_MS, resolve);
      this.stopped = () => {
        timer.cancel();
        resolve();
      };
      for (const connection of [...this.connections]) connection.force("broker is shutting down");
    });
    this.stopped = undefined;
    for (const connection of [...this.connections]) connection.destroy();
  }
}
