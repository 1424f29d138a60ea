-- Up Migration
--
-- Purpose: says in plain English what each table, column and function is, where the earlier comments did not.
-- Locks:   crm_sync_log SHARE UPDATE EXCLUSIVE, crm_connections SHARE UPDATE EXCLUSIVE, contact_external_ids
--          SHARE UPDATE EXCLUSIVE, crm_outbound_changes SHARE UPDATE EXCLUSIVE, crm_sync_runs SHARE UPDATE
--          EXCLUSIVE, crm_sync_cursors SHARE UPDATE EXCLUSIVE, crm_sync_failures SHARE UPDATE EXCLUSIVE and
--          crm_retention SHARE UPDATE EXCLUSIVE, until the end of the transaction: only maintenance waits.
--          The log comes before the connections, as in crm_sync_log_ensure_partitions.
-- Scans:   nothing.
-- Down:    restores the earlier comments, with the same locks; loses no data.

set local lock_timeout = '5s';
set local statement_timeout = '1min';

comment on table crm_sync_log is
  'What happened in every sync operation: one row per event, append-only. Partitioned by month of occurred_at (UTC). The first partition also holds anything older, crm_sync_log_catch_all anything later than the last month. crm-schema partitions drop drops the months past their retention period (crm_retention).';
comment on column crm_sync_log.id is
  'Orders events that have the same occurred_at.';
comment on column crm_sync_log.external_id is
  'The record''s id at the CRM, case-sensitive. Null if there is none: a create that failed, or an error that concerns the whole account.';
comment on constraint crm_sync_log_pkey on crm_sync_log is
  'Tenant first, then the timeline of a connection. Contains occurred_at because a primary key must contain the partition key.';
comment on constraint crm_sync_log_connection_id_fkey on crm_sync_log is
  'Composite, so that an event can never belong to another organisation''s connection. On delete restrict: a connection with history must be erased deliberately.';
comment on constraint crm_sync_log_error_iff_status_is_error_check on crm_sync_log is
  'error is set if and only if status is error.';
comment on function crm_sync_log_refuse_change() is
  'Refuses UPDATE, DELETE and TRUNCATE on the sync log with SQLSTATE CRM02. The owner of the log could disable the triggers that call it or detach a partition, and a superuser could bypass them; applications must connect as neither.';
comment on function crm_sync_log_ensure_partitions(integer, regclass) is
  'Creates the missing partitions from this month (UTC) to the given number of months after it, moves their events out of the catch-all partition with their ids, and returns the names of the partitions it created. Run it daily, as the owner of the log (or a superuser). Run it in a transaction of its own, because it keeps its locks until the end of the transaction. To create a partition, it takes ACCESS EXCLUSIVE on the log and SHARE ROW EXCLUSIVE on crm_connections: for an instant, unless there are events to move. It leaves behind the table crm_sync_log_emptied, which the next call drops, whether or not a partition is missing; dropping it takes ACCESS EXCLUSIVE on crm_connections. It waits at most 500 ms for each lock, tries 20 times, and then fails with SQLSTATE 55P03. It fails with CRM04 if the number of months is outside 0 to 120. Omit the second parameter, which is the log itself.';
comment on function crm_sync_log_ensure_past(regclass) is
  'Creates a partition for events older than the first partition if there is none, as after the oldest month was detached. Returns its name, or null if there is nothing to create or a partition is being detached. Run it as the owner of the log (or a superuser); crm-schema partitions drop and ensure call it. If it creates a partition, it takes SHARE UPDATE EXCLUSIVE on the log, which blocks neither readers nor writers, and SHARE ROW EXCLUSIVE on crm_connections, for an instant. It waits at most 500 ms for each lock, tries 20 times, and then fails with SQLSTATE 55P03. Omit the parameter, which is the log itself.';
comment on function crm_sync_log_finish_partition(regclass, regclass) is
  'Gives a partition of the log what it does not inherit: the trigger that refuses TRUNCATE, the log''s owner, and row-level security without a policy. Revokes everybody else''s privileges. Run it as the owner of the log.';

