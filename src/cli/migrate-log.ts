import type { MigrationPlan, MigrationProgress, MigrationResult } from '../migrations.js';
import type { BlockingSessions } from '../statements/blocking-sessions.js';
import { sqlStates } from '../statements/sqlstates.js';
import { formatQuantity } from './numbers.js';
import { printMessage } from './text.js';
import { formatElapsed, formatSeconds } from './times.js';

/** The part of standard error that is used. */
type Stream = Pick<NodeJS.WriteStream, 'write' | 'isTTY'>;

/** How often to show how long something has taken, in milliseconds: on a terminal, and in a log. */
const elapsedIntervals = { terminal: 200, log: 10_000 };

/** Reports the progress of migrating on standard error, one line per step, and records what is done. */
export class MigrationLog {
  /** The migrations that were applied or reverted. */
  readonly finished: MigrationResult['migrations'] = [];
  readonly #verb: string;
  readonly #stream: Stream;
  readonly #start = Date.now();
  #plan: MigrationPlan | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param verb the word for a finished migration: `applied` */
  constructor(verb: string, stream: Stream = process.stderr) {
    this.#verb = verb;
    this.#stream = stream;
  }

  /** `11 migrations in 0:03` */
  get summary(): string {
    return `${formatQuantity(this.finished.length, 'migration')} in ${formatSeconds(Date.now() - this.#start)}`;
  }

  /** `schema public is up to date` */
  get currentState(): string {
    return `schema ${this.#plan?.schema} is up to date`;
  }

  /** Reports one step. */
  async report(progress: MigrationProgress, sessions: BlockingSessions): Promise<void> {
    switch (progress.step) {
      case 'waiting':
        this.#writeLine(`Waiting for another migrator: ${await sessions.describe(progress.pids)}.`);
        this.#showElapsed('Waiting for another migrator');
        break;
      case 'planned':
        this.#plan = progress.plan;
        this.end();
        break;
      case 'rehearsing':
        this.#showElapsed('Checking that all of it can be reverted');
        break;
      case 'started':
        this.#showElapsed(this.#label(progress.name));
        break;
      case 'retrying': {
        const { name, attempt, attempts, pause, cause } = progress;
        const { code, message } = cause as { code?: string; message: string };
        const reason =
          code === sqlStates.lockNotAvailable ? `no lock in time, blocked by ${sessions.last}` : message;
        const next = `attempt ${attempt + 1} of ${attempts} in ${formatSeconds(pause)}`;
        this.#writeLine(`${this.#label(name)}: ${reason}; ${next}`);
        this.#showElapsed(this.#label(name));
        break;
      }
      case 'finished': {
        const { name, milliseconds } = progress;
        this.finished.push({ name, milliseconds });
        this.#writeLine(`${this.#label(name)}: ${this.#verb} in ${formatSeconds(milliseconds)}`);
      }
    }
  }

  /** Stops reporting. */
  end(): void {
    clearInterval(this.#timer);
    if (this.#stream.isTTY) this.#stream.write('\r\x1b[K');
  }

  /** `[ 3/11] 0003_create_crm_sync_log` */
  #label(name: string): string {
    const names = this.#plan?.migrations.map((migration) => migration.name) ?? [];
    const total = String(names.length);
    return `[${String(names.indexOf(name) + 1).padStart(total.length)}/${total}] ${name}`;
  }

  /** Reports at intervals how long something has taken so far. */
  #showElapsed(activity: string): void {
    this.end();
    const start = Date.now();
    const { isTTY } = this.#stream;
    const writeElapsed = () => {
      const text = `${activity}: ${formatElapsed(Date.now() - start)}`;
      this.#stream.write(isTTY ? `\r\x1b[K${text}` : `${text}\n`);
    };
    if (isTTY) writeElapsed();
    this.#timer = setInterval(writeElapsed, isTTY ? elapsedIntervals.terminal : elapsedIntervals.log);
  }

  #writeLine(text: string): void {
    this.end();
    printMessage(text, this.#stream);
  }
}
