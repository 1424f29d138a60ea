import { readFile } from 'node:fs/promises';
import type { ClientBase } from 'pg';
import { projectPath } from '../database.js';
import { page, runIdentityPage } from './identity-page.js';

/** A record at a CRM, after the code of docs/identity.md has run. */
interface DrawnRecord {
  provider: string;
  entityType: string;
  externalId: string;
  contact: string;
  account: string;
  isPrimary: boolean;
  isArchived: boolean;
  state: string;
  mergedInto: string | null;
  echoes: string;
}

const crmNames: Record<string, string> = { agentos: 'agentOS', alto: 'Alto', reapit: 'Reapit' };

/** Runs the code of docs/identity.md, and returns the records that are there afterwards as a graph. */
export async function identityGraph(client: ClientBase): Promise<string> {
  const organisationId = await runIdentityPage(await readFile(projectPath(page), 'utf8'), client);
  const { rows: records } = await client.query<DrawnRecord>(recordsOf, [organisationId]);
  const { rows: merges } = await client.query<{ gone: string; remaining: string }>(mergesOf, [
    organisationId,
  ]);
  const accountOf = ({ provider, account }: DrawnRecord) =>
    `${crmNames[provider]}\\naccount ${account.length > 20 ? `…${account.slice(-4)}` : account}`;
  const accounts = [...new Set(records.map(accountOf))];
  const people = [...new Set(records.map(({ contact }) => contact))];
  return [
    'digraph {',
    'graph [rankdir=LR, ranksep=1.1, nodesep=0.25, fontsize=12]',
    ...accounts.flatMap((label, index) => [
      `subgraph cluster_${index} {`,
      `graph [label="${label}", style="rounded", color="#57606a", margin=12]`,
      ...records
        .filter((record) => accountOf(record) === label)
        .map((record) => `"${nodeOf(record)}" [class=${classOf(record)}, label="${labelOf(record)}"]`),
      '}',
    ]),
    '{ rank=same',
    ...people.map((name) => `"${name}" [class=outside]`),
    ...merges.map(({ gone }) => `"${gone}" [class=outside, style="filled,dashed"]`),
    '}',
    ...records.map(
      (record) => `"${nodeOf(record)}" -> "${record.contact}"${record.isArchived ? ' [style=dotted]' : ''}`,
    ),
    ...records
      .filter(({ mergedInto }) => mergedInto !== null)
      .map(
        (record) =>
          `"${nodeOf(record)}" -> "${nodeOf({ ...record, externalId: record.mergedInto as string })}" [label="merged into", constraint=false]`,
      ),
    ...merges.map(
      ({ gone, remaining }) => `"${gone}" -> "${remaining}" [label="merged into", constraint=false]`,
    ),
    '}',
  ].join('\n');
}

const nodeOf = ({ provider, account, externalId }: DrawnRecord) => `${provider} ${account} ${externalId}`;

function classOf({ isArchived, isPrimary, state }: DrawnRecord): string {
  if (isArchived) return 'archived';
  if (state === 'deleted') return 'tombstone';
  return isPrimary ? 'primary' : 'alias';
}

function labelOf({ entityType, externalId, isPrimary, isArchived, state, echoes }: DrawnRecord): string {
  const notes = [
    isPrimary ? 'primary id' : 'alias',
    ...(state === 'active' ? [] : [state === 'deleted' ? 'tombstone' : state]),
    ...(isArchived ? ['in the archive'] : []),
    ...(echoes === '0' ? [] : ['pushed, came back: echo']),
  ];
  return `${entityType} ${externalId}\\n${notes.join(', ')}`;
}

const recordsOf = `
  select
    record.provider,
    entity_type as "entityType",
    external_id as "externalId",
    contacts.name as contact,
    account,
    is_primary as "isPrimary",
    is_archived as "isArchived",
    remote_state as state,
    merged_into_external_id as "mergedInto",
    (
      select count(*)
      from crm_sync_log
      where crm_sync_log.organisation_id = $1
        and crm_sync_log.external_id = record.external_id
        and crm_sync_log.reason = 'echo'
    ) as echoes
  from (
    select
      records.provider, entity_type, external_id, contact_id, account, is_primary, false as is_archived,
      remote_state, merged_into_external_id
    from contact_external_records as records
    inner join crm_connections
      on crm_connections.organisation_id = records.organisation_id
      and crm_connections.provider = records.provider
      and crm_connections.status <> 'disconnected'
    where records.organisation_id = $1
    union all
    select
      provider, entity_type, external_id, contact_id, account, is_primary, true,
      remote_state, merged_into_external_id
    from contact_external_id_archive as archive
    inner join crm_connections
      on crm_connections.organisation_id = archive.organisation_id
      and crm_connections.id = archive.connection_id
    where archive.organisation_id = $1
  ) as record
  inner join contacts
    on contacts.id = record.contact_id
  order by record.provider desc, account, entity_type desc, external_id`;

/** The merges of contacts that were not undone. */
const mergesOf = `
  select gone.name as gone, remaining.name as remaining
  from contact_external_id_changes as change
  inner join contacts as gone
    on gone.id = from_contact_id
  inner join contacts as remaining
    on remaining.id = to_contact_id
  where change.organisation_id = $1
    and kind = 'contacts_merged'
    and provider is null
    and undone_by is null`;
