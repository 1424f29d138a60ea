import type { Command } from 'commander';
import { exportText } from '../export/export-text.js';
import { type ExportSection, readExport } from '../export/read-export.js';
import { withUnrestrictedConnection } from './database.js';
import { UnmetCondition } from './exit-codes.js';
import { parseUuid } from './options.js';
import { escapeLines, printMessage, printPiece } from './text.js';

interface ExportOptions {
  organisation: string;
  contact: string;
}

/** `crm-schema contact export` */
export function addExportCommand(command: Command): void {
  command
    .command('export')
    .description(
      'Prints all that is kept of a contact, and of those that were merged into it, as JSON. Run it as the owner of the log, who may read its detached months. Exit code 3 if nothing is kept, or if a month could not be read.',
    )
    .requiredOption('--organisation <id>', "the organisation's id", parseUuid)
    .requiredOption('--contact <id>', "the contact's id", parseUuid)
    .addHelpText('after', exportHelp)
    .action(exportContact);
}

const exportHelp = `
The format is described in docs/contact-export.schema.json of the package. It is
personal data: redirect it into a file that only you can read (umask 077).
Locks: ACCESS SHARE; nobody waits. All of it is read in one transaction.`;

async function exportContact({ organisation, contact }: ExportOptions): Promise<void> {
  const head = await withUnrestrictedConnection(async (client) => {
    await client.query('begin isolation level repeatable read read only');
    const { head, sections } = await readExport(client, {
      organisationId: organisation,
      contactId: contact,
    });
    let isFound = false;
    const watched = sections.map((section) => ({
      ...section,
      read: () => watch(section, () => (isFound = true)),
    }));
    // Nothing is printed before there is something to print.
    let held = '';
    for await (const piece of exportText({ head, sections: watched })) {
      held += escapeLines(piece);
      if (!isFound) continue;
      await printPiece(held);
      held = '';
    }
    if (!isFound) {
      throw new UnmetCondition(`Nothing is kept of contact ${contact} in organisation ${organisation}.`);
    }
    await client.query('commit');
    return head;
  });
  if (head.mergedIntoId !== null) {
    printMessage(
      `The contact was merged into ${head.mergedIntoId}: export that one for what has been kept since.`,
    );
  }
  if (head.monthsNotRead.length > 0) {
    throw new UnmetCondition(
      `Events are missing, because these months could not be read: ${head.monthsNotRead.join(', ')}. Run it as the owner of crm_sync_log, and give these tables its owner and its columns.`,
    );
  }
}

/** Reads a section, and calls back at the first row that says something of the person. */
async function* watch({ name, read }: ExportSection, onFound: () => void): ReturnType<ExportSection['read']> {
  for await (const rows of read()) {
    if (name !== 'contacts' && rows.length > 0) onFound();
    yield rows;
  }
}