comment on table crm_connections is
  'One row each time an organisation connects a CRM. At most one row per organisation and provider is live. Disconnected rows stay as history; no query reactivates them.';
comment on column crm_connections.id is
  'The id of the connection. The application generates it, because the encrypted credentials are bound to it before the row exists.';
comment on column crm_connections.status is
  'active: it can sync. error: it needs attention, status_reason says why. disconnected: kept as history.';
comment on column crm_connections.status_reason is
  'Why the connection has its status, in words an agent can act on. Required for error, null for active. Never a secret or personal data.';
comment on column crm_connections.status_changed_at is
  'When status last changed.';
comment on column crm_connections.credentials_key_id is
  'The id of the key that wraps the credentials (the JWE''s header.kid). Key rotation finds its rows by it.';
comment on column crm_connections.credentials_version is
  'Incremented when the credentials are replaced, so that a writer can tell whether they are still the ones it read. Key rotation does not change it.';
comment on column crm_connections.credentials_expires_at is
  'When the access token inside the credentials expires; readable without decrypting. Null if it does not expire, or if the time is unknown.';
comment on column crm_connections.last_synced_at is
  'The cursor of incremental sync: every change the CRM made up to this time, by the CRM''s clock, has arrived. Null before the first complete sync, and to request a full one. Otherwise it never moves backwards.';
comment on column crm_connections.next_sync_at is
  'When the connection is due; the oldest due is claimed first. Never before the lease of an open run expires. Meaningless once disconnected.';
comment on column crm_connections.not_before_at is
  'After a failure, no sync starts before this time, even if a webhook requests one. Null after a success, and when a person requests a sync.';
comment on column crm_connections.sync_requested_at is
  'When the pending request for a sync out of turn was made, by a webhook or a person. Null if none is pending. The next claim clears it, so many requests cause one sync. A request during a run causes another sync after it.';
comment on column crm_connections.last_success_at is
  'When a sync last succeeded. Null before the first success.';
comment on column crm_connections.first_failed_at is
  'When the current series of failed syncs began. Null if the last sync succeeded.';
comment on column crm_connections.failure_count is
  'How many syncs in a row have failed, including abandoned ones.';
comment on constraint crm_connections_organisation_id_fkey on crm_connections is
  'On delete restrict: an organisation with connections must be erased deliberately, never by a cascade.';
comment on constraint crm_connections_disconnected_iff_disconnected_at_check on crm_connections is
  'disconnected_at is set if and only if the connection is disconnected.';
comment on constraint crm_connections_expiry_has_credentials_check on crm_connections is
  'Without credentials there is no expiry time.';
comment on constraint crm_connections_first_failed_iff_failure_count_check on crm_connections is
  'first_failed_at is set if and only if failure_count is above 0.';
comment on policy crm_connections_worker_change_policy on crm_connections is
  'The sync worker updates the connections of all organisations, and creates none. A member of both roles can create one only for the organisation that is set.';
comment on function crm_credentials_is_jwe(jsonb) is
  'Whether a value is a JWE in flattened JSON serialisation (RFC 7516) with exactly the members protected, header.kid, encrypted_key, iv, ciphertext, tag and aad. Checks the shape only, not whether the ciphertext can be decrypted.';
comment on function crm_now() is
  'The current time for schedules, leases and retries: the start of the statement, or the setting crm_schema.now, with which a test stops the clock.';
comment on function crm_sync_backoff(integer, integer, integer) is
  'How long to wait after this many failed attempts (counted from 1): base_seconds, doubled with each further attempt, at most longest_seconds, times a random factor from 0.5 to 1.';
comment on function crm_sync_failure_is_alarming(text, integer, interval) is
  'Decides when a failed sync puts its connection in error: at once for auth and permission errors; for any other kind after five failures in a row and an hour.';

comment on table contact_external_ids is
  'The id of each contact at each CRM: one row per contact and provider, and one contact per external id.';
comment on column contact_external_ids.provider is
  'The CRM that assigned the id. The mapping outlives the connection: it applies again after a reconnect.';
comment on column contact_external_ids.first_seen_at is
  'When the contact was first linked to this external id. Reset when the id is re-pointed to another contact.';
