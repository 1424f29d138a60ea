import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { type ContactErasure, contactErase } from '../erasure/contact-erasure.js';
import { contactEraseAgain, isProofs, type RepeatedErasure } from '../erasure/erase-again.js';
import { ErasureKey, erasureKeyVariable } from '../erasure/erasure-key.js';
import { type ErasureProof, erasureList } from '../erasure/proofs.js';
import { withConnection } from './database.js';
import { isBlocked, lockHelp, withErasingConnection } from './erasing-connection.js';
import { UnmetCondition } from './exit-codes.js';
import { formatQuantity } from './numbers.js';
import { checkProduction, parseUuid } from './options.js';
import { formatJson, formatTable, printResult } from './text.js';
import { formatTime } from './times.js';

interface EraseOptions {
  organisation?: string;
  contact?: string;
  again?: string;
  dryRun?: boolean;
  allowProduction?: boolean;
  json?: boolean;
}

/** Adds `crm-schema contact erase` and `crm-schema contact erasures`. */
export function addEraseCommands(command: Command): void {
  command
    .command('erase')
    .description(
      'Erases a person from all tables and from the log: the contact, everyone merged into it, and their ids. Run it as the owner of the log. Exit code 3 if nothing is known of the contact. Delete the contact in your own table yourself.',
    )
    .option('--organisation <id>', "the organisation's id", parseUuid)
    .option('--contact <id>', "the contact's id, which may be deleted already", parseUuid)
    .option(
      '--again <file>',
      'instead: erase again everyone of whom the file, from contact erasures --json, has proof',
    )
    .option('--dry-run', 'show what would be erased, and change nothing')
    .option('--allow-production', 'run even if NODE_ENV is not development or test')
    .option('--json', 'print JSON')
    .addHelpText('after', eraseHelp)
    .action(erase);
  command
    .command('erasures')
    .description(
      'Lists the proofs of all erasures. Keep the JSON apart from the backups. Run it as the owner of the log.',
    )
    .option('--json', 'print JSON')
    .action(listErasures);
}

const eraseHelp = `
Environment:
  ${erasureKeyVariable}  the key of the proofs: at least 32 random bytes in
                          base64, from openssl rand -base64 32
Ends the open runs of the organisation: their workers get lease_lost and start
again.
Locks, for a moment, also with --dry-run: the organisation's connections, its
external ids, the contacts, and its log for whoever logs without a run. It waits
for transactions that have these, and whoever syncs, links, merges or logs there
waits for it. Another organisation may share a lock by chance.
${lockHelp}`;

async function erase(options: EraseOptions, command: Command): Promise<void> {
  const { organisation, contact, again, dryRun = false } = options;
  if (again !== undefined) {
    if (organisation !== undefined || contact !== undefined || dryRun) {
      command.error('error: --again stands alone: leave out --organisation, --contact and --dry-run');
    }
    checkProduction(options, command, 'erase');
    await eraseAgain(again, options);
    return;
  }
  if (organisation === undefined || contact === undefined) {
    return command.error('error: name the person with --organisation and --contact');
  }
  if (!dryRun) checkProduction(options, command, 'erase');
  const key = readKey();
  const erasure = await withErasingConnection('Nothing was erased', async (client) => {
    await client.query('begin');
    const erased = await contactErase(client, key, { organisationId: organisation, contactId: contact });
    if (rowsOf(erased) === 0) {
      await client.query('rollback');
      throw new UnmetCondition(
        'Nothing is known of this contact: check its id and that of the organisation.',
      );
    }
    await client.query(dryRun ? 'rollback' : 'commit');
    return erased;
  });
  const { erasureId, ...rest } = erasure;
  await printResult(
    options.json
      ? formatJson(dryRun ? { isDryRun: true, ...rest } : { isDryRun: false, erasureId, ...rest })
      : erasureReport(erasure, dryRun).join('\n'),
  );
}

