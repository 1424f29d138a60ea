/* @name organisationSet */
-- Sets the organisation whose rows a member of crm_app can see until the end of the transaction. Returns
-- one row: the organisation. Reads no table.
select crm_set_organisation(:organisationId!::uuid) as "organisationId!";
