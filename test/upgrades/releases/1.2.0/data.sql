-- What an installation of 1.2.0 holds beyond one of 1.1.0.
update crm_retention
set keep_days = 400
where subject = 'crm_sync_log';
