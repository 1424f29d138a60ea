import { Command } from 'commander';
import { KeyRing } from '../credentials/key-ring.js';
import { connectionsUnder, credentialsCountByKey, type KeyUsage } from '../credentials/keys-in-use.js';
import { credentialsRotate, type RotationResult } from '../credentials/rotation.js';
import { withDatabase } from './database.js';
import { exitCodes } from './failures.js';
import { addKeyCommands } from './keys.js';
import { size } from './options.js';
import { connections, count, duration, showProgress } from './progress.js';
import { json, print, say, wrapped } from './text.js';

/** `crm-schema credentials …` */
export function credentialsCommand(): Command {
  const command = new Command('credentials')
    .description('Manages the keys that encrypt credentials.')
    .addHelpText(
      'afterAll',
      `
Key ring:
  CRM_SCHEMA_KEYS  the key ring, as JSON or as the path of a file`,
    );
  addKeyCommands(command);
  command
    .command('status')
    .description(
      'Counts the connections under each key. Exit code 3 if the key ring cannot decrypt with a key they need.',
    )
    .option('--json', 'print JSON, for programs')
    .action(status);
  command
    .command('rotate')
    .description(
      'Re-encrypts all credentials under the current key, in batches, while live traffic continues. Can be interrupted and run again.',
    )
    .option('--batch-size <rows>', 'connections per statement, from 1 to 1,000', size, 100)
    .option('--json', 'print JSON, for programs')
    .action(rotate);
  return command;
}

async function status(options: { json?: boolean }): Promise<void> {
  const keys = await KeyRing.load();
  const usages = await withDatabase((client) => credentialsCountByKey(client, keys));
  await print(options.json ? json({ current: keys.current, keys: usages }) : report(usages));
  if (usages.some(isNeeded)) process.exitCode = exitCodes.unmet;
}

/** Whether connections need a key that the ring cannot decrypt with. */
function isNeeded({ connections: number, canDecrypt }: KeyUsage): boolean {
  return number > 0 && !canDecrypt;
}

function report(usages: readonly KeyUsage[]): string {
  const width = Math.max(3, ...usages.map(({ keyId: id }) => id.length));
  const row = (...[id, standing, number]: [string, string, string]) =>
    `${id.padEnd(width)}  ${standing.padEnd(8)}  ${number.padStart(11)}`;
  const waiting = usages.filter(({ standing, canDecrypt }) => standing !== 'current' && canDecrypt);
  const total = connectionsUnder(waiting);
  const idle = waiting.filter((usage) => usage.connections === 0);
  const advice = [
    ...usages.filter(isNeeded).map(unreadable),
    ...(total > 0 ? [`To re-encrypt ${connections(total)}: crm-schema credentials rotate`] : []),
    ...idle.map(({ keyId: id }) => `${id} protects no connections: run use-key to use it, or drop-key.`),
  ];
  return [
    row('Key', 'Status', 'Connections'),
    ...usages.map((usage) => row(usage.keyId, usage.standing, count(usage.connections))),
    ...advice.flatMap((text) => wrapped(text)),
  ].join('\n');
}

function unreadable({ keyId: id, standing, connections: number }: KeyUsage): string {
  const reason =
    standing === 'missing'
      ? `key ${id} is not in the key ring`
      : `the key ring has only the public half of ${id}`;
  return `${connections(number)} cannot be decrypted: ${reason}.`;
}

async function rotate(options: { batchSize: number; json?: boolean }): Promise<void> {
  const keys = await KeyRing.load();
  const interruption = new AbortController();
  const onSignal = () => interruption.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  const start = Date.now();
  const progress = showProgress('Re-encrypting');
  const { result, usages } = await withDatabase(async (client) => {
    const ended = await credentialsRotate(client, keys, {
      batchSize: options.batchSize,
      signal: interruption.signal,
      onProgress: ({ rotated, total }) => progress.update(rotated, total),
    });
    return { result: ended, usages: await credentialsCountByKey(client, keys) };
  }).finally(() => progress.end());
  if (options.json) await print(json({ keyId: keys.current, ...result }));
  else if (result.rotated + result.remaining === 0) {
    await print(`Nothing to do: all connections are already under ${keys.current}.`);
  } else if (result.rotated > 0) {
    await print(
      `Re-encrypted ${connections(result.rotated)} under ${keys.current} in ${duration(Date.now() - start)}.`,
    );
  }
  for (const line of notRotated(result)) say(line);
  const idle = usages.filter(({ standing, connections: number }) => standing === 'other' && number === 0);
  if (result.rotated + result.remaining === 0 && idle.length > 0) {
    say(
      `To encrypt with ${idle.map((usage) => usage.keyId).join(' or ')}, first make it current: crm-schema credentials use-key <id>`,
    );
  }
  if (interruption.signal.aborted) say('Interrupted: run it again to re-encrypt the rest.');
  const lacking = connectionsUnder(result.lacking);
  if (result.remaining > lacking) process.exitCode = exitCodes.failed;
  else if (lacking > 0) process.exitCode = exitCodes.unmet;
}

/** What a rotation did not re-encrypt, and why. */
function notRotated({ failures, lacking, remaining }: RotationResult): string[] {
  const rest = remaining - failures.length - connectionsUnder(lacking);
  return [
    ...lacking.map(unreadable),
    ...failures.map(
      ({ organisationId, connectionId, keyId: id, code }) =>
        `Not re-encrypted: connection ${connectionId} of organisation ${organisationId}, key ${id}: ${code}.`,
    ),
    ...(rest > 0 ? [`${connections(rest)} left for the next run.`] : []),
  ];
}
