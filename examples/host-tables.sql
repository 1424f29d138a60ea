-- What the schema builds on, where there is nothing yet: NurtureHub's own tables, as far as it needs them, with
-- an organisation and two contacts for first-sync.ts. Not for NurtureHub's own database, which has them.

create table organisations (id uuid primary key);

create table contacts (
  id uuid primary key,
  organisation_id uuid not null references organisations (id),
  name text not null default ''
);

insert into organisations
values ('00000000-0000-4000-8000-000000000001');

insert into contacts (id, organisation_id)
values
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001'),
  ('00000000-0000-4000-8000-00000000000b', '00000000-0000-4000-8000-000000000001');