/** How many rows were erased. The end of a run erases nothing. */
function rowsOf({ counts }: ContactErasure): number {
  return Object.entries(counts).reduce(
    (sum, [name, count]) => (name === 'crm_sync_runs' ? sum : sum + count),
    0,
  );
}

function erasureReport({ erasureId, contactIds, counts }: ContactErasure, isDryRun: boolean): string[] {
  const { crm_sync_runs: runs = 0, ...tables } = counts;
  const rows = Object.entries(tables).filter(([, count]) => count > 0);
  return [
    `${isDryRun ? 'Would erase' : 'Erased'} ${formatQuantity(contactIds.length, 'contact')}, and ended ${formatQuantity(runs, 'run')}.`,
    ...formatTable(
      'lr',
      rows.map(([name, count]) => [name, formatQuantity(count, 'row')]),
    ),
    ...(isDryRun ? [] : [`Proof: ${erasureId} in crm_erasures.`]),
  ];
}

async function eraseAgain(file: string, { json }: EraseOptions): Promise<void> {
  const proofs = await readProofs(file);
  const key = readKey();
  const { repeated, blockers } = await withErasingConnection(
    'The proofs before were repeated',
    async (client, sessions) => ({
      repeated: await contactEraseAgain(client, key, proofs),
      blockers: sessions.last,
    }),
  );
  const numberOf = (outcome: RepeatedErasure['outcome']) =>
    repeated.filter((each) => each.outcome === outcome).length;
  await printResult(
    json
      ? formatJson({ keyId: key.id, repeated })
      : [
          `Erased ${numberOf('erased')} again; ${numberOf('absent')} had not come back.`,
          ...(numberOf('organisation_erased') === 0
            ? []
            : [`Of organisations that were erased later: ${numberOf('organisation_erased')}.`]),
        ].join(' '),
  );
  const failed = repeated.flatMap(({ erasureId, error }) =>
    error === undefined
      ? []
      : [
          `proof ${erasureId}: ${isBlocked(error) ? `blocked by ${blockers}` : error.message} (${error.code}).`,
        ],
  );
  const otherKey =
    numberOf('other_key') === 0
      ? []
      : [
          `${formatQuantity(numberOf('other_key'), 'proof')} of another key: run it again with that key. This one is ${key.id}.`,
        ];
  if (failed.length > 0) {
    throw new Error(
      [`${formatQuantity(failed.length, 'proof')} could not be repeated:`, ...failed, ...otherKey].join(' '),
    );
  }
  if (otherKey.length > 0) throw new UnmetCondition(otherKey.join(' '));
}

/** @throws Error that does not repeat what is in the file */
async function readProofs(file: string): Promise<ErasureProof[]> {
  const document = await readFile(file, 'utf8').then(
    (text) => {
      try {
        return JSON.parse(text);
      } catch {
        return null;
      }
    },
    (error: NodeJS.ErrnoException) => {
      throw new Error(`The file of --again cannot be read (${error.code}): check its path and permissions.`);
    },
  );
  if (!isProofs(document?.erasures)) {
    throw new Error('The file of --again is not what crm-schema contact erasures --json prints.');
  }
  return document.erasures;
}

async function listErasures(options: { json?: boolean }): Promise<void> {
  const erasures = await withConnection((client) => erasureList(client));
  const table = erasures.map(({ erasureId, organisationId, subject, finishedAt, keyId }) => [
    erasureId,
    organisationId,
    subject,
    finishedAt === null ? 'not finished' : formatTime(finishedAt),
    keyId,
  ]);
  await printResult(
    options.json
      ? formatJson({ erasures })
      : erasures.length === 0
        ? 'Nobody has been erased.'
        : formatTable('rllll', [['id', 'organisation', 'subject', 'erased', 'key'], ...table]).join('\n'),
  );
}

/** @throws Error if the environment has no key; CrmSchemaError `invalid_key_ring` */
function readKey(): ErasureKey {
  const text = process.env[erasureKeyVariable] ?? '';
  if (text === '') throw new Error(`${erasureKeyVariable} is not set: it holds the key of the proofs.`);
  return ErasureKey.parse(text);
}