comment on column contact_external_ids.last_seen_at is
  'When a sync last confirmed the link, to within a day: an update at every sync would cost more than it is worth.';
comment on constraint contact_external_ids_pkey on contact_external_ids is
  'An external id belongs to one contact, so an inbound event always identifies it.';
comment on constraint contact_external_ids_contact_id_fkey on contact_external_ids is
  'Composite, so that a mapping can never point at another organisation''s contact. On delete cascade: mappings are deleted with their contact. On update no action: unlink a contact before it moves to another organisation.';

comment on table crm_outbound_changes is
  'What must be pushed: one row per contact and connection, however often the contact changes. The host application writes it in the transaction that changes the contact. The batch that records the push deletes it, unless the contact has changed again. It holds no data: the push sends the contact as it is then.';
comment on column crm_outbound_changes.version is
  'A new value with each change, never reused: shows whether the contact has changed again.';
comment on column crm_outbound_changes.first_changed_at is
  'The time since which a change has been waiting to be pushed.';
comment on column crm_outbound_changes.attempts is
  'How often it has been claimed since the last change. More than once if workers died while pushing it.';
comment on column crm_outbound_changes.next_attempt_at is
  'When it can be claimed: at once; after a claim, some time later, so that a contact over which workers die does not block the others.';
comment on column crm_outbound_changes.is_announced is
  'Whether its connection has been made due for it. The host application does not do that itself: its transaction may be long, and would block workers.';
comment on constraint crm_outbound_changes_contact_id_fkey on crm_outbound_changes is
  'Composite, so that a change can never refer to another organisation''s contact. On delete cascade: a deleted contact is not pushed.';
comment on constraint crm_outbound_changes_connection_id_fkey on crm_outbound_changes is
  'Composite, so that a contact is never pushed to another organisation''s CRM. On delete restrict: a connection with changes must be erased deliberately.';

comment on table crm_sync_runs is
  'One row per sync of a connection. The open run is the lease; a connection has at most one. Its holder may write for the connection until it expires. Ended runs are deleted some time later; nothing refers to them.';
comment on column crm_sync_runs.id is
  'The id of the run, and its fencing token: every write for the connection must present it.';
comment on column crm_sync_runs.worker is
  'The name of the worker, for people to read: such as host and process, 1 to 200 characters.';
comment on column crm_sync_runs.heartbeat_at is
  'When the worker last sent a heartbeat: with each batch, and in between.';
comment on column crm_sync_runs.expires_at is
  'When the lease expires, unless a heartbeat extends it. From then on the worker''s writes are refused, and others can claim the connection.';
comment on column crm_sync_runs.outcome is
  'success: it finished. failed: it could not finish, error says why. abandoned: its lease expired without a heartbeat. cancelled: the connection was disconnected, or the worker gave up its turn. Null while it is open.';
comment on column crm_sync_runs.batch_number is
  'The number of the last recorded batch, counted from 1: distinguishes a repeated batch from a new one.';
comment on column crm_sync_runs.success_count is
  'How many of its events succeeded.';
comment on column crm_sync_runs.error_count is
  'How many of its events failed.';
comment on constraint crm_sync_runs_connection_id_fkey on crm_sync_runs is
  'Composite, so that a run can never belong to another organisation''s connection. On delete restrict: a connection with runs must be erased deliberately.';
comment on constraint crm_sync_runs_ended_iff_outcome_check on crm_sync_runs is
  'outcome is set if and only if the run has ended.';
comment on constraint crm_sync_runs_failed_iff_error_check on crm_sync_runs is
  'error is set if and only if the run failed.';
comment on constraint crm_sync_runs_expires_after_heartbeat_check on crm_sync_runs is
  'A lease expires after its last heartbeat.';
comment on policy crm_sync_runs_tenant_change_policy on crm_sync_runs is
  'The application can continue and end an open run, but not reopen one that has ended.';

comment on table crm_sync_cursors is
  'Where each stream of a connection resumes. A stream is a direction and a kind of record. A cursor moves in the transaction that records what was read, and moves backwards only by a reset.';
