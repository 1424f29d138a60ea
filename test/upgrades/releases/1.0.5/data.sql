-- What 1.0.5 adds: credentials that were refreshed, and put under another key.

update crm_connections
set
  credentials = jsonb_set(credentials, '{header,kid}', '"key-3"'),
  credentials_version = credentials_version + 1,
  credentials_expires_at = '2026-11-16 09:30:00+00'
where organisation_id = '00000002-0000-4000-8000-000000000000'
  and provider = 'loop';
