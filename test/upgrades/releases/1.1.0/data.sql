-- What 1.1.0 adds, at 09:00 on 16 November 2026: schedules, runs with each outcome and two that are open,
-- cursors of each kind, failures that are due, wait or were given up, and changes that are to be pushed.

update crm_connections as connection
set
  next_sync_at = schedule.next_sync_at,
  not_before_at = schedule.not_before_at,
  sync_interval_seconds = schedule.sync_interval_seconds,
  sync_requested_at = schedule.sync_requested_at,
  last_success_at = schedule.last_success_at,
  first_failed_at = schedule.first_failed_at,
  failure_count = schedule.failure_count
from (
  values
    ('00000001-0000-4000-8000-0000000d0001'::uuid, '2026-11-16 09:05:00+00'::timestamptz, null::timestamptz, 900, '2026-11-16 08:59:00+00'::timestamptz, '2026-11-16 08:45:00+00'::timestamptz, null::timestamptz, 0),
    ('00000001-0000-4000-8000-0000000d0002', '2026-11-16 12:00:00+00', '2026-11-16 12:00:00+00', 900, null, '2026-11-01 08:00:00+00', '2026-11-01 09:00:00+00', 12),
    ('00000001-0000-4000-8000-0000000d0003', '2026-11-16 09:04:00+00', null, 3600, null, null, null, 0),
    ('00000001-0000-4000-8000-0000000d0004', '2025-06-01 09:00:00+00', null, 900, null, '2025-05-01 00:00:00+00', null, 0),
    ('00000001-0000-4000-8000-0000000d0005', '2025-02-20 09:00:00+00', null, 900, null, null, null, 0),
    ('00000001-0000-4000-8000-0000000d0006', '2026-11-16 08:30:00+00', null, 900, null, '2026-11-15 08:00:00+00', null, 0),
    ('00000002-0000-4000-8000-0000000d0001', '2026-11-16 08:55:00+00', null, 900, null, '2026-11-16 08:00:00+00', '2026-11-16 08:20:00+00', 2),
    ('00000002-0000-4000-8000-0000000d0002', '2026-11-16 07:00:00+00', null, 900, null, null, '2026-11-15 09:00:00+00', 1)
) as schedule (id, next_sync_at, not_before_at, sync_interval_seconds, sync_requested_at, last_success_at, first_failed_at, failure_count)
where connection.id = schedule.id;

insert into crm_sync_runs (
  organisation_id,
  connection_id,
  id,
  worker,
  started_at,
  heartbeat_at,
  expires_at,
  ended_at,
  outcome,
  error,
  batch_number,
  success_count,
  skipped_count,
  error_count
)
overriding system value
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 1, 'test:1', '2026-11-16 08:00:00+00', '2026-11-16 08:01:00+00', '2026-11-16 08:06:00+00', '2026-11-16 08:01:00+00', 'failed', '{"kind": "network", "retryable": true, "message": "No answer."}', 0, 0, 0, 0),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 2, 'test:1', '2026-11-16 08:30:00+00', '2026-11-16 08:45:00+00', '2026-11-16 08:50:00+00', '2026-11-16 08:45:00+00', 'success', null, 4, 310, 80, 3),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 3, 'test:2', '2026-11-16 08:58:00+00', '2026-11-16 08:59:00+00', '2026-11-16 09:05:00+00', null, null, null, 1, 10, 0, 3),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0002', 4, 'test:1', '2026-11-16 06:00:00+00', '2026-11-16 06:00:00+00', '2026-11-16 06:05:00+00', '2026-11-16 06:06:00+00', 'abandoned', null, 0, 0, 0, 0),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0003', 5, 'test:3', '2026-11-16 08:59:00+00', '2026-11-16 08:59:00+00', '2026-11-16 09:04:00+00', null, null, null, 0, 0, 0, 0),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0004', 6, 'test:1', '2025-06-01 08:59:00+00', '2025-06-01 08:59:00+00', '2025-06-01 09:04:00+00', '2025-06-01 09:00:00+00', 'cancelled', null, 0, 0, 0, 0),
  ('00000002-0000-4000-8000-000000000000', '00000002-0000-4000-8000-0000000d0001', 7, 'test:4', '2026-11-16 08:50:00+00', '2026-11-16 08:50:00+00', '2026-11-16 08:55:00+00', null, null, null, 2, 5, 0, 0);

