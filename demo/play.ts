import type { ClientBase } from 'pg';
import { answerHealth } from './answers/health.js';
import { answerHistory } from './answers/history.js';
import { answerIdentity } from './answers/identity.js';
import { answerRequest } from './answers/request.js';
import { createHostRows } from './people.js';
import { wrapped } from './text.js';
import { week } from './week.js';

const introduction =
  'Imported directly, without worker runs: only the log records failures, so the cursor stops before the first one.';

/**
 * Plays a first week of sync, answers the schema's three questions, and then a person's request.
 *
 * The output is always the same, because ids and times are fixed.
 *
 * @param client connected to a migrated, empty database
 * @param print receives one or more lines at a time
 */
export async function playDemo(client: ClientBase, print: (text: string) => void): Promise<void> {
  await createHostRows(client);
  print('A first week of sync: November 2026, times in UTC');
  print(wrapped(introduction, '').join('\n'));
  print('');
  for (const { title, play } of week) {
    const indent = ' '.repeat(title.length + 2);
    const lines = wrapped(await play(client), indent);
    print(lines.join('\n').replace(indent, `${title}  `));
  }
  for (const answer of [answerHealth, answerHistory, answerIdentity, answerRequest]) {
    print('');
    await answer(client, print);
  }
}
