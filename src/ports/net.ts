// Byte streams to clients. runtime/ implements it on node:net and node:tls; simulations and wire
// tests feed connections from memory.

import type { TlsMaterial } from "./tls.ts";

export interface SocketEvents {
  /** Bytes arrived. The buffer belongs to the receiver until it returns; copy what must stay. */
  data(chunk: Buffer): void;
  /** Unsent bytes fell to zero after `unsentBytes` had been above zero. */
  drain(): void;
  /** The stream is gone; nothing else will be called. `error` is set when it was not orderly. */
  close(error?: Error): void;
}

/** The subject of a certificate that the peer has shown and that was verified. */
export interface PeerCertificate {
  /** Undefined unless there is exactly one. */
  readonly commonName: string | undefined;
}

export interface ByteSocket {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly encrypted: boolean;
  /** Undefined without TLS, and for a peer that has shown none or one that nobody vouches for. */
  readonly peerCertificate: PeerCertificate | undefined;
  /** Bytes accepted by `write` and not yet handed to the kernel. */
  readonly unsentBytes: number;
  attach(events: SocketEvents): void;
  /** Sends `bytes`, which belong to the socket until `unsentBytes` is zero (it may be so at once). */
  write(bytes: Buffer): void;
  pause(): void;
  resume(): void;
  /** Sends what is pending, then closes. */
  end(): void;
  /** Closes now. */
  destroy(): void;
}

export interface ListenOptions {
  readonly host: string;
  readonly port: number;
  /** Set for TLS. */
  readonly tls?: TlsMaterial;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** New connections use these certificates; only for a listener with TLS. Throws when they are none. */
  renewTls?(tls: TlsMaterial): void;
  /** Stops accepting; open sockets stay. */
  close(): Promise<void>;
}

export interface Net {
  /** Fails with the system's code (EADDRINUSE, EADDRNOTAVAIL, EACCES) in `error.code`. */
  listen(options: ListenOptions, onSocket: (socket: ByteSocket) => void): Promise<Listener>;
}
