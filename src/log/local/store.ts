// The local engine: every log is a folder of segment files under one root.
//
//   <root>/shard/0/log.json      makes the folder the log "shard/0"
//   <root>/shard/0/000001.seg    its segments, in no order by name
//   <root>/shard/0/cold/...      the log "shard/0/cold"

import { crc32 } from "node:zlib";
import { assert } from "../../assert.ts";
import { LIMITS } from "../../limits.ts";
import { StorageError } from "../../model/errors.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Disk } from "../../ports/disk.ts";
import type { Logger } from "../../ports/logger.ts";
import type { AcquireResult, LogReader, LogStore, LogTraits, WriterEvents } from "../log.ts";
import { asStorageError } from "./failure.ts";
import { syncFile, writeFile } from "./file-io.ts";
import { holdLog, type LogHold } from "./hold.ts";
import { MARKER_NAME, readMarker, writeMarker } from "./marker.ts";
import { OpenFiles } from "./open-files.ts";
import { LocalLogReader } from "./reader.ts";
import { type LoadedLog, loadLog, type LogPlace, SEGMENT_NAME } from "./recovery.ts";
import { SegmentIndexes } from "./segment-indexes.ts";
import { SegmentPool } from "./segment-pool.ts";
import { SegmentList } from "./segment.ts";
import { GROW_BYTES, LocalLogWriter } from "./writer.ts";

const MIB = 1024 * 1024;
/** A new log is not begun with less room than this share of a segment. */
const CREATE_SHARE = 1 / 64;
/** Parts of an id: a folder each, never a file's name. */
const ID = /^[a-z0-9_-]+(\/[a-z0-9_-]+)*$/;

export interface LocalLogOptions {
  readonly segmentBytes: number;
  /** Logs whose segments are prepared ahead and recycled; the files of others grow and are removed. */
  readonly prefilled: RegExp;
  readonly reserve: number;
  readonly reserveMax: number;
  readonly maxEntryBytes: number;
  readonly commitBytesMax: number;
  /** One read takes at most this much, or one entry. */
  readonly readBytes: number;
  /** Offset indexes kept in memory, for each log. */
  readonly indexBytesMax: number;
  /** Idle open files, for each log. */
  readonly idleFilesMax: number;
}

export const LOCAL_LOG_DEFAULTS: LocalLogOptions = {
  segmentBytes: LIMITS.segmentBytes,
  prefilled: /^shard\/\d+(\/cold)?$/,
  reserve: LIMITS.segmentReserve,
  reserveMax: LIMITS.segmentReserveMax,
  maxEntryBytes: 2 * LIMITS.messageBytesMax,
  commitBytesMax: LIMITS.commitBytesMax,
  readBytes: 256 * 1024,
  indexBytesMax: 4 * MIB,
  idleFilesMax: 16,
};

export interface LocalLogStoreOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The folder of all logs; created when missing. */
  readonly root: string;
  readonly options?: Partial<LocalLogOptions>;
}

/** The local engine can also be copied while it works. */
export interface LocalStore extends LogStore {
  /** The folder of all logs. */
  readonly root: string;
  /** Keeps the durable entries of a log readable as they are now; undefined when nobody writes it. Synchronous. */
  hold(id: string): LogHold | undefined;
}

/**
 * Opens the store under `root`. One process at a time: the caller holds a lock on the folder.
 * Throws StorageError "io" when the folder cannot be made.
 */
export async function openLocalLogStore(given: LocalLogStoreOptions): Promise<LocalStore> {
  const options = { ...LOCAL_LOG_DEFAULTS, ...given.options };
  assert(options.segmentBytes >= 1024, "a segment holds more than its header and footer");
  assert(options.segmentBytes % 8 === 0, "a segment ends where an entry could");
  assert(options.reserve <= options.reserveMax, "the reserve fits the pool");
  const { disk, root, logger } = given;
  try {
    await disk.makeDir(root);
  } catch (error) {
    throw asStorageError(error, `create ${root}`);
  }
  const slash = root.lastIndexOf("/");
  try {
    await disk.syncDir(slash < 0 ? "." : root.slice(0, slash) || "/");
  } catch (error) {
    // A mounted folder can lie in one that we may not even open; then its name was there before us.
    logger.warn("The folder around the data folder could not be synced.", { root, reason: String(error) });
  }
  return new LocalLogStore(given, options);
}

interface HeldLog {
  readonly segments: SegmentList;
  readonly writer: LocalLogWriter;
  readonly reader: LogReader;
  readonly pool: SegmentPool;
}

class LocalLogStore implements LocalStore {
  readonly traits: LogTraits;
  readonly root: string;
  readonly #disk: Disk;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #options: LocalLogOptions;
  /** The writers that have not ended, with the readers that share their segments. */
  readonly #held = new Map<string, HeldLog>();
  #makingRoom: Promise<boolean> | undefined;
  readonly #acquiring = new Set<string>();

