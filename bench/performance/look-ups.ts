import {
  contactExternalIdResolve,
  contactExternalIdResolveOne,
} from '../../src/generated/contact_external_ids.js';
import { createTenant } from './fleet.js';
import { type Row, timed } from './harness.js';
import { askDrizzle, askKysely, askPgbench, askPostgresJs, type Question } from './look-up-peers.js';
import type { Scope } from './scope.js';

/** What it costs to find the contact of one external id, and of 500. */
export async function* lookUps(scope: Scope): AsyncGenerator<Row> {
  const { ours, size } = scope.bench;
  const { calls, mappings, rounds } = size;
  const { client, url } = await scope.database(ours);
  const { organisationId } = await createTenant(client, mappings);
  await client.query(
    `insert into contact_external_ids (organisation_id, provider, entity_type, external_id, contact_id)
     select organisation_id, 'reapit', 'contact', 'OXF' || row_number() over (), id from contacts`,
  );
  await client.query('vacuum analyze');
  const anyId = () => `OXF${1 + Math.floor(Math.random() * mappings)}`;
  const manyIds = () => Array.from({ length: 500 }, anyId);

  const { contactExternalIdResolve: resolve, contactExternalIdResolveMany, withNamedStatements } = ours.api;
  const named = withNamedStatements(client);
  const record = { organisationId, provider: 'reapit', entityType: 'contact' } as const;
  const questionOf = ({ text, parameterNames }: { text: string; parameterNames: string[] }): Question => ({
    ...record,
    text,
    values(externalIds) {
      const given: Record<string, unknown> = { ...record, externalIds, externalId: externalIds[0] };
      return parameterNames.map((name) => given[name]);
    },
  });
  const [question, ofMany] = [contactExternalIdResolveOne, contactExternalIdResolve].map(questionOf) as [
    Question,
    Question,
  ];
  const { text } = question;
  const drizzle = await scope.peer('drizzle-orm', () => askDrizzle(scope, url, question));
  const kysely = await scope.peer('kysely', () => askKysely(scope, url, question));
  const postgresJs = await scope.peer('postgres', () => askPostgresJs(scope, url, question));
  const postgresJsForMany = await scope.peer('postgres', () => askPostgresJs(scope, url, ofMany));
  yield {
    work: 'find the contact of one external id',
    unit: 'ms',
    rounds,
    ours: timed(calls, () => resolve(named, { ...record, externalId: anyId() })),
    beside: [
      {
        name: 'pg: the same statement, named',
        goal: { ratio: 0.97 },
        way: timed(calls, () => client.query({ name: 'raw', text, values: question.values([anyId()]) })),
      },
      {
        name: 'pg: the same statement, plain',
        way: timed(calls, () => client.query({ text, values: question.values([anyId()]) })),
      },
      scope.besidePeer('drizzle-orm', '', drizzle && timed(calls, () => drizzle.find([anyId()])), {
        ratio: 2,
      }),
      scope.besidePeer(
        'drizzle-orm',
        ', .prepare()',
        drizzle && timed(calls, () => drizzle.findPrepared(anyId())),
        {
          ratio: 1,
        },
      ),
      scope.besidePeer(
        'postgres',
        ': the same statement',
        postgresJs && timed(calls, () => postgresJs([anyId()])),
        {
          ratio: 1,
        },
      ),
      await askPgbench(scope, url, question),
    ],
  };
  const fewer = Math.ceil(calls / 10);
  yield {
    work: 'find the contacts of 500 external ids',
    unit: 'ms',
    rounds,
    ours: timed(fewer, () => contactExternalIdResolveMany(named, { ...record, externalIds: manyIds() })),
    beside: [
      scope.besidePeer(
        'postgres',
        ': the same statement',
        postgresJsForMany && timed(fewer, () => postgresJsForMany(manyIds())),
        {
          ratio: 1,
        },
      ),
      scope.besidePeer('kysely', '', kysely && timed(fewer, () => kysely(manyIds())), { ratio: 1.5 }),
      scope.besidePeer('drizzle-orm', '', drizzle && timed(fewer, () => drizzle.find(manyIds())), {
        ratio: 1.5,
      }),
      {
        name: 'itself, one by one',
        goal: { ratio: 15 },
        way: timed(1, async () => {
          for (const externalId of manyIds()) await resolve(named, { ...record, externalId });
        }),
      },
    ],
  };
}