insert into crm_sync_cursors (
  organisation_id,
  connection_id,
  direction,
  entity_type,
  kind,
  synced_to_at,
  token,
  page,
  version,
  moved_at
)
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'inbound', 'contact', 'timestamp', '2026-11-16 08:45:00.123456+00', null, null, 3, '2026-11-16 08:59:00+00'),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'inbound', 'applicant', 'token', '2026-11-16 08:50:00+00', 'next=Ω', null, 2, '2026-11-16 08:59:00+00'),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'inbound', 'vendor', 'page', null, null, 7, 1, '2026-11-16 08:59:00+00'),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'inbound', 'landlord', null, null, null, null, 2, '2026-11-16 08:40:00+00'),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'outbound', 'contact', 'timestamp', '2026-11-16 08:00:00+00', null, null, 1, '2026-11-16 08:00:00+00'),
  ('00000002-0000-4000-8000-000000000000', '00000002-0000-4000-8000-0000000d0001', 'inbound', 'contact', 'timestamp', '2026-11-16 08:00:00+00', null, null, 9, '2026-11-16 08:52:00+00');

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
  gave_up_at
)
overriding system value
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'inbound', 'contact', 'due', 1, 2, '{"kind": "validation", "retryable": true, "message": "No name."}', '2026-11-16 08:00:00+00', '2026-11-16 08:30:00+00', '2026-11-16 08:58:00+00', null),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'inbound', 'contact', 'waiting', 2, 5, '{"kind": "timeout", "retryable": true, "message": "No answer."}', '2026-11-16 07:00:00+00', '2026-11-16 08:59:00+00', '2026-11-16 10:00:00+00', null),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'inbound', 'landlord', 'given-up', 3, 1, '{"kind": "validation", "retryable": false, "message": "No name."}', '2026-11-16 07:00:00+00', '2026-11-16 07:00:00+00', null, '2026-11-16 07:00:00+00'),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0001', 'outbound', 'contact', '00000001-0000-4000-8000-0000000c0003', 4, 1, '{"kind": "rate_limited", "retryable": true, "message": "Later.", "code": "429"}', '2026-11-16 08:59:00+00', '2026-11-16 08:59:00+00', '2026-11-16 09:01:00+00', null),
  ('00000002-0000-4000-8000-000000000000', '00000002-0000-4000-8000-0000000d0001', 'inbound', 'contact', 'due', 5, 1, '{"kind": "conflict", "retryable": true, "message": "Taken."}', '2026-11-16 08:52:00+00', '2026-11-16 08:52:00+00', '2026-11-16 08:53:00+00', null);

insert into crm_outbound_changes (
  organisation_id,
  contact_id,
  connection_id,
  version,
  first_changed_at,
  last_changed_at,
  attempts,
  next_attempt_at,
  is_announced
)
overriding system value
values
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000c0001', '00000001-0000-4000-8000-0000000d0001', 1, '2026-11-16 08:00:00+00', '2026-11-16 08:57:00+00', 1, '2026-11-16 08:58:00+00', true),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000c0002', '00000001-0000-4000-8000-0000000d0003', 2, '2026-11-16 08:57:00+00', '2026-11-16 08:57:00+00', 0, '2026-11-16 08:57:00+00', false),
  ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000c0005', '00000001-0000-4000-8000-0000000d0004', 3, '2025-06-01 09:00:00+00', '2025-06-01 09:00:00+00', 0, '2025-06-01 09:00:00+00', false),
  ('00000002-0000-4000-8000-000000000000', '00000002-0000-4000-8000-0000000c0001', '00000002-0000-4000-8000-0000000d0001', 4, '2026-11-16 08:57:00+00', '2026-11-16 08:57:00+00', 0, '2026-11-16 08:57:00+00', false);

select setval(pg_get_serial_sequence('crm_sync_runs', 'id'), max(id)) from crm_sync_runs;
select setval(pg_get_serial_sequence('crm_sync_failures', 'id'), max(id)) from crm_sync_failures;
select setval(pg_get_serial_sequence('crm_outbound_changes', 'version'), max(version)) from crm_outbound_changes;