  constructor({ disk, clock, logger, root }: LocalLogStoreOptions, options: LocalLogOptions) {
    this.#disk = disk;
    this.#clock = clock;
    this.#logger = logger;
    this.root = root;
    this.#options = options;
    this.traits = { maxEntryBytes: options.maxEntryBytes, fsync: true, replicas: 1, maxLogs: 4096, freesRanges: true };
  }

  async create(id: string): Promise<void> {
    const folder = this.#folder(id);
    try {
      if ((await this.#disk.list(folder)).includes(MARKER_NAME)) throw new StorageError("closed", `log ${id} exists`);
      const { freeBytes } = await this.#disk.space(this.root);
      if (freeBytes < this.#options.segmentBytes * CREATE_SHARE) await this.#makeRoom(undefined);
      let path = this.root;
      for (const part of id.split("/")) {
        const parent = path;
        path = `${parent}/${part}`;
        await this.#disk.makeDir(path);
        await this.#disk.syncDir(parent);
      }
      await this.#removeSegments(folder);
      // Nobody outside learns the key, so it need not be random, only different.
      const key = crc32(`${id} ${this.#clock.wallMs()} ${this.#clock.monotonicMs()}`);
      await writeMarker(this.#disk, folder, id, key);
    } catch (error) {
      throw asStorageError(error, `create log ${id}`);
    }
  }

  async delete(id: string): Promise<void> {
    assert(!this.#held.has(id), "a log that somebody holds is not deleted");
    const folder = this.#folder(id);
    try {
      await this.#disk.remove(`${folder}/${MARKER_NAME}`);
      await this.#disk.syncDir(folder);
      await this.#removeSegments(folder);
      if ((await this.#disk.list(folder)).length > 0) return;
      await this.#disk.remove(folder);
      await this.#disk.syncDir(folder.slice(0, folder.lastIndexOf("/")));
    } catch (error) {
      throw asStorageError(error, `delete log ${id}`);
    }
  }

  async list(prefix: string): Promise<string[]> {
    const found: string[] = [];
    const look = async (folder: string, id: string): Promise<void> => {
      for (const name of await this.#disk.list(folder)) {
        if (name === MARKER_NAME) found.push(id);
        else if (!name.includes(".")) await look(`${folder}/${name}`, id === "" ? name : `${id}/${name}`);
      }
    };
    try {
      await look(this.root, "");
    } catch (error) {
      throw asStorageError(error, `list the logs in ${this.root}`);
    }
    return found.filter((id) => id.startsWith(prefix)).sort();
  }

  async reader(id: string): Promise<LogReader> {
    const held = this.#held.get(id);
    if (held !== undefined) return held.reader;
    const place = await this.#place(id);
    const loaded = await loadLog(place);
    const parts = this.#parts(place, loaded);
    // Nothing stays open: nobody tells when such a reader is no longer needed.
    await parts.files.closeAll();
    return new LocalLogReader({
      ...parts,
      key: place.key,
      readBytes: this.#options.readBytes,
      onUnpinned: () => undefined,
    });
  }

  hold(id: string): LogHold | undefined {
    const held = this.#held.get(id);
    if (held === undefined) return undefined;
    const { segments, writer } = held;
    return holdLog({ id, folder: this.#folder(id), segments, onRelease: () => writer.reclaim() });
  }

  async acquire(id: string, owner: string, events: WriterEvents): Promise<AcquireResult> {
    assert(!this.#acquiring.has(id), "a log is acquired by one owner at a time");
    this.#acquiring.add(id);
    try {
      return await this.#acquire(id, owner, events);
    } finally {
      this.#acquiring.delete(id);
    }
  }

  async #acquire(id: string, owner: string, events: WriterEvents): Promise<AcquireResult> {
    await this.#held.get(id)?.writer.fence(owner);
    const place = await this.#place(id);
    const loaded = await loadLog(place);
    const started = await this.#start(place, loaded, events);
    this.#held.set(id, started);
    void started.writer.closed.then(() => {
      if (this.#held.get(id) === started) this.#held.delete(id);
    });
    if (loaded.cutBytes > 0) {
      this.#logger.info("Cut an unfinished write from the end of a log.", { log: id, bytes: loaded.cutBytes });
    }
    const { writer, reader } = started;
    return { writer, reader, cutBytes: loaded.cutBytes };
  }

  /** A writer whose epoch entry is durable, and its reader. */
  async #start(place: LogPlace, loaded: LoadedLog, events: WriterEvents) {
    const { segmentBytes, maxEntryBytes, commitBytesMax, readBytes } = this.#options;
    const { segments, files, indexes } = this.#parts(place, loaded);
    const tail = await this.#openTail(place, loaded, files);
    const pool = this.#pool(place, loaded, events);
    // The epoch entry is the engine's own: the caller hears of what comes after it.
    let isStarted = false;
    let epochCommitted: () => void = () => undefined;
    const durable = new Promise<undefined>((resolve) => {
      epochCommitted = () => resolve(undefined);
    });
    const writer = new LocalLogWriter({
      clock: this.#clock,
      logger: this.#logger,
      id: place.id,
      key: place.key,
      epoch: loaded.lastEpoch + 1,
      segments,
      files,
      indexes,
      pool,
      makeRoom: () => this.#makeRoom(pool),
      segmentBytes,
      maxEntryBytes,
      commitBytesMax,
      growBytes: this.#options.prefilled.test(place.id) ? Math.min(GROW_BYTES, segmentBytes / 4) : 0,
      events: {
        onCommitted: (position) => (isStarted ? events.onCommitted(position) : epochCommitted()),
        onExtent: (first) => (isStarted ? events.onExtent(first) : undefined),
        onSpace: (state) => events.onSpace(state),
      },
      tail,
      lastCrc: loaded.lastCrc,
      lastEpoch: loaded.lastEpoch,
    });
    writer.append([]);
    const error = await Promise.race([durable, writer.ended]);
    if (error !== undefined) throw error;
    isStarted = true;
    const onUnpinned = (): void => writer.reclaim();
    const reader = new LocalLogReader({ segments, files, indexes, key: place.key, readBytes, onUnpinned });
    return { writer, reader, pool, segments };
  }

  /** Room on a full disk: a prepared file of the log itself, or else of another one, is given up. */
  #makeRoom(own: SegmentPool | undefined): Promise<boolean> {
    // Who asks while room is being made shares it: the reserve is small.
    this.#makingRoom ??= this.#giveUpFile(own).finally(() => {
      this.#makingRoom = undefined;
    });
    return this.#makingRoom;
  }

  async #giveUpFile(own: SegmentPool | undefined): Promise<boolean> {
    if (own !== undefined && (await own.giveUpOne())) return true;
    for (const { pool } of this.#held.values()) if (await pool.giveUpOne()) return true;
    return false;
  }

  /**
   * Makes the valid tail durable: written again where no entry states that it was, because a page that
   * an earlier process failed to sync may be in memory, look clean, and not be on disk.
   */
  async #openTail(place: LogPlace, loaded: LoadedLog, files: OpenFiles) {
    const last = loaded.segments.at(-1);
    if (last === undefined) return undefined;
    try {
      const file = await files.enter(last);
      // Only a confirmed entry shows that the header is on disk too.
      let at = loaded.confirmed < last.base ? 0 : (last.offsets?.at(loaded.confirmed + 1 - last.base) ?? 0);
      while (at < last.usedBytes) {
        const piece = Buffer.allocUnsafe(Math.min(MIB, last.usedBytes - at));
        await file.read(piece, at);
        await writeFile(file, piece, at);
        at += piece.length;
      }
      await syncFile(file);
      return { file, sizeBytes: await file.size() };
    } catch (error) {
      await files.leave(last);
      await files.closeAll();
      throw asStorageError(error, `reopen log ${place.id}`);
    }
  }

  #pool(place: LogPlace, loaded: LoadedLog, events: WriterEvents): SegmentPool {
    const { segmentBytes, reserve, reserveMax, prefilled } = this.#options;
    const pool = new SegmentPool({
      disk: this.#disk,
      clock: this.#clock,
      logger: this.#logger,
      folder: place.folder,
      segmentBytes,
      prepares: prefilled.test(place.id),
      reserve,
      reserveMax,
      nextNumber: loaded.nextNumber,
      onSpace: (state) => events.onSpace(state),
    });
    for (const path of loaded.unused) pool.giveBack(path, true);
    return pool;
  }

  #parts(place: LogPlace, loaded: LoadedLog) {
    return {
      segments: new SegmentList(loaded.segments, loaded.next - 1),
      files: new OpenFiles(this.#disk, this.#options.idleFilesMax),
      indexes: new SegmentIndexes(place.key, this.#options.indexBytesMax),
    };
  }

  #folder(id: string): string {
    assert(ID.test(id), "a log's id is made of lower-case words and slashes");
    return `${this.root}/${id}`;
  }

  async #place(id: string): Promise<LogPlace> {
    const folder = this.#folder(id);
    try {
      return { disk: this.#disk, id, folder, key: await readMarker(this.#disk, folder, id) };
    } catch (error) {
      throw asStorageError(error, `open log ${id}`);
    }
  }

  async #removeSegments(folder: string): Promise<void> {
    for (const name of await this.#disk.list(folder)) {
      if (SEGMENT_NAME.test(name)) await this.#disk.remove(`${folder}/${name}`);
    }
    await this.#disk.syncDir(folder);
  }
}
