-- What 1.5.0 adds: who wins conflicts, a pause, a first fill, a streak in which every record fails, a token that is to
-- be revoked, changes that are kept for a disconnected CRM, a dismissed failure, a push that a person has to decide, its
-- conflict, records that were asked for, and a rate limit.

-- What a trigger writes has this time.
select set_config('crm_schema.now', '2026-11-16 08:59:00+00', true);

update crm_connections
set conflict_winner = 'person'
where id = '00000001-0000-4000-8000-0000000d0001';

update crm_connections
set
  paused_at = '2026-11-16 08:00:00+00',
  pause_ends_at = '2026-11-23 08:00:00+00',
  pause_reason = 'The office moves.'
where id = '00000001-0000-4000-8000-0000000d0002';

update crm_connections
set
  fill_started_at = '2026-11-16 08:00:00+00',
  fill_contact_id = '00000001-0000-4000-8000-0000000c0003',
  filled_contacts = 2
where id = '00000001-0000-4000-8000-0000000d0003';

update crm_connections
set
  kept_changes = 'waiting',
  changes_expire_at = '2026-12-16 09:00:00+00'
where id = '00000001-0000-4000-8000-0000000d0004';

update crm_connections
set
  credentials = jsonb_build_object(
    'protected', 'eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0',
    'header', jsonb_build_object('kid', 'key-2'),
    'encrypted_key', repeat('k', 54),
    'iv', repeat('i', 16),
    'ciphertext', repeat('c', 80),
    'tag', repeat('t', 22),
    'aad', crm_credentials_aad(organisation_id, id, provider)
  ),
  revocation = 'pending',
  revoke_before_at = '2026-11-17 09:00:00+00'
where id = '00000001-0000-4000-8000-0000000d0005';

update crm_connections
set
  credentials_excused_at = '2026-11-16 08:30:00+00',
  records_failing_at = '2026-11-16 08:40:00+00'
where id = '00000002-0000-4000-8000-0000000d0001';

-- It was opened while the connection was being paused.
insert into crm_sync_runs (
  organisation_id,
  connection_id,
  id,
  worker,
  started_at,
  heartbeat_at,
  expires_at,
  batch_number,
  success_count,
  skipped_count,
  error_count
)
overriding system value
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0002', 8, 'test:6', '2026-11-16 08:00:00+00', '2026-11-16 08:59:00+00', '2026-11-16 09:04:00+00', 0, 0, 0, 0);

insert into crm_sync_failures (
  organisation_id,
  connection_id,
  direction,
  entity_type,
  record_id,
  id,
  attempts,
  error,
  first_failed_at,
  last_failed_at,
  next_attempt_at,
  gave_up_at,
  dismissed_at,
  dismissed_by,
  dismissal_reason
)
overriding system value
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'inbound', 'contact', 'dismissed', 6, 1, '{"kind": "validation", "retryable": false, "message": "No name."}', '2026-11-16 07:00:00+00', '2026-11-16 07:00:00+00', null, null, '2026-11-16 08:00:00+00', 'support', 'Gone at the CRM.'),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'outbound', 'contact', '00000001-0000-4000-8000-0000000c0001', 7, 1, '{"kind": "conflict", "code": "edited_on_both_sides", "retryable": false, "message": "A person decides."}', '2026-11-16 08:59:00+00', '2026-11-16 08:59:00+00', null, '2026-11-16 08:59:00+00', null, null, null);

insert into crm_sync_conflicts (
  organisation_id,
  connection_id,
  entity_type,
  external_id,
  id,
  contact_id,
  kept,
  first_seen_at,
  last_seen_at,
  occurrences,
  acknowledged_at,
  acknowledged_by
)
overriding system value
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'contact', 'OXF1', 1, '00000001-0000-4000-8000-0000000c0001', 'neither', '2026-11-15 08:00:00+00', '2026-11-16 08:59:00+00', 2, null, null),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'contact', 'OXF2', 2, '00000001-0000-4000-8000-0000000c0002', 'nurturehub', '2026-11-14 08:00:00+00', '2026-11-14 08:00:00+00', 1, '2026-11-14 09:00:00+00', 'support');

insert into crm_record_requests (
  organisation_id,
  connection_id,
  entity_type,
  external_id,
  requested_at,
  claimed_run_id,
  attempts
)
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'contact', 'OXF3', '2026-11-16 08:58:30+00', 3, 1),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0003', 'contact', 'named', '2026-11-16 08:50:00+00', null, 0);

insert into crm_rate_limits (
  provider,
  scope,
  counted,
  used,
  taken_at,
  blocked_until_at,
  expires_at
)
values
  ('reapit', 'SBOX', 'requests', '{"1": {"17948195399": 3}, "86400": {"207733": 9}}', '2026-11-16 08:58:59.5+00', '2026-11-16 08:59:30+00', '2026-11-17 11:25:00+00'),
  ('loop', 'expired', 'reads', '{}', '2026-11-15 09:00:00+00', null, '2026-11-15 09:00:00+00');

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
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', date_trunc('month', now(), 'UTC') + interval '20 minutes', 'inbound', 'contact', 'OXF1', '00000001-0000-4000-8000-0000000c0001', 'skipped', 'conflict');

select setval(pg_get_serial_sequence('crm_sync_failures', 'id'), 7);
select setval(pg_get_serial_sequence('crm_sync_runs', 'id'), 8);
select setval(pg_get_serial_sequence('crm_sync_conflicts', 'id'), 2);