comment on column crm_sync_cursors.kind is
  'What the CRM resumes from: timestamp (synced_to_at), token or page. Null after a reset: the stream starts from the beginning.';
comment on column crm_sync_cursors.synced_to_at is
  'Everything the CRM changed in this stream up to this time, by the CRM''s clock, has arrived. Null if the time is unknown.';
comment on column crm_sync_cursors.token is
  'The CRM''s token to resume from: opaque, 1 to 4,096 bytes. Set if and only if kind is token.';
comment on column crm_sync_cursors.page is
  'The page or offset to resume from. Starts again when synced_to_at moves on. Set if and only if kind is page.';
comment on column crm_sync_cursors.version is
  'Incremented with each move, so that a writer can tell whether the cursor is still where it read it.';
comment on constraint crm_sync_cursors_connection_id_fkey on crm_sync_cursors is
  'Composite, so that a cursor can never belong to another organisation''s connection. On delete restrict: a connection with cursors must be erased deliberately.';
comment on constraint crm_sync_cursors_timestamp_has_synced_to_check on crm_sync_cursors is
  'If kind is timestamp, synced_to_at is set.';
comment on constraint crm_sync_cursors_token_iff_kind_check on crm_sync_cursors is
  'token is set if and only if kind is token.';
comment on constraint crm_sync_cursors_page_iff_kind_check on crm_sync_cursors is
  'page is set if and only if kind is page.';
comment on constraint crm_sync_cursors_beginning_has_no_synced_to_check on crm_sync_cursors is
  'A stream that starts from the beginning (kind is null) has no synced_to_at.';
comment on constraint crm_sync_cursors_page_check on crm_sync_cursors is
  'Pages and offsets are not negative; CRMs count from 0 or 1.';

comment on table crm_sync_failures is
  'The records that still fail, one row each. The batch that records the failure creates or updates it; the next batch in which the record succeeds or has nothing to change deletes it.';
comment on column crm_sync_failures.record_id is
  'The id of the record: the CRM''s for inbound, NurtureHub''s own for outbound.';
comment on column crm_sync_failures.id is
  'Orders failures that have the same time.';
comment on column crm_sync_failures.attempts is
  'How many attempts have failed, counted from the first failure or from a person''s last request to try again.';
comment on column crm_sync_failures.first_failed_at is
  'When the record first failed, or when a person last asked to try it again.';
comment on column crm_sync_failures.next_attempt_at is
  'The record is tried again by the first sync after this time. Null if the worker gave up on it.';
comment on column crm_sync_failures.gave_up_at is
  'When the worker gave up on the record (crm_sync_failure_is_final). It is not retried automatically, but if a change at the CRM brings the record again and it succeeds, this row is deleted. Null while the record is retried.';
comment on constraint crm_sync_failures_connection_id_fkey on crm_sync_failures is
  'Composite, so that a failure can never belong to another organisation''s connection. On delete restrict: a connection with failures must be erased deliberately.';
comment on constraint crm_sync_failures_gave_up_iff_no_next_attempt_check on crm_sync_failures is
  'A record is either retried or given up on: none waits unnoticed for ever.';
comment on function crm_sync_failure_is_final(jsonb, integer, interval) is
  'Decides when the worker gives up on a failing record: at once if its error cannot be retried; otherwise after ten attempts and a day.';

comment on table crm_retention is
  'How long rows are kept. Applies to the whole installation, so it has no organisation. The owner changes it; crm-schema partitions drop and syncRunPurge apply it.';
comment on column crm_retention.subject is
  'The table that the retention period applies to.';
comment on column crm_retention.keep_days is
  'The minimum retention period, in days of 24 hours. For the log it counts from the event: a month is dropped once all of it is that old. For runs it counts from their end.';
comment on constraint crm_retention_pkey on crm_retention is
  'One retention period per table.';
comment on constraint crm_retention_subject_check on crm_retention is
  'The closed list of tables that grow with time and whose rows are deleted by age.';
comment on constraint crm_retention_keep_days_check on crm_retention is
  'From one day to a hundred years; at least 31 days for the log.';
