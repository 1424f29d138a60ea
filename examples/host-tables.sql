-- The tables that the schema builds on, for an empty database: the columns it needs of NurtureHub's own tables,
-- with an organisation and two contacts for first-sync.ts. Do not run it in NurtureHub's own database.

create table organisations (id uuid primary key);

create table contacts (
  id uuid primary key,
  organisation_id uuid not null references organisations (id),
  name text not null default '',
  email text,
  phone text
);

insert into organisations
values ('00000000-0000-4000-8000-000000000001');

insert into contacts (id, organisation_id)
values
  ('00000000-0000-4000-8000-00000000000a', '00000000-0000-4000-8000-000000000001'),
  ('00000000-0000-4000-8000-00000000000b', '00000000-0000-4000-8000-000000000001');
