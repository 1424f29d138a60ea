/** Shows the progress of a long task. */
export interface Progress {
  update(done: number, total: number): void;
  /** Clears the progress bar, if there is one. */
  end(): void;
}

/** The part of standard error that progress needs. */
type Stream = Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns'>;

/** Between plain lines, in milliseconds. */
const interval = 2000;

/** Redraws a bar on a terminal; elsewhere, writes a line every two seconds, for a log. */
export function showProgress(label: string, stream: Stream = process.stderr): Progress {
  const start = Date.now();
  let lastLineAt = start;
  return {
    update(done, total) {
      if (stream.isTTY) {
        stream.write(`\r\x1b[K${bar(label, done, total, start, stream.columns)}`);
      } else if (Date.now() - lastLineAt >= interval) {
        lastLineAt = Date.now();
        stream.write(`${label}: ${count(done)} of ${count(total)}\n`);
      }
    },
    end() {
      if (stream.isTTY) stream.write('\r\x1b[K');
    },
  };
}

/** `Re-encrypting [#######······]  54 %  5,400 of 10,000  0:12`, in at most 80 columns. */
function bar(label: string, done: number, total: number, start: number, columns = 80): string {
  const share = total === 0 ? 1 : done / total;
  const percent = `${Math.floor(share * 100)}`.padStart(3);
  const numbers = ` ${percent} %  ${count(done)} of ${count(total)}  ${duration(Date.now() - start)}`;
  const width = Math.min(columns, 80) - label.length - numbers.length - 4;
  if (width < 5) return numbers.trim();
  const full = Math.floor(share * width);
  return `${label} [${'#'.repeat(full)}${'·'.repeat(width - full)}]${numbers}`;
}

/** `0:12`, from milliseconds. */
export function duration(milliseconds: number): string {
  const seconds = Math.floor(milliseconds / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
}

/** `10,000`. */
export function count(number: number): string {
  return number.toLocaleString('en-GB');
}

/** `10`, or `1,000+` where counting stopped at the limit. */
export function countUpTo(limit: number, number: number): string {
  return number < limit ? count(number) : `${count(limit)}+`;
}

/** `1 connection`, `10,000 connections`. */
export function connections(number: number): string {
  return `${count(number)} connection${number === 1 ? '' : 's'}`;
}
