// ports/net.ts on node:net and node:tls. Sockets have noDelay, since doors write once per turn.

import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { ByteSocket, Listener, ListenOptions, Net, SocketEvents } from "../ports/net.ts";

/** Connections that wait in the kernel to be accepted; fleets of clients reconnect at the same moment. */
const BACKLOG = 1024;

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
  if (options.tls === undefined) return createServer(settings, (socket) => onSocket(new NodeSocket(socket, false)));
  const { cert, key, ca } = options.tls;
  const server = createTlsServer({ ...settings, cert, key, ...(ca === undefined ? {} : { ca, requestCert: true }) });
  server.on("secureConnection", (socket) => onSocket(new NodeSocket(socket, true)));
  return server;
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
  private readonly socket: Socket;
  private events: SocketEvents | undefined = undefined;
  private error: Error | undefined = undefined;
  private readonly written: () => void;

  constructor(socket: Socket, encrypted: boolean) {
    this.socket = socket;
    this.encrypted = encrypted;
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
    this.socket.on("data", (chunk: Buffer) => events.data(chunk));
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
