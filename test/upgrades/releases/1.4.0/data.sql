-- What 1.4.0 adds: accounts, what is known of records at the CRMs, further ids, ids of another account, and the
-- history of a merge, of a record that the CRM merged, of a deleted contact and of an id that was unlinked.

update crm_connections
set account = case provider when 'reapit' then 'SBOX' else 'test-agency' end
where organisation_id = '00000001-0000-4000-8000-000000000000'
  and id in ('00000001-0000-4000-8000-0000000d0001', '00000001-0000-4000-8000-0000000d0004');

update contact_external_ids as mapping
set
  remote_state = known.state,
  remote_version = known.version,
  remote_modified_at = known.modified_at,
  content_hash = known.hash,
  pushed_at = known.pushed_at
from (
  values
    ('contact', 'OXF1', 'active', '"1"', '2026-11-16 08:00:00+00'::timestamptz, decode(repeat('0a', 32), 'hex'), null::timestamptz),
    ('applicant', 'oxf1', 'deleted', null, null, null, null),
    ('contact', 'OXF3', 'archived', '"7"', '2026-11-15 08:00:00+00', decode(repeat('0b', 32), 'hex'), '2026-11-15 08:00:01+00')
) as known (entity_type, external_id, state, version, modified_at, hash, pushed_at)
where mapping.organisation_id = '00000001-0000-4000-8000-000000000000'
  and mapping.provider = 'reapit'
  and mapping.entity_type = known.entity_type
  and mapping.external_id = known.external_id;

insert into contact_external_id_aliases (
  organisation_id,
  provider,
  entity_type,
  external_id,
  contact_id,
  first_seen_at,
  last_seen_at,
  remote_state,
  merged_into_entity_type,
  merged_into_external_id
)
values
  ('00000001-0000-4000-8000-000000000000', 'reapit', 'contact', 'OXF1-old', '00000001-0000-4000-8000-0000000c0001', '2026-10-01 09:00:00+00', '2026-11-01 09:00:00+00', 'merged', 'contact', 'OXF1'),
  ('00000001-0000-4000-8000-000000000000', 'reapit', 'landlord', 'OXF1-L', '00000001-0000-4000-8000-0000000c0001', '2026-10-01 09:00:00+00', '2026-11-16 08:00:00+00', 'active', null, null),
  ('00000001-0000-4000-8000-000000000000', 'agentos', 'contact', 'Ω 2', '00000001-0000-4000-8000-0000000c0004', '2026-10-02 09:00:00+00', '2026-11-16 08:00:00+00', 'active', null, null);

insert into contact_external_id_archive (
  organisation_id,
  connection_id,
  entity_type,
  external_id,
  contact_id,
  is_primary,
  first_seen_at,
  last_seen_at,
  remote_state,
  archived_at
)
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0005', 'contact', 'OXF1', '00000001-0000-4000-8000-0000000c0007', true, '2025-01-01 09:00:00+00', '2025-02-01 09:00:00+00', 'active', '2025-02-20 09:00:00+00');

insert into contact_external_id_changes (
  organisation_id,
  id,
  operation_id,
  kind,
  provider,
  entity_type,
  external_id,
  connection_id,
  from_contact_id,
  to_contact_id,
  was_primary,
  is_primary,
  linked_at,
  changed_at,
  changed_by,
  reason
)
overriding system value
values
  ('00000001-0000-4000-8000-000000000000', 1, '00000001-0000-4000-8000-0000000f0001', 'contacts_merged', null, null, null, null, '00000001-0000-4000-8000-0000000c0006', '00000001-0000-4000-8000-0000000c0004', null, null, null, '2026-11-02 09:00:00+00', 'test', 'The same person.'),
  ('00000001-0000-4000-8000-000000000000', 2, '00000001-0000-4000-8000-0000000f0001', 'contacts_merged', 'agentos', 'contact', 'Ω 2', null, '00000001-0000-4000-8000-0000000c0006', '00000001-0000-4000-8000-0000000c0004', true, false, '2026-10-02 09:00:00+00', '2026-11-02 09:00:00+00', 'test', 'The same person.'),
  ('00000001-0000-4000-8000-000000000000', 3, '00000001-0000-4000-8000-0000000f0002', 'records_merged', 'reapit', 'contact', 'OXF1-old', '00000001-0000-4000-8000-0000000d0001', '00000001-0000-4000-8000-0000000c0001', '00000001-0000-4000-8000-0000000c0001', false, false, '2026-10-01 09:00:00+00', '2026-11-01 09:00:00+00', 'test:1', 'The CRM merged the records.'),
  ('00000001-0000-4000-8000-000000000000', 4, '00000001-0000-4000-8000-0000000f0003', 'contact_deleted', 'reapit', 'contact', 'OXF8', '00000001-0000-4000-8000-0000000d0001', '00000001-0000-4000-8000-0000000c0009', null, true, null, '2025-02-01 09:00:00+00', '2026-11-03 09:00:00+00', 'test', null),
  ('00000001-0000-4000-8000-000000000000', 5, '00000001-0000-4000-8000-0000000f0004', 'unlinked', 'alto', 'contact', '2', '00000001-0000-4000-8000-0000000d0002', '00000001-0000-4000-8000-0000000c0005', null, true, null, '2025-02-01 09:00:00+00', '2026-11-04 09:00:00+00', 'test', 'A wrong id.');

insert into crm_sync_log (
  organisation_id,
  connection_id,
  occurred_at,
  direction,
  entity_type,
  external_id,
  internal_id,
  status,
  reason
)
select
  '00000001-0000-4000-8000-000000000000',
  '00000001-0000-4000-8000-0000000d0001',
  date_trunc('month', now(), 'UTC') + make_interval(mins => 10 + position::integer),
  'inbound',
  'contact',
  'OXF1',
  '00000001-0000-4000-8000-0000000c0001',
  'skipped',
  reason
from unnest(array['echo', 'unchanged', 'older', 'pending_push', 'no_consent', 'merged', 'erased'])
  with ordinality as skipped (reason, position);

select setval(pg_get_serial_sequence('contact_external_id_changes', 'id'), 5);
