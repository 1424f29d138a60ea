/** Types generated for queries found in "queries/organisations.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

/** The parameters of {@link organisationSet}. */
export interface OrganisationSetParams {
  organisationId: string;
}

/** A row of {@link organisationSet}. */
export interface OrganisationSetResult {
  organisationId: string;
}

/**
 * Sets the organisation whose rows a member of crm_app can see until the end of the transaction. Returns
 * one row: the organisation. Reads no table.
 *
 * @remarks
 * ```sql
 * select crm_set_organisation(:organisationId!::uuid) as "organisationId!"
 * ```
 */
export const organisationSet = new PreparedQuery<OrganisationSetParams,OrganisationSetResult>({
  name: 'organisationSet',
  statementName: 'organisationSet_8a8e7d6c',
  params: [
    { name: 'organisationId', required: true },
  ],
  text: `select /* organisationSet */ crm_set_organisation($1::uuid) as "organisationId"`,
});


