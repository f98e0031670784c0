// ports/net.ts on node:net and node:tls. Sockets have noDelay, since doors write once per turn.
//
// Plain sockets are read into one buffer that all of them share: receivers copy what must stay before
// they return. Node would make a new buffer for every read, and at tens of megabytes a second that
// garbage costs pauses of several milliseconds.

import { createServer, type AddressInfo, type Server, Socket, type SocketConstructorOpts } from "node:net";
import { createServer as createTlsServer, type SecureContextOptions, Server as TlsServer, TLSSocket } from "node:tls";
import { LIMITS } from "../limits.ts";
import type { ByteSocket, Listener, ListenOptions, Net, PeerCertificate, SocketEvents } from "../ports/net.ts";
import type { TlsMaterial } from "../ports/tls.ts";

/** Connections that wait in the kernel to be accepted; fleets of clients reconnect at the same moment. */
const BACKLOG = 1024;
/** One read takes at most this much. */
const READ_BYTES = 256 * 1024;

export function createNodeNet(): Net {
  return { listen };
}

async function listen(options: ListenOptions, onSocket: (socket: ByteSocket) => void): Promise<Listener> {
  const server = openServer(options, onSocket);
  const { host, port } = options;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port, backlog: BACKLOG, ipv6Only: host.includes(":") }, () => {
      server.off("error", reject);
      resolve();
    });
  });
  // A failed accept (out of file descriptors) must not end the process; the client tries again.
  server.on("error", () => undefined);
  return new NodeListener(server, host);
}

function openServer(options: ListenOptions, onSocket: (socket: ByteSocket) => void): Server {
  const settings = { noDelay: true, keepAlive: true };
  if (options.tls === undefined) {
    const buffer = sharedBuffer();
    return createServer({ ...settings, pauseOnConnect: true }, (accepted) => {
      const reader: Reader = { received: undefined };
      const socket = readInto(accepted, buffer, reader);
      onSocket(new NodeSocket(socket, false, reader));
    });
  }
  const { ca, clientsMust = true } = options.tls;
  const asks = ca === undefined ? {} : { requestCert: true, rejectUnauthorized: clientsMust };
  const handshakeTimeout = LIMITS.handshakeTimeoutMs;
  const server = createTlsServer({ ...settings, handshakeTimeout, ...contextOf(options.tls), ...asks });
  server.on("secureConnection", (socket) => onSocket(new NodeSocket(socket, true)));
  return server;
}

function contextOf({ cert, key, ca }: TlsMaterial): SecureContextOptions {
  return { cert, key, minVersion: "TLSv1.2", ...(ca === undefined ? {} : { ca }) };
}

/** Who gets what a socket reads into the shared buffer. */
interface Reader {
  received: ((chunk: Buffer) => void) | undefined;
}

let readBuffer: Buffer | undefined;

function sharedBuffer(): Buffer {
  readBuffer ??= Buffer.allocUnsafeSlow(READ_BYTES);
  return readBuffer;
}

/**
 * The connection of `accepted` as a socket that reads into `buffer`. Node offers this for outgoing
 * connections only (`onread`), so the connection is handed from one socket object to another.
 */
function readInto(accepted: Socket, buffer: Buffer, reader: Reader): Socket {
  const from = accepted as unknown as { _handle: object | null };
  const handle = from._handle;
  from._handle = null;
  accepted.destroy();
  const callback = (size: number): boolean => {
    reader.received?.(buffer.subarray(0, size));
    return true;
  };
  // Node's types know these options for outgoing connections only.
  const options = { handle, pauseOnCreate: true, onread: { buffer, callback } };
  return new Socket(options as SocketConstructorOpts);
}

function certificateOf(socket: TLSSocket): PeerCertificate | undefined {
  if (!socket.authorized) return undefined;
  // Node's types know neither that a subject is missing without a certificate nor that names may be several.
  const { subject } = socket.getPeerCertificate() as { subject?: { CN?: string | readonly string[] } };
  if (subject === undefined) return undefined;
  return { commonName: typeof subject.CN === "string" ? subject.CN : undefined };
}

class NodeListener implements Listener {
  readonly host: string;
  readonly port: number;
  private readonly server: Server;

  constructor(server: Server, host: string) {
    this.server = server;
    this.host = host;
    this.port = (server.address() as AddressInfo).port;
  }

  renewTls(tls: TlsMaterial): void {
    if (this.server instanceof TlsServer) this.server.setSecureContext(contextOf(tls));
  }

  close(): Promise<void> {
    // The server's own callback waits for open sockets as well; here only accepting has to stop.
    this.server.close();
    return Promise.resolve();
  }
}

class NodeSocket implements ByteSocket {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly encrypted: boolean;
  readonly peerCertificate: PeerCertificate | undefined;
  private readonly socket: Socket;
  private events: SocketEvents | undefined = undefined;
  private error: Error | undefined = undefined;
  private readonly written: () => void;
  private readonly reader: Reader | undefined;

  /** `reader`: where the socket's bytes arrive; without one they are its "data" events. */
  constructor(socket: Socket, encrypted: boolean, reader?: Reader) {
    this.socket = socket;
    this.reader = reader;
    this.encrypted = encrypted;
    this.peerCertificate = socket instanceof TLSSocket ? certificateOf(socket) : undefined;
    this.remoteAddress = socket.remoteAddress ?? "";
    this.remotePort = socket.remotePort ?? 0;
    this.localAddress = socket.localAddress ?? "";
    this.localPort = socket.localPort ?? 0;
    // One function for all writes. Node's own "drain" event is not enough: it fires only after a write
    // above its high-water mark.
    this.written = () => {
      if (socket.writableLength === 0) this.events?.drain();
    };
    socket.on("error", (error) => {
      this.error = error;
    });
  }

  get unsentBytes(): number {
    return this.socket.writableLength;
  }

  attach(events: SocketEvents): void {
    this.events = events;
    const received = (chunk: Buffer): void => events.data(chunk);
    if (this.reader === undefined) this.socket.on("data", received);
    else {
      this.reader.received = received;
      this.socket.resume();
    }
    this.socket.on("close", () => {
      this.events = undefined;
      events.close(this.error);
    });
  }

  write(bytes: Buffer): void {
    if (this.socket.writable) this.socket.write(bytes, this.written);
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}
