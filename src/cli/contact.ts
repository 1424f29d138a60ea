import { Command } from 'commander';
import { addEraseCommand } from './contact-erase.js';
import { addErasuresCommand } from './contact-erasures.js';
import { addExportCommand } from './contact-export.js';

/** `crm-schema contact …` */
export function contactCommand(): Command {
  const command = new Command('contact');
  addExportCommand(command);
  addEraseCommand(command);
  addErasuresCommand(command);
  return command;
}
