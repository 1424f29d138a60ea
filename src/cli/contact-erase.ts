import type { Command } from 'commander';
import type pg from 'pg';
import { type ContactErasure, contactErase } from '../erasure/contact-erasure.js';
import { type ErasureKey, erasureKeyVariable } from '../erasure/erasure-key.js';
import { asOwner } from '../erasure/own-errors.js';
import { eraseAgain } from './contact-erase-again.js';
import { lockHelp, nameKeptMonths, withErasingConnection } from './erasing-connection.js';
import { readErasureKey } from './erasure-key.js';
import { UnmetCondition } from './exit-codes.js';
import { formatQuantity } from './numbers.js';
import { checkProduction, parseUuid } from './options.js';
import { formatJson, formatTable, printMessage, printResult } from './text.js';

interface EraseOptions {
  organisation?: string;
  contact?: string;
  again?: string;
  dryRun?: boolean;
  allowProduction?: boolean;
  json?: boolean;
}

/** Adds `crm-schema contact erase`. */
export function addEraseCommand(command: Command): void {
  command
    .command('erase')
    .description(
      'Erases a person from all tables and from the log: the contact, everyone merged into it, and their ids. Run it as the owner of the log. Exit code 3 if nothing is known of the contact. Delete the contact in your own table yourself.',
    )
    .option('--organisation <id>', "the organisation's id", parseUuid)
    .option('--contact <id>', "the contact's id, which may be deleted already", parseUuid)
    .option(
      '--again <file>',
      'instead: erase again whoever the file, from contact erasures --json, has proof of',
    )
    .option('--dry-run', 'show what would be erased, and change nothing')
    .option('--allow-production', 'run even if NODE_ENV is not development or test')
    .option('--json', 'print JSON')
    .addHelpText('after', eraseHelp)
    .action(erase);
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
    if (organisation !== undefined || contact !== undefined) {
      command.error('error: --again names everyone: leave out --organisation and --contact');
    }
    if (!dryRun) checkProduction(options, command, 'erase');
    await eraseAgain(again, options);
    return;
  }
  if (organisation === undefined || contact === undefined) {
    return command.error('error: name the person with --organisation and --contact');
  }
  if (!dryRun) checkProduction(options, command, 'erase');
  const key = readErasureKey();
  const erasure = await withErasingConnection('Nothing was erased', async (client) => {
    await nameKeptMonths(client);
    await client.query('begin');
    const merges = dryRun ? await mergesInto(client, organisation, contact) : [];
    const keyNote = await noteOnKey(client, key);
    const erased = await contactErase(client, key, { organisationId: organisation, contactId: contact });
    if (rowsOf(erased) === 0) {
      await client.query('rollback');
      throw new UnmetCondition(
        'Nothing is known of this contact: check its id and that of the organisation.',
      );
    }
    await client.query(dryRun ? 'rollback' : 'commit');
    return { ...erased, merges, keyNote };
  });
  const { erasureId, merges, keyNote, ...rest } = erasure;
  if (keyNote !== null) printMessage(keyNote);
  await printResult(
    options.json
      ? formatJson(
          dryRun
            ? { isDryRun: true, keyId: key.id, ...rest, merges }
            : { isDryRun: false, erasureId, keyId: key.id, ...rest },
        )
      : [...erasureReport(erasure, key, dryRun), ...mergeReport(merges)].join('\n'),
  );
}

/** How many rows were erased. The end of a run erases nothing. */
function rowsOf({ counts }: ContactErasure): number {
  return Object.entries(counts).reduce(
    (sum, [name, count]) => (name === 'crm_sync_runs' ? sum : sum + count),
    0,
  );
}

function erasureReport(
  { erasureId, contactIds, counts }: ContactErasure,
  key: ErasureKey,
  isDryRun: boolean,
): string[] {
  const { crm_sync_runs: runs = 0, ...tables } = counts;
  const rows = Object.entries(tables).filter(([, count]) => count > 0);
  return [
    `${isDryRun ? 'Would erase' : 'Erased'} ${formatQuantity(contactIds.length, 'contact')} and ${isDryRun ? 'end' : 'ended'} ${formatQuantity(runs, 'run')}.`,
    ...formatTable(
      'lr',
      rows.map(([name, count]) => [name, formatQuantity(count, 'row')]),
    ),
    ...(isDryRun
      ? [`The proof would be under key ${key.id}.`]
      : [
          `Proof: ${erasureId} in crm_erasures, under key ${key.id}.`,
          'Delete in your own tables; nothing connects these contacts any more:',
          ...contactIds.map((id) => `  ${id}`),
        ]),
  ];
}

/** The wrong key works as well, but after a restore its erasures could not be repeated with the right one. */
async function noteOnKey(client: pg.Client, key: ErasureKey): Promise<string | null> {
  const { rows } = await asOwner(() =>
    client.query(
      'select count(*) > 0 as "areProofs", count(*) filter (where key_id = $1) > 0 as "isKnown" from crm_erasures',
      [key.id],
    ),
  );
  const [{ areProofs, isKnown }] = rows;
  return areProofs && !isKnown
    ? `No earlier proof is under key ${key.id}: make sure that it is the right one, and kept.`
    : null;
}

/** A merge that makes somebody else the same person. */
interface Merge {
  contactId: string;
  intoContactId: string;
  operationId: string;
}

/** The merges by which a contact is several. */
async function mergesInto(client: pg.Client, organisationId: string, contactId: string): Promise<Merge[]> {
  const { rows } = await asOwner(() =>
    client.query(
      `select
         change.from_contact_id::text as "contactId",
         change.to_contact_id::text as "intoContactId",
         change.operation_id::text as "operationId"
       from crm_contact_lineage($1::uuid, array[$2::uuid]) as person
       inner join contact_external_id_changes as change
         on change.organisation_id = $1::uuid
         and change.to_contact_id = person.contact_id
         and change.kind = 'contacts_merged'
         and change.external_id is null
         and change.undone_by is null
       order by change.id`,
      [organisationId, contactId],
    ),
  );
  return rows;
}

function mergeReport(merges: readonly Merge[]): string[] {
  if (merges.length === 0) return [];
  const rows = merges.map(({ contactId, operationId }) => [contactId, operationId]);
  return [
    'Merged into it (undo a mistake with contactMergeUndo before you erase):',
    ...formatTable('ll', [['contact', 'merge'], ...rows]),
  ];
}
