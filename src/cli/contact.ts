import { Command } from 'commander';
import { addEraseCommands } from './contact-erase.js';
import { addExportCommand } from './contact-export.js';

/** `crm-schema contact …` */
export function contactCommand(): Command {
  const command = new Command('contact').description(
    'Exports or erases a person, and lists the proofs of erasures.',
  );
  addExportCommand(command);
  addEraseCommands(command);
  return command;
}
