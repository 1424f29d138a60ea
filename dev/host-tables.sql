-- Minimal versions of NurtureHub's own tables, for development, the demo and the tests.
-- Production has the real ones. No migration ever creates, alters or drops them.

create table organisations (
  id uuid primary key,
  name text not null
);

create table contacts (
  id uuid primary key,
  organisation_id uuid not null references organisations (id),
  name text not null,
  email text,
  phone text
);
