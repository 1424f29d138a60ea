/** Types generated for queries found in "queries/organisations.sql" */
import { PreparedQuery } from '../prepared-query.js';

/** 'OrganisationSet' parameters type */
export interface OrganisationSetParams {
  organisationId: string;
}

/** 'OrganisationSet' return type */
export interface OrganisationSetResult {
  organisationId: string;
}

/** 'OrganisationSet' query type */
export interface OrganisationSetQuery {
  params: OrganisationSetParams;
  result: OrganisationSetResult;
}

const organisationSetIR = {"usedParamSet":{"organisationId":true},"params":[{"name":"organisationId","required":true,"transform":{"type":"scalar"},"locs":[{"a":171,"b":186}]}],"statement":"-- Sets the organisation whose rows a member of crm_app sees until the end of the transaction. One row: the\n-- organisation. Touches no table.\nselect crm_set_organisation(:organisationId!::uuid) as \"organisationId!\""};

/**
 * Query generated from SQL:
 * ```
 * -- Sets the organisation whose rows a member of crm_app sees until the end of the transaction. One row: the
 * -- organisation. Touches no table.
 * select crm_set_organisation(:organisationId!::uuid) as "organisationId!"
 * ```
 */
export const organisationSet = new PreparedQuery<OrganisationSetParams,OrganisationSetResult>('organisationSet', organisationSetIR);


