// Tells how far the pipeline is: one line that is rewritten on a terminal, a line every tenth otherwise.

export interface Standing {
  readonly total: number;
  readonly confirmed: number;
  readonly stored: number;
  readonly redelivered: number;
}

const BAR_WIDTH = 24;

export class Progress {
  readonly #out: NodeJS.WriteStream;
  #tenth = 0;

  constructor(out: NodeJS.WriteStream) {
    this.#out = out;
  }

  show(standing: Standing): void {
    const { total, confirmed, stored, redelivered } = standing;
    const share = total === 0 ? 1 : stored / total;
    const text = `published ${confirmed}  stored ${stored} of ${total}  redelivered ${redelivered}`;
    if (this.#out.isTTY) {
      const bar = "#".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, ".");
      this.#out.write(`\r[${bar}] ${text}\x1b[K`);
      return;
    }
    const tenth = Math.floor(share * 10);
    if (tenth === this.#tenth) return;
    this.#tenth = tenth;
    this.#out.write(`${text}\n`);
  }

  /** An event on a line of its own. */
  say(text: string): void {
    this.#out.write(this.#out.isTTY ? `\r\x1b[K${text}\n` : `${text}\n`);
  }
}
