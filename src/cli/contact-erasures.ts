import type { Command } from 'commander';
import { erasureKeyVariable } from '../erasure/erasure-key.js';
import { type ErasureProof, erasureList } from '../erasure/proofs.js';
import { withConnection } from './database.js';
import { readErasureKey } from './erasure-key.js';
import { UnmetCondition } from './exit-codes.js';
import { formatQuantity } from './numbers.js';
import { parseUuid } from './options.js';
import { formatJson, formatTable, printResult } from './text.js';
import { formatTime } from './times.js';

interface ErasuresOptions {
  contact?: string;
  json?: boolean;
}

/** Adds `crm-schema contact erasures`. */
export function addErasuresCommand(command: Command): void {
  command
    .command('erasures')
    .description(
      'Lists the proofs of all erasures. Keep the JSON apart from the backups. Run it as the owner of the log. With --contact and the key: those of that contact; exit code 3 if there is none.',
    )
    .option('--contact <id>', 'only the proofs of this contact, by which it was erased', parseUuid)
    .option('--json', 'print JSON')
    .addHelpText('after', help)
    .action(listErasures);
}

const help = `
Environment:
  ${erasureKeyVariable}  the key of the proofs, with --contact`;

async function listErasures({ contact, json }: ErasuresOptions): Promise<void> {
  const readAll = () => withConnection((client) => erasureList(client));
  if (contact === undefined) {
    const erasures = await readAll();
    await printResult(json ? formatJson({ erasures }) : listOf(erasures));
    return;
  }
  const key = readErasureKey();
  const all = await readAll();
  const erasures = all.filter(
    ({ organisationId, subject, subjectHashes }) =>
      subject === 'contact' &&
      subjectHashes.includes(key.hashContact(organisationId, contact).toString('hex')),
  );
  if (json || erasures.length > 0)
    await printResult(
      json ? formatJson({ contactId: contact, keyId: key.id, erasures }) : listOfContact(erasures),
    );
  if (erasures.length > 0) return;
  const organisations = all.filter(({ subject }) => subject === 'organisation').length;
  const others = all.filter(({ subject, keyId }) => subject === 'contact' && keyId !== key.id).length;
  throw new UnmetCondition(
    `No proof of key ${key.id} is of this contact.${others === 0 ? '' : ` ${formatQuantity(others, 'proof')} of another key: ask with that one, too.`}${organisations === 0 ? '' : ` Nor does the erasure of a whole organisation name its contacts: ${formatQuantity(organisations, 'organisation')} in the list.`}`,
  );
}

function listOf(erasures: readonly ErasureProof[]): string {
  if (erasures.length === 0) return 'Nobody has been erased.';
  const rows = erasures.map(({ erasureId, organisationId, subject, finishedAt, keyId }) => [
    erasureId,
    organisationId,
    subject,
    finishedAt === null ? 'not finished' : formatTime(finishedAt),
    keyId,
  ]);
  return formatTable('rllll', [['id', 'organisation', 'subject', 'erased', 'key'], ...rows]).join('\n');
}

function listOfContact(erasures: readonly ErasureProof[]): string {
  const rows = erasures.map(({ erasureId, organisationId, erasedAt, erasedBy }) => [
    erasureId,
    organisationId,
    formatTime(erasedAt),
    erasedBy,
  ]);
  return formatTable('rlll', [['proof', 'organisation', 'erased (UTC)', 'by'], ...rows]).join('\n');
}
