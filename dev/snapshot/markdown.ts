import { escapeControlCharacters } from '../../src/statements/quoting.js';

/** A Markdown table. */
export function tableOf(heads: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(heads), line(heads.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Code on one line. */
export function code(source: string): string {
  const oneLine = escapeControlCharacters(source).replace(/\s+/g, ' ');
  return oneLine.includes('`') ? `\`\` ${oneLine} \`\`` : `\`${oneLine}\``;
}

/** Prose on one line, escaped so that Markdown shows it unchanged, including snake_case words. */
export function text(prose: string): string {
  return prose
    .replace(/\s+/g, ' ')
    .replace(/[\\`*<>[\]]/g, '\\$&')
    .trim();
}

/** A link to the heading with that name. */
export function link(name: string): string {
  return `[\`${name}\`](#${name})`;
}

/** A type as the migrations write it, which PostgreSQL prints in full. */
export function shortType(type: string): string {
  return type.replace('timestamp with time zone', 'timestamptz').replace('character varying', 'varchar');
}
