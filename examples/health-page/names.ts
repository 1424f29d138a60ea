// What an agency calls the things that the database has codes for.
import type { Provider, RemoteState, SyncDirection, SyncStatus } from '@nurturehub/crm-schema';

/** The CRMs, as they spell their names. */
export const crmNames: Record<Provider, string> = {
  agentos: 'agentOS',
  reapit: 'Reapit',
  alto: 'Alto',
  street: 'Street',
  loop: 'Loop',
  custom: 'Your own CRM',
};

/** A CRM's name at the beginning of a sentence, and within one. */
export interface CrmName {
  first: string;
  within: string;
}

export function crmName(provider: Provider): CrmName {
  const name = crmNames[provider];
  return { first: name, within: provider === 'custom' ? 'your own CRM' : name };
}

/** What became of a record. */
export const outcomes: Record<SyncStatus, string> = {
  success: 'Synced',
  skipped: 'No change needed',
  error: 'Failed',
};

/** Which way a record went. */
export const directions: Record<SyncDirection, (crm: CrmName) => string> = {
  inbound: ({ within }) => `from ${within}`,
  outbound: ({ within }) => `to ${within}`,
};

/** The state of a record at its CRM. */
export const recordStates: Record<RemoteState, string> = {
  active: 'In use',
  archived: 'Archived there',
  deleted: 'Deleted there',
  hidden: 'Hidden from us there',
  merged: 'Merged there',
};

/** A CRM's own kind of record as words: `sole_owner` is `Sole owner`. */
export function kindOf(entityType: string): string {
  const words = entityType.replaceAll('_', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The CRM's kind of record that these words mean: the reverse of `kindOf`. */
export function entityTypeOf(words: string): string {
  return words.trim().toLowerCase().replace(/\s+/g, '_');
}
