// Why publishers must wait. An alarm of a kind is up while at least one source holds it up: the
// monitor of free space and the log's own reserve must not clear each other's.

export type AlarmKind = "memory" | "disk";

export class Flow {
  readonly #memory = new Set<string>();
  readonly #disk = new Set<string>();
  readonly #listeners: (() => void)[] = [];

  /** The alarm that is told to clients: disk goes first, since only the operator can clear it. */
  get blocked(): AlarmKind | undefined {
    if (this.#disk.size > 0) return "disk";
    return this.#memory.size > 0 ? "memory" : undefined;
  }

  get alarms(): readonly AlarmKind[] {
    const alarms: AlarmKind[] = [];
    if (this.#memory.size > 0) alarms.push("memory");
    if (this.#disk.size > 0) alarms.push("disk");
    return alarms;
  }

  setAlarm(kind: AlarmKind, raised: boolean, source: string): void {
    const before = this.blocked;
    const sources = kind === "memory" ? this.#memory : this.#disk;
    if (raised) sources.add(source);
    else sources.delete(source);
    if (this.blocked !== before) this.changed();
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Tells everybody that something about flow is different. */
  changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
