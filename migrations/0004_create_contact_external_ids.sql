-- Up Migration
--
-- Purpose: what is a contact's id in each external system, and whose is an external id?
-- Locks:   contacts SHARE ROW EXCLUSIVE, to add the foreign key: writes wait until the end of the
--          transaction, which by default is that of all pending files.
-- Scans:   nothing; the table is new and empty.
-- Down:    drops the table (contacts ACCESS EXCLUSIVE), and refuses while it has rows unless
--          crm_schema.allow_data_loss is on.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

create table contact_external_ids (
  organisation_id uuid not null,
  -- Collation C, because these are opaque to us: the order of bytes never changes with the system.
  provider text collate "C" not null,
  entity_type text collate "C" not null,
  external_id text collate "C" not null,
  contact_id uuid not null,
  first_seen_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  constraint contact_external_ids_pkey
    primary key (organisation_id, provider, entity_type, external_id),
  -- The host must stay able to delete its own contacts; a mapping without its contact means nothing.
  constraint contact_external_ids_contact_id_fkey
    foreign key (organisation_id, contact_id)
    references contacts (organisation_id, id)
    on delete cascade,
  constraint contact_external_ids_provider_check
    check (provider in ('agentos', 'reapit', 'alto', 'street', 'loop', 'custom')),
  constraint contact_external_ids_entity_type_check
    check (entity_type ~ '^[a-z][a-z0-9_]{0,62}$'),
  constraint contact_external_ids_external_id_check
    check (btrim(external_id, E' \t\n\r\f\x0b') <> '' and octet_length(external_id) <= 512),
  constraint contact_external_ids_seen_times_check
    check (
      first_seen_at <= last_seen_at
      and first_seen_at >= '1900-01-01 00:00:00+00'
      and last_seen_at < '9999-01-01 00:00:00+00'
    )
);

create unique index contact_external_ids_contact_id_provider_key
  on contact_external_ids (contact_id, provider);

comment on table contact_external_ids is
  'What a contact is called in each CRM: one row per contact and provider, and one contact per external id.';
comment on column contact_external_ids.organisation_id is
  'The organisation (tenant) that the contact belongs to.';
comment on column contact_external_ids.provider is
  'The CRM that gave the id. The mapping outlives a single connection: it holds again after a reconnect.';
comment on column contact_external_ids.entity_type is
  'What kind of record the id names, in the provider''s terms: an external id means something only together with it.';
comment on column contact_external_ids.external_id is
  'The record''s id at the CRM: case-sensitive text, whatever type the CRM sends.';
comment on column contact_external_ids.contact_id is
  'NurtureHub''s contact.';
comment on column contact_external_ids.first_seen_at is
  'When the contact was first linked to this external id. Re-pointing starts anew.';
comment on column contact_external_ids.last_seen_at is
  'When a sync last confirmed the link, exact to a day: writing it each time would cost more than it tells.';
comment on constraint contact_external_ids_pkey on contact_external_ids is
  'An external id belongs to one contact, so that an inbound event finds it without doubt.';
comment on constraint contact_external_ids_contact_id_fkey on contact_external_ids is
  'Composite, so that a mapping can never point at another organisation''s contact. On delete cascade: mappings go with their contact. On update no action: a contact that moves to another organisation is unlinked first.';
comment on constraint contact_external_ids_provider_check on contact_external_ids is
  'The CRMs NurtureHub can sync with.';
comment on constraint contact_external_ids_entity_type_check on contact_external_ids is
  'Lower snake case, at most 63 characters; an open list, because each provider names its own.';
comment on constraint contact_external_ids_external_id_check on contact_external_ids is
  'Not blank (spaces, tabs and line breaks alone), at most 512 bytes.';
comment on constraint contact_external_ids_seen_times_check on contact_external_ids is
  'Times are in order and in the years 1900 to 9998: every client can read them.';
comment on index contact_external_ids_contact_id_provider_key is
  'A contact has one id per provider; also finds all ids of a contact and serves its foreign key.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- Else a row that somebody is inserting now would be lost unseen.
lock table contact_external_ids in access exclusive mode;

do $$
begin
  if current_setting('crm_schema.allow_data_loss', true) is distinct from 'on'
    and exists (select from contact_external_ids)
  then
    raise exception using
      errcode = 'CRM03',
      message = 'contact_external_ids has rows, and going down would lose them',
      hint = 'To lose them on purpose, run again with PGOPTIONS="-c crm_schema.allow_data_loss=on".';
  end if;
end
$$;

drop table contact_external_ids;
