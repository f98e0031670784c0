// Heartbeats of one connection (AMQP 0-9-1 section 4.2.7): one goes out when nothing else did for half
// the interval; a peer that was silent for two intervals is gone. Any traffic counts.

import type { Clock, Timer } from "../../ports/clock.ts";

/** Half intervals of silence after which a peer is dropped: two missed heartbeats. */
const SILENT_TICKS_MAX = 4;

export interface HeartbeatEvents {
  /** True while we ourselves do not read: silence then says nothing. */
  readonly paused: boolean;
  sendHeartbeat(): void;
  peerIsGone(silentMs: number): void;
}

export class Heartbeat {
  private readonly clock: Clock;
  private readonly events: HeartbeatEvents;
  private timer: Timer | undefined = undefined;
  private tickMs = 0;
  private silentTicks = 0;
  private sent = false;

  constructor(clock: Clock, events: HeartbeatEvents) {
    this.clock = clock;
    this.events = events;
  }

  /** Starts with the negotiated interval in seconds; 0 turns heartbeats off. */
  start(intervalS: number): void {
    this.stop();
    if (intervalS === 0) return;
    this.tickMs = intervalS * 500;
    this.arm();
  }

  stop(): void {
    this.timer?.cancel();
    this.timer = undefined;
  }

  received(): void {
    this.silentTicks = 0;
  }

  wrote(): void {
    this.sent = true;
  }

  private arm(): void {
    this.timer = this.clock.after(this.tickMs, () => this.tick());
  }

  private tick(): void {
    this.silentTicks = this.events.paused ? 0 : this.silentTicks + 1;
    if (this.silentTicks > SILENT_TICKS_MAX) {
      this.timer = undefined;
      this.events.peerIsGone(this.silentTicks * this.tickMs);
      return;
    }
    if (!this.sent) this.events.sendHeartbeat();
    this.sent = false;
    this.arm();
  }
}
