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
