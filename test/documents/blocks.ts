import { readFile } from 'node:fs/promises';
import { projectPath } from '../../dev/database.js';

/** The code blocks of a document, each with its language and without its indentation. */
export async function codeBlocks(document: string): Promise<{ language: string; text: string }[]> {
  const content = await readFile(projectPath(document), 'utf8');
  return [...content.matchAll(/^( *)```(\w+)\n([\s\S]*?)^\1```$/gm)].map(
    ([, indent = '', language = '', text = '']) => ({
      language,
      text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    }),
  );
}

/** The statements of a page of docs/operations, one entry a block. */
export async function statements(page: string): Promise<string[]> {
  const blocks = await codeBlocks(`docs/operations/${page}`);
  return blocks.filter(({ language }) => language === 'sql').map(({ text }) => text);
}

/** The one block of statements of a page of docs/operations that contains `text`. */
export async function blockWith(page: string, text: string): Promise<string> {
  const [block, ...others] = (await statements(page)).filter((sql) => sql.includes(text));
  if (block === undefined || others.length > 0) throw new Error(`Not one block of ${page} has "${text}".`);
  return block;
}