comment on policy crm_retention_worker_policy on crm_retention is
  'The sync worker reads it to purge runs.';
comment on policy crm_retention_reader_policy on crm_retention is
  'Monitoring and support read it.';

comment on function crm_organisation_id() is
  'The organisation (tenant) whose rows crm_app sees in this transaction. Fails with SQLSTATE CRM05 if none is set, so that hidden rows are not mistaken for missing ones.';
comment on function crm_set_organisation(uuid) is
  'Sets the organisation (tenant) whose rows crm_app sees until the end of the transaction. The next user of a pooled connection has none. Outside a transaction it has no effect. It guards against mistakes of the application, not against its SQL: whoever can run any statement as crm_app can set any organisation.';
comment on function crm_check_organisation(uuid, regclass) is
  'Returns true if the user sees the rows of this organisation (tenant), and fails with SQLSTATE CRM05 otherwise. For statements to which finding nothing means that there is nothing to do: rows that a policy hides must not look like that. Omit the second parameter.';

-- Down Migration

set local lock_timeout = '5s';
set local statement_timeout = '1min';

comment on table crm_sync_log is
  'What happened in every sync operation: one row per event, only ever added to. Partitioned by month of occurred_at (UTC); the first partition also holds anything older, crm_sync_log_catch_all anything later than the last month. Months past their time (crm_retention) are dropped by crm-schema partitions drop.';
comment on column crm_sync_log.id is
  'Orders events of the same instant.';
comment on column crm_sync_log.external_id is
  'The record''s id at the CRM, case-sensitive. Null where there is none: failed creates, errors of the whole account.';
comment on constraint crm_sync_log_pkey on crm_sync_log is
  'Tenant first, then the timeline of a connection; occurred_at is in it because partitions require that.';
comment on constraint crm_sync_log_connection_id_fkey on crm_sync_log is
  'Composite, so that an event can never belong to another organisation''s connection. On delete restrict: a connection with history goes through erasure.';
comment on constraint crm_sync_log_error_iff_status_is_error_check on crm_sync_log is
  'A failure says why, and nothing else does.';
comment on function crm_sync_log_refuse_change() is
  'Refuses UPDATE, DELETE and TRUNCATE on the sync log. Raises SQLSTATE CRM02. The owner of the log could disable the triggers that call it, or detach a partition, and a superuser bypass them: applications connect as neither.';
comment on function crm_sync_log_ensure_partitions(integer, regclass) is
  'Makes sure that this month (UTC) and the given number of months after it have a partition, moves events that had fallen into the catch-all to their month with their ids kept, and returns the names of the partitions it made. For the owner of the log (or a superuser) to run, best daily. With nothing to make it only drops the table crm_sync_log_emptied, which a call that made something leaves behind. With something to make it takes ACCESS EXCLUSIVE on the log and SHARE ROW EXCLUSIVE on crm_connections until the end of the transaction: an instant, unless there are events to move out of the catch-all. It waits at most 500 ms for each lock, tries 20 times, and then fails with SQLSTATE 55P03. Raises CRM04 on months outside 0 to 120. The second parameter is the log itself, and best left out.';

comment on table crm_connections is
  'One row each time an organisation connects a CRM. At most one row per organisation and provider is live; disconnected rows stay as history, and no query brings one back to life.';
comment on column crm_connections.id is
  'The connection. The application makes it, because the encrypted credentials are bound to it before the row exists.';
comment on column crm_connections.status is
  'active: syncing may go on. error: it needs attention, status_reason says which. disconnected: history.';
comment on column crm_connections.status_reason is
  'Why the connection is in its status, in words an agent can act on; required for error, absent for active. Never a secret or personal data.';
comment on column crm_connections.status_changed_at is
  'When status last became what it is.';
comment on column crm_connections.credentials_key_id is
  'The id of the key that wraps the credentials (the JWE''s header.kid): the work list of a key rotation.';
comment on column crm_connections.credentials_version is
  'Counts the changes of credentials, so that a writer can tell whether they are still those it read.';
comment on column crm_connections.credentials_expires_at is
  'When the access token inside the credentials expires, readable without decrypting. Null if it does not, or if that is not known.';
