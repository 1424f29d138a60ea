import { Command } from 'commander';
import { erasureKeyVariable } from '../erasure/erasure-key.js';
import { organisationErase, organisationRows } from '../erasure/organisation-erasure.js';
import { lockHelp, nameKeptMonths, withErasingConnection } from './erasing-connection.js';
import { readErasureKey } from './erasure-key.js';
import { UnmetCondition } from './exit-codes.js';
import { formatNumber, formatQuantity } from './numbers.js';
import { checkProduction, parseUuid, wholeNumberParser } from './options.js';
import { showProgress } from './progress.js';
import { formatJson, formatTable, printResult } from './text.js';

interface EraseOptions {
  organisation: string;
  batch: number;
  dryRun?: boolean;
  allowProduction?: boolean;
  json?: boolean;
}

/** `crm-schema organisation …` */
export function organisationCommand(): Command {
  const command = new Command('organisation');
  command
    .command('erase')
    .description(
      'Erases an organisation from all tables and from the log, a batch at a time. Disconnect its CRMs first, and delete it in your own tables afterwards. Run it as the owner of the log. May be interrupted and run again. Exit code 3 if nothing is kept of it.',
    )
    .requiredOption('--organisation <id>', "the organisation's id", parseUuid)
    .option('--batch <rows>', 'rows in a transaction, 1 to 100000', wholeNumberParser(1, 100_000), 2000)
    .option('--dry-run', 'count what would be erased, and change nothing')
    .option('--allow-production', 'run even if NODE_ENV is not development or test')
    .option('--json', 'print JSON')
    .addHelpText('after', eraseHelp)
    .action(eraseOrganisation);
  return command;
}

const eraseHelp = `
Environment:
  ${erasureKeyVariable}  the key of the proof, as for contact erase
Locks, for a batch: only rows of this organisation, and its external ids.
Another one may share a lock of ids by chance, and waits for a batch at most.
${lockHelp}
Prints its progress to standard error.`;

async function eraseOrganisation(options: EraseOptions, command: Command): Promise<void> {
  const { organisation: organisationId, batch: batchSize, dryRun = false } = options;
  if (!dryRun) checkProduction(options, command, 'erase');
  const key = dryRun ? null : readErasureKey();
  const { erasureId, counts } = await withErasingConnection('The batches before are kept', async (client) => {
    const rows = await organisationRows(client, organisationId);
    const total = sumOf(rows);
    if (total === 0) throw new UnmetCondition(`Nothing is kept of organisation ${organisationId}.`);
    await nameKeptMonths(client);
    if (key === null) return { erasureId: null, counts: rows };
    const progress = showProgress('Erasing');
    try {
      let done = 0;
      return await organisationErase(client, key, {
        organisationId,
        batchSize,
        onBatch(deleted) {
          done += deleted;
          progress.update(done, Math.max(total, done));
        },
      });
    } finally {
      progress.end();
    }
  });
  await printResult(
    options.json
      ? formatJson(dryRun ? { isDryRun: true, counts } : { isDryRun: false, erasureId, counts })
      : [
          `${dryRun ? 'Would erase' : 'Erased'} ${formatQuantity(sumOf(counts), 'row')}.`,
          ...formatTable(
            'lr',
            Object.entries(counts).map(([name, count]) => [name, formatNumber(count)]),
          ),
          ...(key === null ? [] : [`Proof: ${erasureId} in crm_erasures, under key ${key.id}.`]),
        ].join('\n'),
  );
}

function sumOf(counts: Record<string, number>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
