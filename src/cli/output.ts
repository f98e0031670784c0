// Lists as a table for people or as JSON for programs, on stdout.

export type Format = "json" | "table";
export type Cell = string | number | boolean | null | undefined | object;
export type Row = Readonly<Record<string, Cell>>;

/** JSON: one array. Table: the keys of the first row are the head; no rows, no output. */
export function printRows(rows: readonly Row[], format: Format): void {
  if (format === "json") {
    process.stdout.write(`${JSON.stringify(rows, undefined, 2)}\n`);
    return;
  }
  const [first] = rows;
  if (first !== undefined) process.stdout.write(tableOf(Object.keys(first), rows));
}

/** One thing: JSON as an object, table as a row for each key. */
export function printObject(object: Row, format: Format): void {
  if (format === "json") process.stdout.write(`${JSON.stringify(object, undefined, 2)}\n`);
  else
    printRows(
      Object.entries(object).map(([name, value]) => ({ name, value })),
      "table",
    );
}

function tableOf(columns: readonly string[], rows: readonly Row[]): string {
  const cells = [columns, ...rows.map((row) => columns.map((column) => cellText(row[column])))];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => width(line[index] ?? ""))));
  return cells
    .map(
      (line) =>
        `${line
          .map((cell, i) => padTo(cell, widths[i] ?? 0))
          .join("  ")
          .trimEnd()}\n`,
    )
    .join("");
}

function padTo(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - width(text)));
}

/** Characters, not UTF-16 units: close enough to columns for names. */
function width(text: string): number {
  return Array.from(text).length;
}

/** Names come from clients: what could steer a terminal is shown, not sent. */
function cellText(cell: Cell): string {
  if (cell === null || cell === undefined) return "";
  const text = typeof cell === "object" ? JSON.stringify(cell) : String(cell);
  return text.replaceAll(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}