comment on column crm_connections.last_synced_at is
  'The cursor of incremental sync: everything the CRM changed up to here has arrived, by the CRM''s clock. Null before the first complete sync, or to ask for a full one. Never moves backwards otherwise.';
comment on column crm_connections.next_sync_at is
  'When the connection is due: the oldest due is claimed first. Not before the end of a run that is open. Of no meaning once disconnected.';
comment on column crm_connections.not_before_at is
  'Until when the CRM is left alone after a failure, also if a webhook asks for a sync. Null after a success, or when a person asks.';
comment on column crm_connections.sync_requested_at is
  'Since when a sync is wanted out of turn, by a webhook or a person. Null if none is; the next claim clears it, so a storm of requests is one sync. A request that comes during a run is another sync after it.';
comment on column crm_connections.last_success_at is
  'When a sync last came to its end with success. Null before the first.';
comment on column crm_connections.first_failed_at is
  'When the first of the failed syncs since the last success failed. Null if the last sync succeeded.';
comment on column crm_connections.failure_count is
  'How many syncs have failed in a row, abandoned ones among them.';
comment on constraint crm_connections_organisation_id_fkey on crm_connections is
  'On delete restrict: an organisation with connections goes through erasure, never by a cascade.';
comment on constraint crm_connections_disconnected_iff_disconnected_at_check on crm_connections is
  'A connection says when it ended if, and only if, it has ended.';
comment on constraint crm_connections_expiry_has_credentials_check on crm_connections is
  'Nothing that is not there expires.';
comment on constraint crm_connections_first_failed_iff_failure_count_check on crm_connections is
  'A connection that fails says since when, and no other does.';
comment on function crm_credentials_is_jwe(jsonb) is
  'Whether a value is a JWE in flattened JSON serialisation (RFC 7516) of exactly the members protected, header.kid, encrypted_key, iv, ciphertext, tag and aad. It can tell the shape, not whether the ciphertext is sound.';
comment on function crm_now() is
  'The time that schedules, leases and retries go by: when the statement began, or crm_schema.now, by which a test stops the clock.';
comment on function crm_sync_backoff(integer, integer, integer) is
  'How long to wait after so many failed attempts (counted from 1): doubles from base_seconds up to longest_seconds, of which a random half to the whole.';
comment on function crm_sync_failure_is_alarming(text, integer, interval) is
  'The one rule for when a failed sync puts its connection in error: at once for auth and permission; for any other kind after five failures in a row and an hour.';

comment on table contact_external_ids is
  'What a contact is called in each CRM: one row per contact and provider, and one contact per external id.';
comment on column contact_external_ids.provider is
  'The CRM that gave the id. The mapping outlives a single connection: it holds again after a reconnect.';
comment on column contact_external_ids.first_seen_at is
  'When the contact was first linked to this external id. Re-pointing starts anew.';
comment on column contact_external_ids.last_seen_at is
  'When a sync last confirmed the link, exact to a day: writing it each time would cost more than it tells.';
comment on constraint contact_external_ids_pkey on contact_external_ids is
  'An external id belongs to one contact, so that an inbound event finds it without doubt.';
comment on constraint contact_external_ids_contact_id_fkey on contact_external_ids is
  'Composite, so that a mapping can never point at another organisation''s contact. On delete cascade: mappings go with their contact. On update no action: a contact that moves to another organisation is unlinked first.';

comment on table crm_outbound_changes is
  'What has to be pushed: one row per contact and connection, however often the contact changes. Written by the host in the transaction that changes the contact; removed by the batch that records the push, unless something newer came meanwhile. It holds no data: what is pushed is the contact as it is then.';
comment on column crm_outbound_changes.version is
  'Another one with each change, never used twice: tells whether something newer came.';
comment on column crm_outbound_changes.first_changed_at is
  'Since when something has been waiting to be pushed.';
comment on column crm_outbound_changes.attempts is
  'How often it was claimed since the last change: more than once if workers died over it.';
comment on column crm_outbound_changes.next_attempt_at is
  'From when it may be claimed: at once, and after a claim a while later, lest a contact over which workers die holds up the others.';
