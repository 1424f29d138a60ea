-- Up Migration
--
-- Purpose: where does each stream of a connection resume?
-- Locks:   crm_connections SHARE ROW EXCLUSIVE, to add the foreign key: writes wait until the end of the
--          transaction, which by default is that of all pending files.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (crm_connections and it ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table crm_sync_cursors (
  organisation_id uuid not null,
  connection_id uuid not null,
  direction text not null,
  -- Collation C, because it is opaque to us: the order of bytes never changes with the system.
  entity_type text collate "C" not null,
  kind text,
  synced_to_at timestamptz,
  token text,
  -- A page number or an offset: no CRM has two billion records of an agency.
  -- squawk-ignore prefer-bigint-over-int
  page integer,
  -- One batch a second lasts for 68 years.
  -- squawk-ignore prefer-bigint-over-int
  version integer not null default 1,
  moved_at timestamptz not null,
  constraint crm_sync_cursors_pkey
    primary key (organisation_id, connection_id, direction, entity_type),
  -- A connection with cursors is erased deliberately, never by a cascade.
  constraint crm_sync_cursors_connection_id_fkey
    foreign key (organisation_id, connection_id)
    references crm_connections (organisation_id, id)
    on delete restrict,
  constraint crm_sync_cursors_direction_check
    check (direction in ('inbound', 'outbound')),
  constraint crm_sync_cursors_entity_type_check
    check (entity_type ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint crm_sync_cursors_kind_check
    check (kind in ('timestamp', 'token', 'page')),
  constraint crm_sync_cursors_timestamp_has_synced_to_check
    check (kind is distinct from 'timestamp' or synced_to_at is not null),
  constraint crm_sync_cursors_token_iff_kind_check
    check ((kind is not distinct from 'token') = (token is not null)),
  constraint crm_sync_cursors_page_iff_kind_check
    check ((kind is not distinct from 'page') = (page is not null)),
  constraint crm_sync_cursors_beginning_has_no_synced_to_check
    check (kind is not null or synced_to_at is null),
  constraint crm_sync_cursors_token_check
    check (token <> '' and octet_length(token) <= 4096),
  constraint crm_sync_cursors_page_check
    check (page >= 0),
  constraint crm_sync_cursors_version_check
    check (version >= 1),
  constraint crm_sync_cursors_times_in_range_check
    check (
      least(synced_to_at, moved_at) >= '1900-01-01 00:00:00+00'
      and greatest(synced_to_at, moved_at) < '9999-01-01 00:00:00+00'
    )
);

comment on table crm_sync_cursors is
  'Where each stream of a connection, which is a direction and a kind of record, resumes. Moves in the transaction that records what was read, never backwards but by a reset.';
comment on column crm_sync_cursors.organisation_id is
  'The organisation (tenant) the stream belongs to.';
comment on column crm_sync_cursors.connection_id is
  'The connection that is synced.';
comment on column crm_sync_cursors.direction is
  'inbound: from the CRM to NurtureHub. outbound: the other way.';
comment on column crm_sync_cursors.entity_type is
  'What kind of record the stream holds, in the provider''s terms.';
comment on column crm_sync_cursors.kind is
  'What the CRM takes to resume: timestamp (synced_to_at), token or page. Null after a reset: from the beginning.';
comment on column crm_sync_cursors.synced_to_at is
  'Up to when everything that the CRM changed in this stream has arrived, by the CRM''s clock. Null while that is not known.';
comment on column crm_sync_cursors.token is
  'What the CRM gave to go on from: opaque, 1 to 4,096 bytes. Set exactly when kind is token.';
comment on column crm_sync_cursors.page is
  'The page or offset to go on from; begins again when synced_to_at moves on. Set exactly when kind is page.';
comment on column crm_sync_cursors.version is
  'Counts the moves, so that a writer can tell whether the cursor is still where it read it.';
comment on column crm_sync_cursors.moved_at is
  'When the cursor last moved or was reset.';
comment on constraint crm_sync_cursors_pkey on crm_sync_cursors is
  'Tenant first; one cursor per stream.';
comment on constraint crm_sync_cursors_connection_id_fkey on crm_sync_cursors is
  'Composite, so that a cursor can never belong to another organisation''s connection. On delete restrict: a connection with cursors goes through erasure.';
comment on constraint crm_sync_cursors_direction_check on crm_sync_cursors is
  'The closed list of directions.';
comment on constraint crm_sync_cursors_entity_type_check on crm_sync_cursors is
  'Lower snake case, at most 63 characters; an open list, because each provider names its own.';
comment on constraint crm_sync_cursors_kind_check on crm_sync_cursors is
  'The closed list of kinds.';
comment on constraint crm_sync_cursors_timestamp_has_synced_to_check on crm_sync_cursors is
  'A timestamp to resume from is there.';
comment on constraint crm_sync_cursors_token_iff_kind_check on crm_sync_cursors is
  'A cursor that resumes from a token has one, and no other does.';
comment on constraint crm_sync_cursors_page_iff_kind_check on crm_sync_cursors is
  'A cursor that resumes from a page has one, and no other does.';
comment on constraint crm_sync_cursors_beginning_has_no_synced_to_check on crm_sync_cursors is
  'From the beginning means that nothing is known to have arrived.';
comment on constraint crm_sync_cursors_token_check on crm_sync_cursors is
  'A token has 1 to 4,096 bytes.';
comment on constraint crm_sync_cursors_page_check on crm_sync_cursors is
  'Pages and offsets count from 0 or 1.';
comment on constraint crm_sync_cursors_version_check on crm_sync_cursors is
  'Versions count from 1.';
comment on constraint crm_sync_cursors_times_in_range_check on crm_sync_cursors is
  'Times are in the years 1900 to 9998: every client can read them.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a row that somebody is inserting now would be lost unseen. In the order in which everybody locks.
lock table crm_connections, crm_sync_cursors in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from crm_sync_cursors)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'crm_sync_cursors has rows, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

drop table crm_sync_cursors;
