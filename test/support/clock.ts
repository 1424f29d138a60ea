import type pg from 'pg';
import { withClient } from '../../dev/database.js';

/** The time at which a stopped clock starts. */
export const nine = '2026-11-16T09:00:00.000000Z';

/** A client whose time stands still until a test moves it. */
export class Clock {
  #now = new Date(nine);
  readonly client: pg.Client;

  constructor(client: pg.Client) {
    this.client = client;
  }

  async set(): Promise<void> {
    await this.client.query("select set_config('crm_schema.now', $1, false)", [this.#now.toISOString()]);
  }

  async pass(seconds: number): Promise<void> {
    this.#now = new Date(this.#now.getTime() + seconds * 1000);
    await this.set();
  }
}

/** Runs `work` on a client whose time is stopped at 16 November 2026, 09:00. */
export async function atNine(
  url: string,
  work: (client: pg.Client, clock: Clock) => Promise<void>,
): Promise<void> {
  await withClient(url, async (client) => {
    const clock = new Clock(client);
    await clock.set();
    await work(client, clock);
  });
}
