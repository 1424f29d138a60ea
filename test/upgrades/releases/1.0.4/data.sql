-- What a 1.0.4 installation holds: three tenants, the third of which uses nothing; each status, provider
-- and kind of event; events of months that have a partition and of years that have none.

insert into organisations (id, name)
values
  ('00000001-0000-4000-8000-000000000000', 'Test Agency One'),
  ('00000002-0000-4000-8000-000000000000', 'Test Agency Two'),
  ('00000003-0000-4000-8000-000000000000', 'Test Agency Three');

insert into contacts (id, organisation_id, name)
select
  format('0000000%s-0000-4000-8000-0000000c000%s', agency, person)::uuid,
  format('0000000%s-0000-4000-8000-000000000000', agency)::uuid,
  format('Test Person %s', person)
from generate_series(1, 3) as agency
cross join generate_series(1, 7) as person;

insert into crm_connections (
  organisation_id,
  id,
  provider,
  status,
  status_reason,
  status_changed_at,
  credentials,
  credentials_version,
  credentials_expires_at,
  last_synced_at,
  connected_at,
  disconnected_at
)
select
  organisation_id,
  id,
  provider,
  status,
  reason,
  coalesce(disconnected_at, '2025-03-01 10:00:00+00'),
  -- A JWE by its shape, which is all that the database can tell.
  case
    when status <> 'disconnected'
      then jsonb_build_object(
        'protected', 'eyJhbGciOiJBMjU2S1ciLCJlbmMiOiJBMjU2R0NNIn0',
        'header', jsonb_build_object('kid', key_id),
        'encrypted_key', repeat('k', 54),
        'iv', repeat('i', 16),
        'ciphertext', repeat('c', 80),
        'tag', repeat('t', 22),
        'aad', crm_credentials_aad(organisation_id, id, provider)
      )
  end,
  version,
  expires_at,
  last_synced_at,
  '2025-02-01 08:30:00.123456+00',
  disconnected_at
from (
  values
    ('00000001-0000-4000-8000-000000000000'::uuid, '00000001-0000-4000-8000-0000000d0001'::uuid, 'reapit', 'active', null, 'key-1', 7, '2026-11-16 10:00:00+00'::timestamptz, '2026-11-16 08:45:00.123456+00'::timestamptz, null::timestamptz),
    ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0002', 'alto', 'error', 'The client secret has expired.', 'key-1', 1, null, '2026-11-01 08:00:00+00', null),
    ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0003', 'street', 'active', null, 'key-2', 1, null, null, null),
    ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0004', 'agentos', 'disconnected', 'Replaced by Reapit.', null, 2, null, '2025-05-01 00:00:00+00', '2025-06-01 09:00:00+00'),
    ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0005', 'reapit', 'disconnected', null, null, 3, null, null, '2025-02-20 09:00:00+00'),
    ('00000001-0000-4000-8000-000000000000', '00000001-0000-4000-8000-0000000d0006', 'custom', 'active', null, 'key-2', 2, null, '2026-11-15 08:00:00+00', null),
    ('00000002-0000-4000-8000-000000000000', '00000002-0000-4000-8000-0000000d0001', 'reapit', 'active', null, 'key-1', 1, null, '2026-11-16 08:00:00+00', null),
    ('00000002-0000-4000-8000-000000000000', '00000002-0000-4000-8000-0000000d0002', 'loop', 'error', 'Access was withdrawn.', 'key-2', 1, null, null, null)
) as connection (organisation_id, id, provider, status, reason, key_id, version, expires_at, last_synced_at, disconnected_at);

-- Each connection that ever synced, in months before the first partition, in those that have one, and
-- far beyond the last.
insert into crm_sync_log (
  organisation_id,
  connection_id,
  occurred_at,
  direction,
  entity_type,
  external_id,
  internal_id,
  status,
  error
)
select
  connection.organisation_id,
  connection.id,
  date_trunc('month', now(), 'UTC') + make_interval(months => months, mins => event.number),
  event.direction,
  event.entity_type,
  event.external_id,
  case
    when event.person is not null
      then format('%s-0000-4000-8000-0000000c000%s', left(connection.organisation_id::text, 8), event.person)::uuid
  end,
  event.status,
  event.error
from crm_connections as connection
cross join unnest(array[-14, -1, 0, 1, 3, 30]) as months
cross join (
  values
    (1, 'inbound', 'contact', 'OXF1', 1, 'success', null::jsonb),
    (2, 'inbound', 'applicant', 'OXF2', 2, 'skipped', null),
    (3, 'outbound', 'contact', null, 3, 'error', '{"kind": "validation", "retryable": false, "message": "No surname.", "code": "422"}'),
    (4, 'inbound', 'contact', null, null, 'error', '{"kind": "auth", "retryable": false, "message": "Token refused."}'),
    (4, 'inbound', 'landlord', 'OXF9', null, 'error', '{"kind": "timeout", "retryable": true, "message": "No answer."}')
) as event (number, direction, entity_type, external_id, person, status, error)
where connection.id <> '00000001-0000-4000-8000-0000000d0003'
order by
  connection.organisation_id,
  connection.id,
  months,
  event.number,
  event.entity_type;

insert into contact_external_ids (
  organisation_id,
  provider,
  entity_type,
  external_id,
  contact_id,
  first_seen_at,
  last_seen_at
)
values
  ('00000001-0000-4000-8000-000000000000', 'reapit', 'contact', 'OXF1', '00000001-0000-4000-8000-0000000c0001', '2025-02-01 09:00:00+00', '2026-11-16 08:00:00+00'),
  ('00000001-0000-4000-8000-000000000000', 'reapit', 'applicant', 'oxf1', '00000001-0000-4000-8000-0000000c0002', '2025-02-01 09:00:00+00', '2025-02-01 09:00:00+00'),
  ('00000001-0000-4000-8000-000000000000', 'reapit', 'contact', 'OXF3', '00000001-0000-4000-8000-0000000c0003', '2025-02-01 09:00:00+00', '2025-02-01 09:00:00+00'),
  ('00000001-0000-4000-8000-000000000000', 'alto', 'contact', '1', '00000001-0000-4000-8000-0000000c0001', '2025-02-01 09:00:00+00', '2025-02-01 09:00:00+00'),
  ('00000001-0000-4000-8000-000000000000', 'agentos', 'contact', 'Ω 1', '00000001-0000-4000-8000-0000000c0004', '2025-02-01 09:00:00+00', '2025-02-01 09:00:00+00'),
  ('00000002-0000-4000-8000-000000000000', 'reapit', 'contact', 'OXF1', '00000002-0000-4000-8000-0000000c0001', '2025-02-01 09:00:00+00', '2025-02-01 09:00:00+00');
