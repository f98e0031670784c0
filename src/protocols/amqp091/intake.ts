// What keeps a connection from reading on, and how much it has read.
//
// Holding stops the parser in front of the next frame (the socket is paused as well):
//   commit    a topology change or a transaction is not durable yet     get    a basic.get is under way
//   blocked   an alarm is on and this client publishes                  login  the password is being checked
// Pausing only stops the socket:
//   congested uncommitted bytes are above a limit        unsent the peer does not read its answers
//   budget    this turn has parsed enough for this connection

import { LIMITS } from "../../limits.ts";
import type { ByteSocket } from "../../ports/net.ts";

export const HOLD_COMMIT = 1;
export const HOLD_GET = 2;
export const HOLD_BLOCKED = 4;
export const HOLD_LOGIN = 8;
export const PAUSE_CONGESTED = 16;
export const PAUSE_UNSENT = 32;
export const PAUSE_BUDGET = 64;
const HOLDS = HOLD_COMMIT | HOLD_GET | HOLD_BLOCKED | HOLD_LOGIN;
/** These last; the holds for a commit or a get are short, and pause the socket only if more arrives. */
const PAUSES = HOLD_BLOCKED | PAUSE_CONGESTED | PAUSE_UNSENT | PAUSE_BUDGET;

export class Intake {
  /** Bytes received, ever. */
  receivedBytes = 0;
  private readonly socket: Pick<ByteSocket, "pause" | "resume">;
  /** Parses on with what was kept, unless something else is in the way. */
  private readonly proceed: () => void;
  private flags = 0;
  private socketPaused = false;
  /** Bytes received since the last flush, and in this tick; and whether the tick before brought much. */
  private turnBytes = 0;
  private tickBytes = 0;
  private wasHeavy = false;

  constructor(socket: Pick<ByteSocket, "pause" | "resume">, proceed: () => void) {
    this.socket = socket;
    this.proceed = proceed;
  }

  /** The parser must not take another frame. */
  get holds(): boolean {
    return (this.flags & HOLDS) !== 0;
  }

  get paused(): boolean {
    return this.socketPaused;
  }

  /** True when one of these reasons is in force. */
  has(reasons: number): boolean {
    return (this.flags & reasons) !== 0;
  }

  /** True for a connection that sends much; it makes room for those that send little. */
  get isHeavy(): boolean {
    return this.wasHeavy || this.tickBytes > LIMITS.modestBytesMax;
  }

  /**
   * Counts a chunk. One poll may read the same socket many times: true when the connection has read its
   * share of the turn and waits for the next one. `fair`: others are there who send little.
   */
  received(size: number, fair: boolean): boolean {
    this.receivedBytes += size;
    this.tickBytes += size;
    if (this.holds) this.pauseSocket();
    this.turnBytes += size;
    const budget = fair && this.isHeavy ? LIMITS.parseBudgetFairBytes : LIMITS.parseBudgetBytes;
    if (this.turnBytes < budget) return false;
    this.turnBytes = 0;
    this.raise(PAUSE_BUDGET);
    return true;
  }

  endTurn(): void {
    this.turnBytes = 0;
  }

  endTick(): void {
    this.wasHeavy = this.tickBytes > LIMITS.modestBytesMax;
    this.tickBytes = 0;
  }

  raise(reason: number): void {
    this.flags |= reason;
    if ((reason & PAUSES) !== 0) this.pauseSocket();
  }

  /** These reasons are no longer in force: goes on when none is left. */
  lower(reasons: number): void {
    if (!this.has(reasons)) return;
    this.flags &= ~reasons;
    if (!this.holds) this.proceed();
    if (this.flags !== 0 || !this.socketPaused) return;
    this.socketPaused = false;
    this.socket.resume();
  }

  /** Every reason is gone: the connection is about to end and only its end is read. */
  lowerAll(): void {
    this.lower(this.flags);
  }

  private pauseSocket(): void {
    if (this.socketPaused) return;
    this.socketPaused = true;
    this.socket.pause();
  }
}