comment on column crm_outbound_changes.is_announced is
  'Whether its connection has been made due for it. The host does not do that itself: its transaction may be long, and would keep workers waiting.';
comment on constraint crm_outbound_changes_contact_id_fkey on crm_outbound_changes is
  'Composite, so that a change can never be of another organisation''s contact. On delete cascade: what is gone is not pushed.';
comment on constraint crm_outbound_changes_connection_id_fkey on crm_outbound_changes is
  'Composite, so that a contact is never pushed to another organisation''s CRM. On delete restrict: a connection with changes goes through erasure.';

comment on table crm_sync_runs is
  'One row per sync of a connection. The open run, of which a connection has at most one, is the lease: who holds it may write for the connection until it expires. Ended runs are deleted some time later; nothing refers to them.';
comment on column crm_sync_runs.id is
  'The run, and the fencing token: each write for the connection shows it.';
comment on column crm_sync_runs.worker is
  'Who runs it, for people: a host and a process, 1 to 200 characters.';
comment on column crm_sync_runs.heartbeat_at is
  'When the worker last gave a sign of life: with each batch, and between them.';
comment on column crm_sync_runs.expires_at is
  'When the lease runs out, unless there is a sign of life before. From then on the worker is refused, and others may claim the connection.';
comment on column crm_sync_runs.outcome is
  'success: it came to its end. failed: it could not, error says why. abandoned: the worker gave no sign of life. cancelled: the connection was disconnected, or the worker gave up its turn. Null while it is open.';
comment on column crm_sync_runs.batch_number is
  'The last batch that was recorded, counted from 1: tells a repetition from something new.';
comment on column crm_sync_runs.success_count is
  'How many of its events were successes.';
comment on column crm_sync_runs.error_count is
  'How many of its events were failures.';
comment on constraint crm_sync_runs_connection_id_fkey on crm_sync_runs is
  'Composite, so that a run can never belong to another organisation''s connection. On delete restrict: a connection with runs goes through erasure.';
comment on constraint crm_sync_runs_ended_iff_outcome_check on crm_sync_runs is
  'A run that has ended says how, and no other does.';
comment on constraint crm_sync_runs_failed_iff_error_check on crm_sync_runs is
  'A failed run says why, and no other does.';
comment on constraint crm_sync_runs_expires_after_heartbeat_check on crm_sync_runs is
  'A lease lasts.';

comment on table crm_sync_cursors is
  'Where each stream of a connection, which is a direction and a kind of record, resumes. Moves in the transaction that records what was read, never backwards but by a reset.';
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
comment on constraint crm_sync_cursors_connection_id_fkey on crm_sync_cursors is
  'Composite, so that a cursor can never belong to another organisation''s connection. On delete restrict: a connection with cursors goes through erasure.';
comment on constraint crm_sync_cursors_timestamp_has_synced_to_check on crm_sync_cursors is
  'A timestamp to resume from is there.';
comment on constraint crm_sync_cursors_token_iff_kind_check on crm_sync_cursors is
  'A cursor that resumes from a token has one, and no other does.';
comment on constraint crm_sync_cursors_page_iff_kind_check on crm_sync_cursors is
  'A cursor that resumes from a page has one, and no other does.';
comment on constraint crm_sync_cursors_beginning_has_no_synced_to_check on crm_sync_cursors is
  'From the beginning means that nothing is known to have arrived.';
comment on constraint crm_sync_cursors_page_check on crm_sync_cursors is
  'Pages and offsets count from 0 or 1.';

comment on table crm_sync_failures is
  'What still fails: one row per failing record, opened and updated by the batch that records the failure, closed by the next batch in which the record succeeds or has nothing to change.';
comment on column crm_sync_failures.record_id is
  'The record: inbound its id at the CRM, outbound NurtureHub''s own id.';
comment on column crm_sync_failures.id is
  'Tells apart what failed at the same time.';
comment on column crm_sync_failures.attempts is
  'How many attempts have failed since it first failed, or since a person asked to try again.';
comment on column crm_sync_failures.first_failed_at is
  'Since when the record has been failing, or since when a person asked to try again.';
