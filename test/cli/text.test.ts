import { expect, onTestFinished, test, vi } from 'vitest';
import { explainError } from '../../src/cli/explain-errors.js';
import { MigrationLog } from '../../src/cli/migrate-log.js';
import { formatMessage, printResult } from '../../src/cli/text.js';
import { BlockingSessions } from '../../src/statements/blocking-sessions.js';

const words =
  'Events of that time are refused, and those of any other are not: run it again when that transaction has ended.';

test('formatMessage keeps a message on one line for a log', () => {
  expect(formatMessage(words, false)).toBe(words);
});

test('formatMessage wraps a message between words for a terminal', () => {
  const lines = formatMessage(words, true).split('\n');
  expect(lines).toHaveLength(2);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  expect(lines.join(' ')).toBe(words);
});

test('formatMessage keeps a statement on one line, to be copied', () => {
  const statement = `select crm_sync_log_ensure_partitions(3), '${'x'.repeat(80)}';`;
  expect(formatMessage(`${words} Run: ${statement}`, true).split('\n').at(-1)).toBe(statement);
});

test('formatMessage escapes what a terminal would obey', () => {
  expect(formatMessage('a\u001b[2Jb', true)).toBe('a\\u001b[2Jb');
  expect(formatMessage(`${words}\u001b[2J`, true)).toContain('\\u001b[2J');
});

test('printResult leaves no listener behind, however many lines it writes', async () => {
  const write = vi.spyOn(process.stdout, 'write').mockImplementation((...args: unknown[]) => {
    setImmediate(args.at(-1) as () => void);
    return true;
  });
  onTestFinished(() => write.mockRestore());
  const before = process.stdout.listenerCount('error');
  for (let line = 1; line <= 20; line += 1) await printResult(`line ${line}`);
  expect(process.stdout.listenerCount('error')).toBe(before);
});

test('progress of migrate is wrapped on a terminal, and one line per step in a log', async () => {
  for (const isTTY of [true, false]) {
    const said: string[] = [];
    const stream = { isTTY, write: (text: string) => said.push(text) > 0 };
    const log = new MigrationLog('applied', stream);
    const session = {
      pid: 4242,
      name: 'a report of the finance team',
      state: 'idle in transaction',
      seconds: 720,
    };
    const sessions = new BlockingSessions({ query: async () => ({ rows: [session] }) });
    await sessions.during(1, async () => {});
    const name = '0010_add_row_level_security';
    const cause = Object.assign(new Error('lock'), { code: '55P03' });
    await log.report({ step: 'waiting', pids: [4242] }, sessions);
    await log.report({ step: 'retrying', name, attempt: 1, attempts: 10, pause: 1234, cause }, sessions);
    log.end();
    const lines = said.join('').split('\r\u001b[K').join('\n').split('\n');
    expect(lines.join(' ')).toContain(
      'Waiting for another migrator: process 4242 (a report of the finance team, idle in transaction for 12 min).',
    );
    expect(lines.join(' ')).toMatch(/idle in transaction for 12 min\); attempt 2 of 10 in 1\.23 s/);
    expect(Math.max(...lines.map((line) => line.length)) <= 80).toBe(isTTY);
  }
});

test('progress in a log says every ten seconds how long a migration has been running', async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const said: string[] = [];
  const log = new MigrationLog('applied', { isTTY: false, write: (text) => said.push(String(text)) > 0 });
  await log.report({ step: 'started', name: '0003_create_crm_sync_log' }, new BlockingSessions(undefined));
  vi.advanceTimersByTime(65_000);
  log.end();
  vi.advanceTimersByTime(65_000);
  expect(said).toHaveLength(6);
  expect(said.at(-1)).toMatch(/ 0003_create_crm_sync_log: 1:00\n$/);
});

const codes = '53200 57P02 57P05 25P03 25P04 57014 40P01 55P03 CERT_HAS_EXPIRED ERR_TLS_CERT_ALTNAME_INVALID';
test.each(codes.split(' '))('explainError replaces the server’s message for %s with advice', (code) => {
  const said = explainError(Object.assign(new Error('the words of the server'), { code }));
  expect(said).toMatch(/^[A-Z][^\n]+\.$/);
  expect(said).not.toContain('the words of the server');
});

test('explainError recognises a connection that was lost before the next statement was sent', () => {
  expect(explainError(new Error('Client has encountered a connection error and is not queryable'))).toMatch(
    /^The connection to the database was lost\. /,
  );
});

test('BlockingSessions lets the work end, and still cancels, although a look gets no answer', async () => {
  const sent: string[] = [];
  const sessions = new BlockingSessions({
    query(text) {
      sent.push(text);
      return text.includes('pg_cancel_backend') ? Promise.resolve({ rows: [] }) : new Promise(() => {});
    },
  });
  const result = await sessions.during(1, async () => {
    await sessions.cancel(4242);
    return 'done';
  });
  expect(result).toBe('done');
  expect(sent.at(-1)).toContain('pg_cancel_backend(4242)');
  expect(sessions.last).toBe('another session');
  expect(await sessions.describe([4242])).toBe('another session');
});
