import type { ReadableExport } from './read-export.js';

/** Writes an export as one JSON document, with a line for each row, a page of rows at a time. */
export async function* exportText({ head, sections }: ReadableExport): AsyncGenerator<string> {
  const members = Object.entries(head).map(([name, value]) => `"${name}": ${JSON.stringify(value)}`);
  yield `{\n  ${members.join(',\n  ')}`;
  for (const { name, read } of sections) {
    yield `,\n  "${name}": [`;
    let separator = '\n';
    for await (const rows of read()) {
      const lines = rows.map((row) => `    ${JSON.stringify(row)}`);
      if (lines.length === 0) continue;
      yield separator + lines.join(',\n');
      separator = ',\n';
    }
    yield separator === '\n' ? ']' : '\n  ]';
  }
  yield '\n}\n';
}
