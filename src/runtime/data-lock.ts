// The lock of a data folder: at most one broker works in it. A lock file with a pid would lie after a
// kill -9, a reboot or a reused pid; here the kernel tells who is alive.
//
//   DATA/lock/<random>.sock    a unix socket on which its owner listens: it accepts = the owner lives
//
// A starter listens on a socket of its own FIRST and looks for others THEN. So of two starters at least
// one sees the other, and nobody goes on who has seen another: never two owners. A socket gets its name
// only when it already accepts (bound under another name, then renamed), hence one that refuses is the
// leftover of a dead process and is removed.
// Of several starters at once the one with the smallest name stays and looks again; the others close
// their sockets, watch, and try again when nobody is left. Not for folders that several machines share
// over a network.

import { closeSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { Clock, Random } from "../ports/clock.ts";

/** Longest path that fits sockaddr_un on every supported system, bytes. */
const SOCKET_PATH_MAX = 103;
/** An owner that accepts but does not answer by then (stopped, busy) is an owner all the same, ms. */
const ANSWER_TIMEOUT_MS = 2_000;
/** How long starters sort out who goes on, ms. */
const CONTEST_MS = 10_000;
const LOOK_AGAIN_MS = 20;
/** A socket without its final name that is this old was left by a process killed in between, ms. */
const HALF_MADE_STALE_MS = 60_000;

/** Someone else works in the folder. `message` is one sentence for the operator. */
export class DataLockedError extends Error {
  override readonly name = "DataLockedError";
  /** Process id of the owner; undefined when it did not answer. */
  readonly pid: number | undefined;
  constructor(message: string, pid: number | undefined) {
    super(message);
    this.pid = pid;
  }
}

export interface DataLock {
  release(): Promise<void>;
}

interface Owner {
  readonly pid: number | undefined;
  readonly starting: boolean;
  readonly name: string;
}

/** Makes the folder when it is missing and locks it. Throws DataLockedError or the system's error. */
export async function lockDataFolder(folder: string, clock: Clock, random: Random): Promise<DataLock> {
  const lockFolder = join(folder, "lock");
  mkdirSync(lockFolder, { recursive: true });
  const place = openPlace(lockFolder);
  try {
    const own = await contest(place, folder, clock, random);
    own.starting = false;
    return {
      async release() {
        await own.close();
        place.close();
      },
    };
  } catch (error) {
    place.close();
    throw error;
  }
}

/** Tries until this starter owns the folder; throws when someone else does. */
async function contest(place: Place, folder: string, clock: Clock, random: Random): Promise<OwnSocket> {
  const deadline = clock.monotonicMs() + CONTEST_MS;
  const check = (others: readonly Owner[]): void => {
    const running = others.find((other) => !other.starting);
    if (running !== undefined || clock.monotonicMs() > deadline) throw lockedError(folder, running ?? others[0]);
  };
  for (;;) {
    const own = await OwnSocket.open(place, Buffer.from(random.bytes(8)).toString("hex"), clock.wallMs());
    try {
      if (await outlastOthers(own, place, clock, check)) return own;
    } catch (error) {
      await own.close();
      throw error;
    }
    await own.close();
    // Only watches now, without a socket that would hold up the others.
    for (;;) {
      await wait(LOOK_AGAIN_MS + (random.u32() % LOOK_AGAIN_MS));
      const others = await findOwners(place, "", clock);
      if (others.length === 0) break;
      check(others);
    }
  }
}

/** True when nobody else is left; false when another starter has precedence. `check` throws to give up. */
async function outlastOthers(
  own: OwnSocket,
  place: Place,
  clock: Clock,
  check: (others: readonly Owner[]) => void,
): Promise<boolean> {
  for (;;) {
    const others = await findOwners(place, own.name, clock);
    if (!own.stillThere()) return false;
    if (others.length === 0) return true;
    check(others);
    if (others.some((other) => other.name < own.name)) return false;
    await wait(LOOK_AGAIN_MS);
  }
}

function lockedError(folder: string, owner: Owner | undefined): DataLockedError {
  const who = owner?.pid === undefined ? "another process" : `the process with pid ${owner.pid}`;
  return new DataLockedError(
    `the data folder ${folder} is in use by ${who}; stop it or choose another --data`,
    owner?.pid,
  );
}

/** The lock folder with paths that are short enough for a socket. */
interface Place {
  readonly folder: string;
  socketPath(name: string): string;
  close(): void;
}

function openPlace(folder: string): Place {
  const longest = Buffer.byteLength(join(folder, "0123456789abcdef.sock"));
  if (longest <= SOCKET_PATH_MAX) return { folder, socketPath: (name) => join(folder, name), close: () => {} };
  if (process.platform !== "linux")
    throw new Error(`the path of the data folder is too long for this system: ${folder}`);
  const descriptor = openSync(folder, "r");
  return {
    folder,
    socketPath: (name) => `/proc/self/fd/${descriptor}/${name}`,
    close: () => closeSync(descriptor),
  };
}

/** The socket by which others see this process. */
class OwnSocket {
  /** Told to others: "starting" until the folder is ours. */
  starting = true;
  readonly name: string;
  readonly #path: string;
  readonly #server: Server;
  #inode = 0;

  private constructor(name: string, path: string, startedAt: number) {
    this.name = name;
    this.#path = path;
    this.#server = createServer((socket) => {
      socket.on("error", () => socket.destroy());
      socket.end(`${JSON.stringify({ pid: process.pid, startedAt, starting: this.starting })}\n`);
    });
  }

  static async open(place: Place, id: string, startedAt: number): Promise<OwnSocket> {
    const name = `${id}.sock`;
    const own = new OwnSocket(name, join(place.folder, name), startedAt);
    const halfMade = `${id}.half`;
    await new Promise<void>((resolve, reject) => {
      own.#server.once("error", (error) => {
        reject(new Error(`cannot lock the data folder (${error.message}); it must be on a local file system`));
      });
      own.#server.listen(place.socketPath(halfMade), resolve);
    });
    renameSync(join(place.folder, halfMade), own.#path);
    own.#inode = statSync(own.#path).ino;
    return own;
  }

  /** The name still leads to this socket: someone who cleans up the folder by hand ends our claim. */
  stillThere(): boolean {
    return statSync(this.#path, { throwIfNoEntry: false })?.ino === this.#inode;
  }

  close(): Promise<void> {
    if (this.stillThere()) rmSync(this.#path, { force: true });
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}

/** Everybody else who accepts; removes what dead processes left. */
async function findOwners(place: Place, ownName: string, clock: Clock): Promise<Owner[]> {
  const names = readdirSync(place.folder);
  for (const name of names) if (name.endsWith(".half")) removeOldHalf(join(place.folder, name), clock);
  const others = names.filter((name) => name.endsWith(".sock") && name !== ownName);
  const found = await Promise.all(others.map((name) => askOwner(place, name)));
  return found.filter((owner) => owner !== undefined);
}

function removeOldHalf(path: string, clock: Clock): void {
  const made = statSync(path, { throwIfNoEntry: false })?.mtimeMs;
  if (made !== undefined && clock.wallMs() - made > HALF_MADE_STALE_MS) rmSync(path, { force: true });
}

/** Who listens on this socket; undefined when nobody does (and the socket is removed). */
async function askOwner(place: Place, name: string): Promise<Owner | undefined> {
  const reply = await ask(place.socketPath(name));
  if (reply === "refused") rmSync(join(place.folder, name), { force: true });
  if (reply === "refused" || reply === "gone") return undefined;
  // Someone who hangs up without a word is going away: looking again will show.
  if (reply === "") return { name, pid: undefined, starting: true };
  return reply === "silent" ? { name, pid: undefined, starting: false } : parseOwner(name, reply);
}

/** What a socket says; or that it is gone, that nobody listens, or that its owner does not answer. */
function ask(path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    let answer = "";
    let connected = false;
    const finish = (reply: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reply);
    };
    const timer = setTimeout(() => finish("silent"), ANSWER_TIMEOUT_MS);
    socket.setEncoding("utf8");
    socket.on("connect", () => {
      connected = true;
    });
    socket.on("data", (text: string) => {
      answer += text;
    });
    socket.on("end", () => finish(answer));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (connected || error.code === "ECONNRESET") finish(answer);
      else if (error.code === "ENOENT") finish("gone");
      else if (error.code === "ECONNREFUSED") finish("refused");
      else if (error.code === "EAGAIN") finish("silent");
      else {
        clearTimeout(timer);
        reject(error);
      }
    });
  });
}

/** An answer that makes no sense still came from someone alive. */
function parseOwner(name: string, answer: string): Owner {
  try {
    const { pid, starting } = JSON.parse(answer) as { pid?: unknown; starting?: unknown };
    return { name, pid: typeof pid === "number" ? pid : undefined, starting: starting === true };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { name, pid: undefined, starting: false };
  }
}