comment on column crm_sync_failures.next_attempt_at is
  'From when the record is tried again: with the first sync after that. Null if it was given up.';
comment on column crm_sync_failures.gave_up_at is
  'When it was given up (crm_sync_failure_is_final). It is not tried again by itself, but closed if a change at the CRM brings it and it succeeds. Null while it is tried.';
comment on constraint crm_sync_failures_connection_id_fkey on crm_sync_failures is
  'Composite, so that a failure can never belong to another organisation''s connection. On delete restrict: a connection with failures goes through erasure.';
comment on constraint crm_sync_failures_gave_up_iff_no_next_attempt_check on crm_sync_failures is
  'A record is either tried again or given up: nothing waits for ever unseen.';
comment on function crm_sync_failure_is_final(jsonb, integer, interval) is
  'The one rule for when a failing record is given up: at once if its error cannot be retried; else after ten attempts and a day.';

-- Somebody may have reverted 0010 or 0011 by hand. crm-schema migrate then says to go down from here.
do $$
begin
  if to_regprocedure('crm_organisation_id()') is not null then
    comment on function crm_sync_log_finish_partition(regclass, regclass) is
      'Gives a partition of the log what it does not inherit: the trigger that refuses TRUNCATE, the owner, row-level security without a policy, and no privileges. For the owner of the log to run.';
    comment on policy crm_connections_worker_change_policy on crm_connections is
      'The sync worker works for all organisations, and connects none: also who is a member of both roles connects the organisation that is set.';
    comment on policy crm_sync_runs_tenant_change_policy on crm_sync_runs is
      'The application goes on with an open run and ends it, and opens none that has ended.';
    comment on function crm_organisation_id() is
      'The organisation (tenant) whose rows crm_app sees in this transaction. Fails with SQLSTATE CRM05 if none was set: rows that are hidden for that must not look like none.';
    comment on function crm_set_organisation(uuid) is
      'Sets the organisation (tenant) whose rows crm_app sees until the end of the transaction, and no longer: the next user of a pooled connection has none. Outside a transaction it has no effect. It keeps an application from mistakes, not from itself: whoever may run any statement as crm_app may set any organisation.';
    comment on function crm_check_organisation(uuid, regclass) is
      'True if the user sees the rows of this organisation (tenant); fails with SQLSTATE CRM05 otherwise. For statements that find nothing where there is nothing to do: what a policy hides must not look like that. The second parameter is best left out.';
  end if;

  if to_regclass('crm_retention') is not null then
    comment on function crm_sync_log_ensure_past(regclass) is
      'Makes sure that events from before the first partition''s time have a partition, as they have none after the oldest month was detached, and returns its name, or null where there is nothing to make (or a partition is just being detached). For the owner of the log (or a superuser) to run; crm-schema partitions drop and ensure do. With something to make it takes SHARE UPDATE EXCLUSIVE on the log, which stops neither readers nor writers, and SHARE ROW EXCLUSIVE on crm_connections, for an instant. It waits at most 500 ms for each lock, tries 20 times, and then fails with SQLSTATE 55P03. The parameter is the log itself, and best left out.';
    comment on table crm_retention is
      'How long what is kept: the one place that says it. Of the whole installation, so it has no organisation. The owner changes it; crm-schema partitions drop and syncRunPurge go by it.';
    comment on column crm_retention.subject is
      'The table whose rows are kept for so long.';
    comment on column crm_retention.keep_days is
      'For how many days of 24 hours at least: of the log since the event, whose whole month is dropped once all of it is that old; of runs since their end.';
    comment on constraint crm_retention_pkey on crm_retention is
      'One period for each table.';
    comment on constraint crm_retention_subject_check on crm_retention is
      'The closed list of tables that grow with time and are cut by age.';
    comment on constraint crm_retention_keep_days_check on crm_retention is
      'A day to a hundred years; the log for 31 days at least.';
    comment on policy crm_retention_worker_policy on crm_retention is
      'The sync worker purges by it.';
    comment on policy crm_retention_reader_policy on crm_retention is
      'Monitoring and support see it.';
  end if;
end
$$;
