import type { Table } from './schema.js';

/** Tables that belong together, in one frame of the diagram. */
export interface Group {
  title: string;
  /** For the colours of the frame. */
  id: string;
  /** The first column of the diagram that it covers. */
  column: number;
  /** One stack of tables for each column that it covers. */
  stacks: Table[][];
}

interface Plan {
  title: string;
  id: string;
  column: number;
  stacks: string[][];
}

/** From top to bottom: each goes as high as its columns allow. */
const plans: readonly Plan[] = [
  {
    title: 'Identity',
    id: 'identity',
    column: 0,
    stacks: [['contact_external_ids', 'contact_external_id_aliases', 'contact_external_id_archive']],
  },
  { title: 'Host tables', id: 'host', column: 1, stacks: [['contacts', 'organisations']] },
  {
    title: 'History',
    id: 'history',
    column: 2,
    stacks: [['crm_sync_log', 'contact_external_id_changes', 'crm_retention']],
  },
  {
    title: 'Work',
    id: 'work',
    column: 0,
    stacks: [['crm_outbound_changes', 'crm_record_requests', 'crm_sync_failures', 'crm_sync_conflicts']],
  },
  {
    title: 'Schedule',
    id: 'schedule',
    column: 1,
    stacks: [['crm_connections'], ['crm_sync_runs', 'crm_sync_cursors', 'crm_rate_limits']],
  },
  {
    title: 'Erasure',
    id: 'erasure',
    column: 2,
    stacks: [['crm_erasures', 'crm_erased_records', 'crm_erasure_salts']],
  },
];

export const columnCount = 3;

/** Puts every table into its group; those that no group names go into one at the bottom. */
export function groupsOf(tables: readonly Table[]): Group[] {
  const table = (name: string) => tables.filter((candidate) => candidate.name === name);
  const groups = plans.map((plan) => ({ ...plan, stacks: plan.stacks.map((names) => names.flatMap(table)) }));
  const named = plans.flatMap(({ stacks }) => stacks.flat());
  const others = tables.filter(({ name }) => !named.includes(name));
  if (others.length === 0) return groups;
  const stacks = Array.from({ length: Math.min(columnCount, others.length) }, (_, column) =>
    others.filter((_, index) => index % columnCount === column),
  );
  return [...groups, { title: 'Other', id: 'other', column: 0, stacks }];
}
