import Table from 'cli-table3';
import type { Timestamp } from '../src/index.js';

/** The width of all output, in columns. */
const width = 80;

/** Wraps a text between words, and starts each line with `before`. */
export function wrapped(text: string, before: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1)} ${word}`.trimStart();
    if (before.length + line.length <= width) lines[lines.length - 1] = line;
    else lines.push(word);
  }
  return lines.map((line) => before + line);
}

/** One cell per column, or one text across all columns. */
export type Row = readonly string[] | string;

/**
 * Draws a table, 80 columns wide, without colours.
 *
 * @param head the width of each column by its name; the last column takes the remaining width
 */
export function table(head: Readonly<Record<string, number>>, rows: readonly Row[]): string {
  const names = Object.keys(head);
  const fixed = Object.values(head).slice(0, -1);
  const borders = names.length + 1;
  const drawn = new Table({
    head: names,
    colWidths: [...fixed, width - borders - fixed.reduce((sum, columnWidth) => sum + columnWidth, 0)],
    wordWrap: true,
    style: { head: [], border: [], compact: true },
  });
  for (const row of rows) {
    drawn.push(typeof row === 'string' ? [{ content: row, colSpan: names.length }] : [...row]);
  }
  return drawn.toString();
}

/** Formats a time as `Mon 16 09:05`, in UTC; null as a dash. */
export function moment(timestamp: Timestamp | null): string {
  if (timestamp === null) return '–';
  const [weekday, day, , , time = ''] = new Date(timestamp).toUTCString().replace(',', '').split(' ');
  return `${weekday} ${day} ${time.slice(0, 5)}`;
}

/** Formats a time as `09:05:00.123456`, in UTC. */
export function timeOfDay(timestamp: Timestamp | null): string {
  return timestamp === null ? 'nothing' : timestamp.slice('2026-11-16T'.length, -1);
}

/** Counts records by outcome: `3 imported, 1 failed`. */
export function counts(result: { success: number; skipped: number; error: number }): string {
  const words = { success: 'imported', skipped: 'skipped', error: 'failed' } as const;
  return (['success', 'skipped', 'error'] as const)
    .filter((status) => result[status] > 0)
    .map((status) => `${result[status]} ${words[status]}`)
    .join(', ');
}
