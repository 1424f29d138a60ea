import { readFile } from 'node:fs/promises';
import { contactEraseAgain } from '../erasure/erase-again.js';
import { type ErasureProof, isProofs } from '../erasure/proofs.js';
import type { RepeatedErasure } from '../erasure/repetition.js';
import { isBlocked, nameKeptMonths, withErasingConnection } from './erasing-connection.js';
import { readErasureKey } from './erasure-key.js';
import { UnmetCondition } from './exit-codes.js';
import { formatQuantity } from './numbers.js';
import { formatJson, formatTable, printResult } from './text.js';

/** `crm-schema contact erase --again` */
export async function eraseAgain(
  file: string,
  { dryRun: isDryRun = false, json }: { dryRun?: boolean; json?: boolean },
): Promise<void> {
  const proofs = await readProofs(file);
  if (proofs.length === 0) {
    throw new UnmetCondition(
      'The file has no proofs: take the last one from before the restore. The database has only those of the backup.',
    );
  }
  const key = readErasureKey();
  const { repeated, blockers } = await withErasingConnection(
    'The proofs before were repeated',
    async (client, sessions) => {
      await nameKeptMonths(client);
      return {
        repeated: await contactEraseAgain(client, key, proofs, { isDryRun }),
        blockers: sessions.last,
      };
    },
  );
  await printResult(
    json ? formatJson({ isDryRun, keyId: key.id, repeated }) : report(repeated, isDryRun).join('\n'),
  );
  const failed = repeated.flatMap(({ erasureId, error }) =>
    error === undefined
      ? []
      : [
          `proof ${erasureId}: ${isBlocked(error) ? `blocked by ${blockers}` : error.message} (${error.code}).`,
        ],
  );
  const unmet = [
    ...(countOf(repeated, 'other_key') === 0
      ? []
      : [
          `${formatQuantity(countOf(repeated, 'other_key'), 'proof')} of another key: run it again with that key. This one is ${key.id}.`,
        ]),
    ...organisationsBack(repeated),
    ...(repeated.every(({ isHostSearched }) => isHostSearched)
      ? []
      : [
          'contacts was not searched, because this user may not read all of it: grant it select (id, organisation_id), without row-level security, and run it again; or compare the ids yourself (ErasureKey.hashContact).',
        ]),
  ];
  if (failed.length > 0) {
    throw new Error(
      [`${formatQuantity(failed.length, 'proof')} could not be repeated:`, ...failed, ...unmet].join(' '),
    );
  }
  if (unmet.length > 0) throw new UnmetCondition(unmet.join(' '));
}

const countOf = (repeated: readonly RepeatedErasure[], outcome: RepeatedErasure['outcome']) =>
  repeated.filter((each) => each.outcome === outcome).length;

function report(repeated: readonly RepeatedErasure[], isDryRun: boolean): string[] {
  const [erased, absent] = [countOf(repeated, 'erased'), countOf(repeated, 'absent')];
  const later = countOf(repeated, 'organisation_erased');
  const toDelete = contactsOf(repeated, ['erased', 'absent', 'organisation_erased']);
  const returned = contactsOf(repeated, ['returned']);
  return [
    `Read ${formatQuantity(repeated.length, 'proof')}.`,
    isDryRun
      ? `Would erase ${erased} again; ${absent} have not come back.`
      : `Erased ${erased} again; ${absent} had not come back.`,
    ...(later === 0 ? [] : [`Of organisations that were erased later: ${later}.`]),
    ...(returned.length === 0
      ? []
      : ['Linked to a record since their erasure, and left alone:', ...formatTable('ll', returned)]),
    ...(toDelete.length === 0
      ? []
      : ['Delete in your own tables, if they are there:', ...formatTable('ll', toDelete)]),
  ];
}

/** The contacts with these outcomes, each with its organisation, and each once. */
function contactsOf(
  repeated: readonly RepeatedErasure[],
  outcomes: readonly RepeatedErasure['outcome'][],
): string[][] {
  const contacts = new Map<string, string>();
  for (const { organisationId, outcome, contactIds } of repeated)
    if (outcomes.includes(outcome)) for (const id of contactIds) contacts.set(id, organisationId);
  return contacts.size === 0
    ? []
    : [['organisation', 'contact'], ...[...contacts].map(([id, organisationId]) => [organisationId, id])];
}

/** What to do about organisations that are there as before their erasure. */
function organisationsBack(repeated: readonly RepeatedErasure[]): string[] {
  const back = new Set(
    repeated
      .filter(({ outcome }) => outcome === 'organisation_back')
      .map(({ organisationId }) => organisationId),
  );
  return [...back].map(
    (id) =>
      `Organisation ${id} was erased, and is back: disconnect its CRMs, and run crm-schema organisation erase --organisation ${id} --allow-production.`,
  );
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
