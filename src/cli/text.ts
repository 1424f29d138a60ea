/** The width that everything for people keeps to. */
const width = 80;

/** Two spaces between columns. */
const gap = '  ';

/** The text, in which whatever a terminal would obey or hide is written out: `\u001b` for an escape. */
export function visible(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** For programs: one document, which a terminal can show as well. */
export function json(document: unknown): string {
  return JSON.stringify(document, null, 2).split('\n').map(visible).join('\n');
}

/** Breaks a text, which may come from anywhere, into lines between words, or within one that is too long. */
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
 * A message in one line, so that a log has it whole; for a terminal, in lines between words. What is to be
 * copied from it, after the last colon, stays in one line there, too.
 */
export function forReader(message: string, isTerminal: boolean): string {
  if (!isTerminal || message.length <= width) return visible(message);
  const [, words = message, copied = ''] =
    /^(.*: )((?:select|alter|create|drop|grant|revoke) [^:]*)$/s.exec(message) ?? [];
  return [...wrapped(words), ...(copied === '' ? [] : [visible(copied)])].join('\n');
}

/** Says a line to people, on standard error, so that standard output is what was asked for. */
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
 * Cells under each other, headings among them, in which nothing is left that a terminal would obey.
 *
 * @param alignment a letter for each column: `l` for words, `r` for numbers
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

/** Whether there is something on standard output. */
export function hasPrinted(): boolean {
  return printed;
}

/** Writes to standard output, and ends the line; whoever stops reading, as `head` does, has read enough. */
export function print(text: string): Promise<void> {
  printed = true;
  return new Promise((resolve, reject) => {
    const settle = (error?: NodeJS.ErrnoException | null) =>
      error == null || error.code === 'EPIPE' ? resolve() : reject(error);
    process.stdout.once('error', settle);
    process.stdout.write(`${text}\n`, settle);
  });
}
