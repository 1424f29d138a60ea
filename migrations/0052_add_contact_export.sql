-- Up Migration
--
-- Purpose: finds the conflicts of a contact, for the export of all that is kept of a person, and for their erasure.
-- Locks:   crm_sync_conflicts SHARE: writes wait until the index is built. It is tried for a tenth of a second at a time,
--          up to a hundred times. Before that, SHARE UPDATE EXCLUSIVE waits for vacuum.
-- Scans:   crm_sync_conflicts, to build the index: a fraction of a second for 100,000 conflicts.
-- Down:    drops the index (crm_sync_conflicts ACCESS EXCLUSIVE). Loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_conflicts']::regclass[]);

-- The contact first: it alone names few rows, whatever the planner knows of the table.
select crm_run_in_schema($create$
create index crm_sync_conflicts_contact_id_idx
  on %1$I.crm_sync_conflicts (contact_id, organisation_id)
$create$);

comment on index crm_sync_conflicts_contact_id_idx is
  'Finds the conflicts of a person, to export or erase them.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

select crm_require_schema(current_schema());

select crm_wait_for_vacuum(array['crm_sync_conflicts']::regclass[]);

select crm_run_in_schema('drop index %1$I.crm_sync_conflicts_contact_id_idx');
