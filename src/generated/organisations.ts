/** Types generated for queries found in "queries/organisations.sql" */
import { PreparedQuery } from '../statements/prepared-query.js';

/** What {@link organisationSet} takes. */
export interface OrganisationSetParams {
  organisationId: string;
}

/** A row of {@link organisationSet}. */
export interface OrganisationSetResult {
  organisationId: string;
}

const organisationSetIR = {"usedParamSet":{"organisationId":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":171,"b":186}]}],"statement":"-- Sets the organisation whose rows a member of crm_app sees until the end of the transaction. One row: the\n-- organisation. Touches no table.\nselect crm_set_organisation(:organisationId!::uuid) as \"organisationId!\""};

/**
 * Sets the organisation whose rows a member of crm_app sees until the end of the transaction. One row: the
 * organisation. Touches no table.
 *
 * @remarks
 * ```sql
 * select crm_set_organisation(:organisationId!::uuid) as "organisationId!"
 * ```
 */
export const organisationSet = new PreparedQuery<OrganisationSetParams,OrganisationSetResult>('organisationSet', organisationSetIR);


