-- What 1.5.1 adds: earlier contents of records whose CRM tells no versions, of a mapping and of an alias.

select set_config('crm_schema.now', '2026-11-16 08:59:00+00', true);

update contact_external_ids
set
  replaced_hashes = array[decode(repeat('0c', 32), 'hex'), decode(repeat('0d', 32), 'hex')],
  replaced_at = '2026-11-16 08:30:00+00'
where organisation_id = '00000001-0000-4000-8000-000000000000'
  and provider = 'reapit'
  and entity_type = 'contact'
  and external_id = 'OXF3';

update contact_external_id_aliases
set
  replaced_hashes = array[decode(repeat('0e', 32), 'hex')],
  replaced_at = '2026-11-16 08:45:00+00'
where organisation_id = '00000001-0000-4000-8000-000000000000'
  and provider = 'reapit';
