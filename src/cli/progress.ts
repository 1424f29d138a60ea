import { formatNumber } from './numbers.js';
import { formatElapsed } from './times.js';

/** Shows the progress of a long task. */
export interface Progress {
  update(done: number, total: number): void;
  /** Clears the progress bar, if there is one. */
  end(): void;
}

/** The part of standard error that progress needs. */
type Stream = Pick<NodeJS.WriteStream, 'write' | 'isTTY' | 'columns'>;

/** Between plain lines, in milliseconds. */
const lineInterval = 2000;

/** Redraws a bar on a terminal; elsewhere, writes a line every two seconds, for a log. */
export function showProgress(label: string, stream: Stream = process.stderr): Progress {
  const start = Date.now();
  let lastLineAt = start;
  return {
    update(done, total) {
      if (stream.isTTY) {
        stream.write(`\r\x1b[K${formatBar(label, done, total, start, stream.columns)}`);
      } else if (Date.now() - lastLineAt >= lineInterval) {
        lastLineAt = Date.now();
        stream.write(`${label}: ${formatNumber(done)} of ${formatNumber(total)}\n`);
      }
    },
    end() {
      if (stream.isTTY) stream.write('\r\x1b[K');
    },
  };
}

/** `Re-encrypting [#######······]  54 %  5,400 of 10,000  0:12`, in at most 80 columns. */
function formatBar(label: string, done: number, total: number, start: number, columns = 80): string {
  const fraction = total === 0 ? 1 : done / total;
  const percent = `${Math.floor(fraction * 100)}`.padStart(3);
  const figures = ` ${percent} %  ${formatNumber(done)} of ${formatNumber(total)}  ${formatElapsed(Date.now() - start)}`;
  const width = Math.min(columns, 80) - label.length - figures.length - 4;
  if (width < 5) return figures.trim();
  const filled = Math.floor(fraction * width);
  return `${label} [${'#'.repeat(filled)}${'·'.repeat(width - filled)}]${figures}`;
}
