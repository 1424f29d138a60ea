import { Command } from 'commander';
import { describeWaitingEvents } from '../partitions/waiting-events.js';
import { type Difference, type Verification, verify } from '../verify/verify.js';
import { withConnection } from './database.js';
import { exitCodes, UnmetCondition } from './exit-codes.js';
import { formatQuantity } from './numbers.js';
import { escapeForTerminal, formatJson, printResult, wrap } from './text.js';

interface VerifyCommandOptions {
  knownRole?: string[];
  knownObject?: string[];
  knownIndex?: string[];
  json?: boolean;
}

/** `crm-schema verify` */
export function verifyCommand(version: string): Command {
  return new Command('verify')
    .option('--known-role <name...>', 'your own roles whose privileges here are intended')
    .option(
      '--known-object <name...>',
      "your own views, rules and functions that are meant to read these tables with their owner's rights",
    )
    .option('--known-index <name...>', 'your own indexes on these tables')
    .option('--json', 'prints JSON, for programs')
    .addHelpText('after', verifyHelp)
    .action(async (options: VerifyCommandOptions) => {
      const verification = await withConnection((client) =>
        verify(client, {
          knownRoles: options.knownRole,
          knownObjects: options.knownObject,
          knownIndexes: options.knownIndex,
        }),
      );
      if (options.json) await printResult(formatJson({ version, ...verification }));
      else await printResult(verificationReport(verification, version).join('\n'));
      if (verification.differences.length > 0) process.exitCode = exitCodes.unmet;
    });
}

const verifyHelp = `
Names are as verify prints them:
  --known-role crm_replication
  --known-index public.runs_by_worker public.log_by_day
  --known-object reporting.events_by_day 'reporting.count_events(uuid)'
Run the SQL in order, one statement at a time, outside a transaction. Once it
has run, the difference is gone; if it comes back, find what makes it again.
Locks: ACCESS SHARE; waits up to five seconds for it.`;

/** @throws UnmetCondition if the installed schema is of another version, from which all other differences follow */
function verificationReport(verification: Verification, version: string): string[] {
  const { schema, owner, differences, waitingEvents } = verification;
  const migrations = differences.filter(({ kind }) => kind === 'migration');
  const pending = migrations.filter(({ found }) => found === null).map(({ name }) => name);
  if (pending.length > 0) {
    throw new UnmetCondition(
      `Schema ${schema} is older than version ${version}: run the migrations first, from ${pending[0]}.`,
    );
  }
  if (migrations.length > 0) {
    throw new UnmetCondition(
      `Schema ${schema} is newer than version ${version}: use the version of the package that has ${migrations[0]?.name}.`,
    );
  }
  const expected = `version ${version} (owner: ${owner})`;
  const waiting =
    waitingEvents === null
      ? []
      : [
          '',
          ...wrap(
            `The catch-all partition holds ${describeWaitingEvents(waitingEvents)}, later than the last month. If the times are wrong, see After the clock was ahead, in docs/operations/partitions.md.`,
          ),
        ];
  if (differences.length === 0)
    return [...wrap(`Schema ${schema} is up to date with ${expected}.`), ...waiting];
  const differenceCount = formatQuantity(differences.length, 'difference');
  return [
    ...wrap(`Schema ${schema} has ${differenceCount} from ${expected}.`),
    ...differences.flatMap((difference) => ['', ...describeDifference(difference)]),
    ...waiting,
  ];
}

/** One difference. Its statements are not wrapped, to be copied. */
function describeDifference({ kind, name, expected, found, statements, advice }: Difference): string[] {
  const [expectedText, foundText] = distinguishable(expected ?? 'nothing', found ?? 'nothing');
  // A line break in a name would put text of whoever chose the name among the SQL to copy.
  const isSafe = statements.every((statement) => !/[\n\r]/.test(statement)) || /\n/.test(expected ?? '');
  return [
    ...wrap(name.startsWith(`${kind} `) ? name : `${kind} ${name}`),
    ...labelled('expected', expectedText),
    ...labelled('found', foundText),
    ...(advice === null ? [] : labelled('repair', advice)),
    ...(isSafe
      ? statements.flatMap((statement) => `${statement};`.split('\n').map(escapeForTerminal))
      : labelled('repair', 'A name has a line break: check it. The SQL is in verify --json.')),
  ];
}

/** What to show of two texts, so that their difference can be seen. */
function distinguishable(expected: string, found: string): [string, string] {
  if (withLineFeeds(expected) === withLineFeeds(found)) {
    return [
      `line endings ${lineEndings(expected)}`,
      `the same text, with line endings ${lineEndings(found)}`,
    ];
  }
  const excerpts = firstDifference(expected, found);
  const [expectedLook, foundLook] = excerpts.map((text) => text.replace(/\s+/g, ' ').trim());
  return expectedLook === foundLook
    ? firstDifference(spacesVisible(expected), spacesVisible(found))
    : excerpts;
}

function withLineFeeds(text: string): string {
  return text.replace(/\r\n?/g, '\n');
}

function lineEndings(text: string): string {
  return text.includes('\r\n') ? 'CRLF' : text.includes('\r') ? 'CR' : 'LF';
}

/** Writes white space other than single spaces between words as `\u0020`, and so on. */
function spacesVisible(text: string): string {
  return text.replace(/[^\S \n]|^ +| +$|(?<= ) +/gm, (spaces) =>
    [...spaces].map((space) => `\\u${space.charCodeAt(0).toString(16).padStart(4, '0')}`).join(''),
  );
}

/** Both texts, or if one has several lines, the first line that differs. */
function firstDifference(expected: string, found: string): [string, string] {
  const [expectedLines, foundLines] = [expected.split('\n'), found.split('\n')];
  if (expectedLines.length === 1 && foundLines.length === 1) return [expected, found];
  const index = expectedLines.findIndex((line, position) => line !== foundLines[position]);
  const differingLine = index === -1 ? expectedLines.length : index;
  const differingPart = (lines: string[]) =>
    lines.length === 1
      ? (lines[0] as string)
      : `line ${differingLine + 1}: ${lines[differingLine]?.trim() ?? 'nothing'}`;
  return [differingPart(expectedLines), differingPart(foundLines)];
}

function labelled(label: string, text: string): string[] {
  const lines = wrap(text, ' '.repeat(12));
  return lines.map((line, index) => (index === 0 ? `  ${label.padEnd(10)}${line.slice(12)}` : line));
}
