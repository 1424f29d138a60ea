import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { inject } from 'vitest';
import { projectPath } from '../../dev/database.js';

/** How a run of the command ended. */
export interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

/**
 * Starts `crm-schema` in its own process.
 *
 * @param env is added to this process's environment, without the variables that the command reads
 * @param program another program: its path, after Node's own arguments
 */
export function startCli(
  args: readonly string[],
  env: Record<string, string | undefined> = {},
  program = [inject('command')],
) {
  const { DATABASE_URL: _, CRM_SCHEMA_KEYS: __, NODE_ENV: ___, ...inherited } = process.env;
  const child = spawn(process.execPath, [...program, ...args], {
    cwd: projectPath('.'),
    env: { ...inherited, ...env },
  });
  const ended = (async (): Promise<Run> => {
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text;
    });
    const [code] = await once(child, 'close');
    return { code, stdout, stderr };
  })();
  return { child, ended };
}

/** Runs `crm-schema` and waits until it exits. */
export function runCli(...call: Parameters<typeof startCli>): Promise<Run> {
  return startCli(...call).ended;
}
