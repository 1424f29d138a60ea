// What went wrong, and what to do: for an agent, who knows the CRM and not the code.
import type { SyncDirection, SyncErrorKind } from '@nurturehub/crm-schema';
import type { CrmName } from './names.js';

/** A sentence that says what is the case, and one that says what to do next. */
export interface Words {
  state: string;
  next: string;
}

/** What to say if the syncs of a CRM fail. */
export const connectionErrors: Record<SyncErrorKind, (crm: CrmName) => Words> = {
  auth: ({ first, within }) => ({
    state: `${first} no longer accepts our sign-in.`,
    next: `Connect ${within} again in your CRM settings. Syncing then goes on where it stopped.`,
  }),
  permission: ({ first, within }) => ({
    state: `${first} no longer lets us read or change your contacts.`,
    next: `Ask whoever manages ${within} at your agency to give NurtureHub access again. Syncing then resumes by itself.`,
  }),
  rate_limited: ({ first, within }) => ({
    state: `${first} has asked us to slow down.`,
    next: `Nothing. We wait for as long as ${within} asks, and then go on by ourselves.`,
  }),
  conflict: ({ within }) => ({
    state: `Records in ${within} contradict ours.`,
    next: 'Compare both sides of the records listed on this page, and correct the one that is wrong.',
  }),
  not_found: ({ first, within }) => ({
    state: `${first} no longer has what we ask it for.`,
    next: `Check that your account at ${within} still exists. If it does, tell our support.`,
  }),
  validation: ({ first }) => ({
    state: `${first} does not accept what we send.`,
    next: 'Correct the records listed on this page, and save them. We then send them again.',
  }),
  timeout: ({ first }) => ({
    state: `${first} does not answer in time.`,
    next: `Nothing yet: we keep trying. ${untilTomorrow}`,
  }),
  network: ({ within }) => ({
    state: `We cannot reach ${within}.`,
    next: `Nothing yet: we keep trying. ${untilTomorrow}`,
  }),
  provider: ({ first }) => ({
    state: `${first} reports a fault of its own.`,
    next: `Nothing yet: we keep trying. ${untilTomorrow}`,
  }),
  internal: () => ({
    state: 'Something has gone wrong on our side.',
    next: 'Nothing yet: we keep trying. If it has not been put right by tomorrow, tell our support.',
  }),
};

const untilTomorrow = 'If this is still so tomorrow, ask the support of the CRM.';
const retried = 'Nothing: we try again by ourselves.';

/** What to say of one record that failed, on its way from or to a CRM. */
export const recordErrors: Record<SyncErrorKind, (crm: CrmName, direction: SyncDirection) => Words> = {
  auth: ({ first, within }) => ({
    state: `${first} did not accept our sign-in.`,
    next: `Connect ${within} again in your CRM settings.`,
  }),
  permission: ({ first, within }, direction) => ({
    state: `${first} does not let us ${direction === 'inbound' ? 'read' : 'change'} this record.`,
    next: `Ask whoever manages ${within} at your agency to allow it.`,
  }),
  rate_limited: ({ first }) => ({ state: `${first} asked us to slow down.`, next: retried }),
  conflict: ({ within }) => ({
    state: `This record belongs to another contact, or was changed both here and in ${within}.`,
    next: 'Compare both sides, and correct the one that is wrong.',
  }),
  not_found: ({ first, within }) => ({
    state: `${first} no longer has this record.`,
    next: `If it was deleted by mistake, restore it in ${within}. Otherwise, nothing.`,
  }),
  validation: ({ first, within }, direction) =>
    direction === 'outbound'
      ? {
          state: `${first} did not accept one of the values of this contact.`,
          next: 'Check its email address, telephone numbers and postcode here, and save it.',
        }
      : {
          state: `One of the values of this record in ${within} cannot be used here.`,
          next: `Check its email address, telephone numbers and postcode in ${within}, and save it.`,
        },
  timeout: ({ first }) => ({ state: `${first} did not answer in time.`, next: retried }),
  network: ({ within }) => ({ state: `We could not reach ${within}.`, next: retried }),
  provider: ({ first }) => ({
    state: `${first} reported a fault of its own.`,
    next: 'If it happens again, ask the support of the CRM.',
  }),
  internal: () => ({
    state: 'Something went wrong on our side.',
    next: 'If it happens again, tell our support.',
  }),
};
