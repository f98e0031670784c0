// A client connection with one channel, reduced to what a benchmark needs: the handshake, calls that
// wait for one method, and a raw frame callback for the hot path. Reads land in one reused buffer.

import { connect } from "node:net";
import type { Socket } from "node:net";
import {
  FRAME_METHOD,
  FrameScanner,
  METHOD,
  PROTOCOL_HEADER,
  method,
  openChannel,
  openConnection,
  readU32,
  startOk,
  tuneOk,
} from "./wire.ts";
import type { OnFrame } from "./wire.ts";

export const CHANNEL = 1;
const READ_BUFFER_BYTES = 512 * 1024;

interface Waiter {
  readonly id: number;
  resolve(payload: Buffer): void;
  reject(error: Error): void;
}

export class RawConnection {
  readonly socket: Socket;
  /** Called for every frame that no call waits for. */
  onFrame: OnFrame = () => {};
  /** Called after each chunk of frames. */
  onChunk: () => void = () => {};
  onLost: (error: Error) => void = () => {};
  #waiter: Waiter | undefined;
  #closing = false;

  private constructor(host: string, port: number) {
    const scanner = new FrameScanner((type, channel, bytes, start, end) => {
      this.#frame(type, channel, bytes, start, end);
    });
    const receive = (length: number, bytes: Uint8Array): boolean => {
      try {
        scanner.push(bytes as Buffer, length);
        this.onChunk();
      } catch (error) {
        this.#lost(error as Error);
      }
      return true;
    };
    const onread = { buffer: Buffer.allocUnsafeSlow(READ_BUFFER_BYTES), callback: receive };
    this.socket = connect({ host, port, noDelay: true, onread });
    this.socket.on("error", (error) => this.#lost(error));
    this.socket.on("close", () => this.#lost(new Error("the server closed the connection")));
  }

  /** Connects, authenticates as guest and opens channel 1. Rejects when the server refuses. */
  static async open(host: string, port: number): Promise<RawConnection> {
    const connection = new RawConnection(host, port);
    await connection.call(PROTOCOL_HEADER, METHOD.connectionStart);
    await connection.call(startOk("guest", "guest"), METHOD.connectionTune);
    connection.socket.write(tuneOk());
    await connection.call(openConnection(), METHOD.connectionOpenOk);
    await connection.call(openChannel(CHANNEL), METHOD.channelOpenOk);
    return connection;
  }

  /** Sends `request` and resolves with the payload of the first method `answerId`. */
  call(request: Buffer, answerId: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      this.#waiter = { id: answerId, resolve, reject };
      this.socket.write(request);
    });
  }

  close(): Promise<void> {
    this.#closing = true;
    return new Promise((resolve) => {
      if (this.socket.destroyed) {
        resolve();
        return;
      }
      this.socket.once("close", () => resolve());
      this.socket.end(method(0, METHOD.connectionClose, Buffer.alloc(7)));
      this.socket.setTimeout(5000, () => this.socket.destroy());
    });
  }

  #frame(type: number, channel: number, bytes: Buffer, start: number, end: number): void {
    if (type === FRAME_METHOD) {
      const id = readU32(bytes, start);
      const waiter = this.#waiter;
      if (waiter !== undefined && waiter.id === id) {
        this.#waiter = undefined;
        waiter.resolve(Buffer.from(bytes.subarray(start + 4, end)));
        return;
      }
      if (id === METHOD.connectionCloseOk) {
        this.socket.destroy();
        return;
      }
      if (id === METHOD.connectionClose || id === METHOD.channelClose) {
        const length = bytes[start + 6] as number;
        const text = bytes.toString("utf8", start + 7, start + 7 + length);
        throw new Error(`refused: ${bytes.readUInt16BE(start + 4)} ${text}`);
      }
    }
    this.onFrame(type, channel, bytes, start, end);
  }

  #lost(error: Error): void {
    if (this.#closing) return;
    this.#closing = true;
    this.socket.destroy();
    this.#waiter?.reject(error);
    this.#waiter = undefined;
    this.onLost(error);
  }
}
