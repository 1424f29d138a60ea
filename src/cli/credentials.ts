import { Command } from 'commander';
import { KeyRing } from '../credentials/key-ring.js';
import { connectionsUnder, credentialsCountByKey, type KeyUsage } from '../credentials/keys-in-use.js';
import { credentialsRotate, type RotationResult } from '../credentials/rotation.js';
import { withUnrestrictedConnection } from './database.js';
import { exitCodes } from './exit-codes.js';
import { interruptionSignal } from './interruption.js';
import { addKeyCommands } from './keys.js';
import { formatNumber, formatQuantity } from './numbers.js';
import { parseLimit } from './options.js';
import { showProgress } from './progress.js';
import { formatJson, printMessage, printResult, wrap } from './text.js';
import { formatSeconds } from './times.js';

/** `crm-schema credentials …` */
export function credentialsCommand(): Command {
  const command = new Command('credentials').addHelpText(
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
    .action(showStatus);
  command
    .command('rotate')
    .description(
      'Re-encrypts all credentials under the current key, in batches, while live traffic continues. Can be interrupted and run again.',
    )
    .option('--batch-size <rows>', 'connections per statement, from 1 to 1,000', parseLimit, 100)
    .option('--json', 'print JSON, for programs')
    .action(rotateCredentials);
  return command;
}

async function showStatus(options: { json?: boolean }): Promise<void> {
  const keys = await KeyRing.load();
  const usages = await withUnrestrictedConnection((client) => credentialsCountByKey(client, keys));
  await printResult(options.json ? formatJson({ current: keys.current, keys: usages }) : keyReport(usages));
  if (usages.some(isNeeded)) process.exitCode = exitCodes.unmet;
}

/** Whether connections need a key that the ring cannot decrypt with. */
function isNeeded({ connections, canDecrypt }: KeyUsage): boolean {
  return connections > 0 && !canDecrypt;
}

function keyReport(usages: readonly KeyUsage[]): string {
  const width = Math.max(3, ...usages.map(({ keyId }) => keyId.length));
  const row = (...[id, standing, number]: [string, string, string]) =>
    `${id.padEnd(width)}  ${standing.padEnd(8)}  ${number.padStart(11)}`;
  const others = usages.filter(({ standing, canDecrypt }) => standing !== 'current' && canDecrypt);
  const toReEncrypt = connectionsUnder(others);
  const unused = others.filter((usage) => usage.connections === 0);
  const advice = [
    ...usages.filter(isNeeded).map(describeUnreadable),
    ...(toReEncrypt > 0
      ? [`To re-encrypt ${formatQuantity(toReEncrypt, 'connection')}: crm-schema credentials rotate`]
      : []),
    ...unused.map(({ keyId }) => `${keyId} protects no connections: run use-key to use it, or drop-key.`),
  ];
  return [
    row('Key', 'Status', 'Connections'),
    ...usages.map((usage) => row(usage.keyId, usage.standing, formatNumber(usage.connections))),
    ...advice.flatMap((text) => wrap(text)),
  ].join('\n');
}

function describeUnreadable({ keyId, standing, connections }: KeyUsage): string {
  const reason =
    standing === 'missing'
      ? `key ${keyId} is not in the key ring`
      : `the key ring has only the public half of ${keyId}`;
  return `${formatQuantity(connections, 'connection')} cannot be decrypted: ${reason}.`;
}

async function rotateCredentials(options: { batchSize: number; json?: boolean }): Promise<void> {
  const keys = await KeyRing.load();
  const signal = interruptionSignal();
  const start = Date.now();
  const progress = showProgress('Re-encrypting');
  const { result, usages } = await withUnrestrictedConnection(async (client) => {
    const rotation = await credentialsRotate(client, keys, {
      batchSize: options.batchSize,
      signal,
      onProgress: ({ rotated, total }) => progress.update(rotated, total),
    });
    return { result: rotation, usages: await credentialsCountByKey(client, keys) };
  }).finally(() => progress.end());
  if (options.json) await printResult(formatJson({ keyId: keys.current, ...result }));
  else if (result.rotated + result.remaining === 0) {
    await printResult(`Nothing to do: all connections are already under ${keys.current}.`);
  } else if (result.rotated > 0) {
    await printResult(
      `Re-encrypted ${formatQuantity(result.rotated, 'connection')} under ${keys.current} in ${formatSeconds(Date.now() - start)}.`,
    );
  }
  for (const line of describeNotRotated(result)) printMessage(line);
  const unused = usages.filter(({ standing, connections }) => standing === 'other' && connections === 0);
  if (result.rotated + result.remaining === 0 && unused.length > 0) {
    printMessage(
      `To encrypt with ${unused.map((usage) => usage.keyId).join(' or ')}, first make it current: crm-schema credentials use-key <id>`,
    );
  }
  if (signal.aborted) printMessage('Interrupted: run it again to re-encrypt the rest.');
  const lacking = connectionsUnder(result.lacking);
  if (result.remaining > lacking) process.exitCode = exitCodes.failed;
  else if (lacking > 0) process.exitCode = exitCodes.unmet;
}

/** What a rotation did not re-encrypt, and why. */
function describeNotRotated({ failures, lacking, remaining }: RotationResult): string[] {
  const left = remaining - failures.length - connectionsUnder(lacking);
  return [
    ...lacking.map(describeUnreadable),
    ...failures.map(
      ({ organisationId, connectionId, keyId, code }) =>
        `Not re-encrypted: connection ${connectionId} of organisation ${organisationId}, key ${keyId}: ${code}.`,
    ),
    ...(left > 0 ? [`${formatQuantity(left, 'connection')} left for the next run.`] : []),
  ];
}
