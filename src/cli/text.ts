/** The maximum width of text for people. */
const maxWidth = 80;

/** The space between columns. */
const columnGap = '  ';

/** Escapes whatever a terminal would obey or hide: `\u001b` for an escape character. */
export function escapeForTerminal(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}

/** One JSON document for programs, safe to show on a terminal. */
export function formatJson(document: unknown): string {
  return escapeLines(JSON.stringify(document, null, 2));
}

/** Escapes the lines of a JSON document, in which the only control characters are the ends of the lines. */
export function escapeLines(json: string): string {
  return json.split('\n').map(escapeForTerminal).join('\n');
}

/** Wraps a text from any source into lines, between words, or within a word that is too long. */
export function wrap(text: string, indent = ''): string[] {
  const available = maxWidth - indent.length;
  const lines = [''];
  for (const word of escapeForTerminal(text).split(/ +/)) {
    const line = `${lines.at(-1)} ${word}`.trimStart();
    if (line.length <= available) lines[lines.length - 1] = line;
    else lines.push(...splitWord(word, available));
  }
  return lines.filter((line) => line !== '').map((line) => indent + line);
}

/**
 * Formats a message: one line for a log, wrapped lines for a terminal. A statement after the last colon stays on one
 * line, to be copied.
 */
export function formatMessage(message: string, isTerminal: boolean): string {
  if (!isTerminal || message.length <= maxWidth) return escapeForTerminal(message);
  const [, explanation = message, statement = ''] =
    /^(.*: )((?:select|alter|create|drop|grant|revoke) [^:]*)$/s.exec(message) ?? [];
  return [...wrap(explanation), ...(statement === '' ? [] : [escapeForTerminal(statement)])].join('\n');
}

/** Writes a message for people to standard error: standard output holds only results. */
export function printMessage(
  message: string,
  stream: Pick<NodeJS.WriteStream, 'write' | 'isTTY'> = process.stderr,
): void {
  stream.write(`${formatMessage(message, stream.isTTY)}\n`);
}

function splitWord(word: string, length: number): string[] {
  const characters = [...word];
  return Array.from({ length: Math.ceil(characters.length / length) }, (_, index) =>
    characters.slice(index * length, (index + 1) * length).join(''),
  );
}

/**
 * Aligns cells, including headings, in columns, and escapes what a terminal would obey.
 *
 * @param alignment one letter per column: `l` for words, `r` for numbers
 */
export function formatTable(alignment: string, cells: readonly (readonly string[])[]): string[] {
  const rows = cells.map((row) => row.map(escapeForTerminal));
  const widths = [...alignment].map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => {
        const cellWidth = widths[column] ?? 0;
        return alignment[column] === 'r' ? cell.padStart(cellWidth) : cell.padEnd(cellWidth);
      })
      .join(columnGap)
      .trimEnd(),
  );
}

let resultWasPrinted = false;

/** Whether anything was written to standard output. */
export function hasPrintedResult(): boolean {
  return resultWasPrinted;
}

/** Writes a line to standard output. A reader that stops early, as `head` does, is no error. */
export function printResult(text: string): Promise<void> {
  return printPiece(`${text}\n`);
}

/** Writes a piece of a result to standard output, as {@link printResult} does, and waits until it is written. */
export function printPiece(text: string): Promise<void> {
  resultWasPrinted = true;
  return new Promise((resolve, reject) => {
    const settle = (error?: NodeJS.ErrnoException | null) => {
      process.stdout.removeListener('error', settle);
      if (error == null || error.code === 'EPIPE') resolve();
      else reject(error);
    };
    process.stdout.once('error', settle);
    process.stdout.write(text, settle);
  });
}
