/* @name organisationSet */
-- Sets the organisation whose rows a member of crm_app sees until the end of the transaction. One row: the
-- organisation. Touches no table.
select crm_set_organisation(:organisationId!::uuid) as "organisationId!";
