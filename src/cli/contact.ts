import { Command } from 'commander';
import { addEraseCommands } from './contact-erase.js';
import { addExportCommand } from './contact-export.js';

/** `crm-schema contact …` */
export function contactCommand(): Command {
  const command = new Command('contact').description('Shows what is kept of a person, and erases it.');
  addExportCommand(command);
  addEraseCommands(command);
  return command;
}
