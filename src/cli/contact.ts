import { Command } from 'commander';
import { addEraseCommand } from './contact-erase.js';
import { addErasuresCommand } from './contact-erasures.js';
import { addExportCommand } from './contact-export.js';

/** `crm-schema contact …` */
export function contactCommand(): Command {
  const command = new Command('contact').description(
    'Exports or erases a person, and lists the proofs of erasures.',
  );
  addExportCommand(command);
  addEraseCommand(command);
  addErasuresCommand(command);
  return command;
}
