import { Command } from 'commander';
import { addExportCommand } from './contact-export.js';

/** `crm-schema contact …` */
export function contactCommand(): Command {
  const command = new Command('contact').description('Shows what is kept of a person.');
  addExportCommand(command);
  return command;
}
