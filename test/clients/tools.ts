import { EntitySchema, type Knex, MikroORM } from '@mikro-orm/postgresql';
import { drizzle } from 'drizzle-orm/node-postgres';
import knex from 'knex';
import { CompiledQuery, Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import postgres from 'postgres';
import { DataSource } from 'typeorm';
import { clientOf, fromPostgresJs, shareClients } from '../../src/clients.js';
import type { Queryable } from '../../src/index.js';

/** A library with one connection, opened as in examples/clients. */
export interface Tool {
  /** Runs `work` in a transaction of the library. */
  transaction<Result>(work: (client: Queryable) => Promise<Result>): Promise<Result>;
  end(): Promise<unknown>;
}

/** Those that report a transaction as committed in which a statement failed, as docs/clients.md names them. */
export const unreported = ['Drizzle', 'Knex', 'MikroORM 6', 'Prisma', 'TypeORM'];

const sharedPool = (connectionString: string) => shareClients(new pg.Pool({ connectionString, max: 1 }));

export const tools: Record<string, (url: string) => Promise<Tool>> = {
  async Drizzle(url) {
    const pool = sharedPool(url);
    const db = drizzle(pool);
    return {
      transaction: (work) => db.transaction(async (tx) => work(await clientOf((text) => tx.execute(text)))),
      end: () => pool.end(),
    };
  },
  async Kysely(url) {
    const db = new Kysely({ dialect: new PostgresDialect({ pool: sharedPool(url) }) });
    return {
      transaction: (work) =>
        db
          .transaction()
          .execute(async (trx) => work(await clientOf((text) => trx.executeQuery(CompiledQuery.raw(text))))),
      end: () => db.destroy(),
    };
  },
  async TypeORM(url) {
    const source = await new DataSource({ type: 'postgres', url, poolSize: 1 }).initialize();
    return {
      transaction: (work) =>
        source.transaction(async (manager) => work(await manager.queryRunner?.connect())),
      end: () => source.destroy(),
    };
  },
  async Knex(url) {
    const db = knex({ client: 'pg', connection: url, pool: { min: 0, max: 1 } });
    return {
      transaction: (work) => db.transaction(async (trx) => work(await trx.client.acquireConnection())),
      end: () => db.destroy(),
    };
  },
  async 'MikroORM 6'(url) {
    const Contact = new EntitySchema<{ id: string }>({
      name: 'Contact',
      properties: { id: { type: 'uuid', primary: true } },
    });
    const orm = await MikroORM.init({ clientUrl: url, entities: [Contact], pool: { min: 0, max: 1 } });
    return {
      transaction: (work) =>
        orm.em
          .fork()
          .transactional(async (em) =>
            work(await em.getTransactionContext<Knex.Transaction>()?.client.acquireConnection()),
          ),
      end: () => orm.close(),
    };
  },
  async 'postgres.js'(url) {
    const sql = postgres(url, { max: 1 });
    return {
      transaction: (work) =>
        // Its type unwraps the promises in arrays, which these tests do not return.
        sql.begin((tx) => work(fromPostgresJs(tx))) as ReturnType<typeof work>,
      end: () => sql.end(),
    };
  },
};
