import type { ClientBase } from 'pg';
import { answerHealth } from './answers/health.js';
import { answerHistory } from './answers/history.js';
import { answerIdentity } from './answers/identity.js';
import { createHostRows } from './people.js';
import { wrapped } from './text.js';
import { week } from './week.js';

const without =
  'Taken in without runs, which only workers need: the log alone keeps what failed, so the cursor stops before it.';

/**
 * Plays a first week of sync and answers the three questions that the schema is for.
 *
 * Prints the same each time: ids and times are fixed.
 *
 * @param client connected to a migrated database without any rows
 * @param print takes one or more lines
 */
export async function playDemo(client: ClientBase, print: (text: string) => void): Promise<void> {
  await createHostRows(client);
  print('A first week of sync: November 2026, times in UTC');
  print(wrapped(without, '').join('\n'));
  print('');
  for (const { title, play } of week) {
    const indent = ' '.repeat(title.length + 2);
    const lines = wrapped(await play(client), indent);
    print(lines.join('\n').replace(indent, `${title}  `));
  }
  for (const answer of [answerHealth, answerHistory, answerIdentity]) {
    print('');
    await answer(client, print);
  }
}
