/** The maximum width of text for people. */
const width = 80;

/** The space between columns. */
const gap = '  ';

/** Escapes whatever a terminal would obey or hide: `\u001b` for an escape character. */
export function visible(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** One JSON document for programs, safe to show on a terminal. */
export function json(document: unknown): string {
  return JSON.stringify(document, null, 2).split('\n').map(visible).join('\n');
}

/** Wraps a text from any source into lines, between words, or within a word that is too long. */
export function wrapped(text: string, before = ''): string[] {
  const room = width - before.length;
  const lines = [''];
  for (const word of visible(text).split(/ +/)) {
    const line = `${lines.at(-1)} ${word}`.trimStart();
    if (line.length <= room) lines[lines.length - 1] = line;
    else lines.push(...pieces(word, room));
  }
  return lines.filter((line) => line !== '').map((line) => before + line);
}

/**
 * Formats a message: one line for a log, wrapped lines for a terminal. A statement after the last colon stays on one
 * line, to be copied.
 */
export function forReader(message: string, isTerminal: boolean): string {
  if (!isTerminal || message.length <= width) return visible(message);
  const [, words = message, copied = ''] =
    /^(.*: )((?:select|alter|create|drop|grant|revoke) [^:]*)$/s.exec(message) ?? [];
  return [...wrapped(words), ...(copied === '' ? [] : [visible(copied)])].join('\n');
}

/** Writes a message for people to standard error: standard output holds only results. */
export function say(
  message: string,
  stream: Pick<NodeJS.WriteStream, 'write' | 'isTTY'> = process.stderr,
): void {
  stream.write(`${forReader(message, stream.isTTY)}\n`);
}

function pieces(word: string, size: number): string[] {
  const characters = [...word];
  return Array.from({ length: Math.ceil(characters.length / size) }, (_, index) =>
    characters.slice(index * size, (index + 1) * size).join(''),
  );
}

/**
 * Aligns cells, including headings, in columns, and escapes what a terminal would obey.
 *
 * @param alignment one letter per column: `l` for words, `r` for numbers
 */
export function table(alignment: string, cells: readonly (readonly string[])[]): string[] {
  const rows = cells.map((row) => row.map(visible));
  const widths = [...alignment].map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const size = widths[column] ?? 0;
        return alignment[column] === 'r' ? cell.padStart(size) : cell.padEnd(size);
      })
      .join(gap)
      .trimEnd(),
  );
}

let printed = false;

/** Whether anything was written to standard output. */
export function hasPrinted(): boolean {
  return printed;
}

/** Writes a line to standard output. A reader that stops early, as `head` does, is no error. */
export function print(text: string): Promise<void> {
  printed = true;
  return new Promise((resolve, reject) => {
    const settle = (error?: NodeJS.ErrnoException | null) => {
      process.stdout.removeListener('error', settle);
      if (error == null || error.code === 'EPIPE') resolve();
      else reject(error);
    };
    process.stdout.once('error', settle);
    process.stdout.write(`${text}\n`, settle);
  });
}
