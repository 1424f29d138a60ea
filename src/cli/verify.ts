import { Command } from 'commander';
import { type Difference, type Verification, verify } from '../verify/verify.js';
import { withConnection } from './database.js';
import { exitCodes, UnmetCondition } from './failures.js';
import { count } from './progress.js';
import { json, print, visible, wrapped } from './text.js';

/** `crm-schema verify` */
export function verifyCommand(version: string): Command {
  return new Command('verify')
    .description(
      'Compares the database with what this version expects of it, and says how to mend what differs. Any user may run it; it writes nothing. Exit code 3 if something differs.',
    )
    .option('--known-role <name...>', 'roles of yours that have privileges here on purpose')
    .option('--json', 'prints JSON, for programs')
    .action(async (options: { knownRole?: string[]; json?: boolean }) => {
      const found = await withConnection((client) => verify(client, { knownRoles: options.knownRole }));
      if (options.json) await print(json({ version, ...found }));
      else await print(report(found, version).join('\n'));
      if (found.differences.length > 0) process.exitCode = exitCodes.unmet;
    });
}

/** @throws UnmetCondition if the database is of another version: all else follows from that */
function report({ schema, owner, differences }: Verification, version: string): string[] {
  const migrations = differences.filter(({ kind }) => kind === 'migration');
  const pending = migrations.filter(({ found }) => found === null).map(({ name }) => name);
  if (pending.length > 0) {
    throw new UnmetCondition(
      `The schema is of an older version: run the migrations first, from ${pending[0]} on.`,
    );
  }
  if (migrations.length > 0) {
    throw new UnmetCondition(
      `The schema is of a newer version than ${version}, with ${migrations[0]?.name}: use the package that brought it.`,
    );
  }
  const place = `Schema ${schema} of ${owner}`;
  if (differences.length === 0) return wrapped(`${place} is as version ${version} expects it.`);
  const points = `${count(differences.length)} ${differences.length === 1 ? 'difference' : 'differences'}`;
  return [
    ...wrapped(`${place} has ${points} from what version ${version} expects.`),
    ...differences.flatMap((difference) => ['', ...section(difference)]),
  ];
}

/** Statements keep their lines, to be copied. */
function section({ kind, name, expected, found, statements, advice }: Difference): string[] {
  const [wanted, is] = apart(expected ?? 'nothing', found ?? 'nothing');
  return [
    ...wrapped(name.startsWith(`${kind} `) ? name : `${kind} ${name}`),
    ...labelled('expected', wanted),
    ...labelled('found', is),
    ...(advice === null ? [] : labelled('mend', advice)),
    ...statements.flatMap((statement) => `${statement};`.split('\n').map(visible)),
  ];
}

/** Of long texts, from the first line that differs. */
function apart(expected: string, found: string): [string, string] {
  const [wanted, is] = [expected.split('\n'), found.split('\n')];
  if (wanted.length === 1 && is.length === 1) return [expected, found];
  const at = wanted.findIndex((line, index) => line !== is[index]);
  const line = at === -1 ? wanted.length : at;
  const part = (lines: string[]) =>
    lines.length === 1 ? (lines[0] as string) : `line ${line + 1}: ${lines[line]?.trim() ?? 'nothing'}`;
  return [part(wanted), part(is)];
}

function labelled(label: string, text: string): string[] {
  const lines = wrapped(text, ' '.repeat(12));
  return lines.map((line, index) => (index === 0 ? `  ${label.padEnd(10)}${line.slice(12)}` : line));
}
