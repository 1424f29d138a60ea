/**
 * Credentials that nobody else can read: typed by CRM, encrypted before they leave the process, bound
 * to their connection. The root of the package does without this, and without the libraries it needs.
 *
 * `credentialsConnect` is for a member of `crm_app`, within `withOrganisation`; `credentialsReplace` for that
 * or a member of `crm_worker`; whatever reads credentials, or counts their keys, for the latter alone.
 *
 * @packageDocumentation
 */

export { type CredentialsOwner, credentialsAad } from './connections/encrypted-credentials.js';
export type {
  AgentosCredentials,
  AltoCredentials,
  CredentialsByProvider,
  CustomApiKeyCredentials,
  CustomBearerCredentials,
  LoopCredentials,
  OAuthClient,
  ReapitAuthorizationCode,
  ReapitClientCredentials,
  ReapitCommonCredentials,
  StreetCredentials,
} from './credentials/credential-types.js';
export { decryptCredentials, encryptCredentials, type OwnerOf } from './credentials/encryption.js';
export { type KeyInfo, KeyRing } from './credentials/key-ring.js';
export type { KeyRingDocument } from './credentials/key-ring-document.js';
export {
  credentialsCheckKeys,
  credentialsCountByKey,
  type KeyStanding,
  type KeyUsage,
} from './credentials/key-usage.js';
export {
  generateKey,
  type KeyAlgorithm,
  keyAlgorithms,
  publicHalf,
  type RingKey,
} from './credentials/keys.js';
export { type Credentials, checkCredentials } from './credentials/providers.js';
export { type CredentialsRefreshParams, credentialsRefresh } from './credentials/refresh.js';
export {
  credentialsRotate,
  type RotationFailure,
  type RotationProgress,
  type RotationResult,
} from './credentials/rotation.js';
export {
  type CredentialsConnectParams,
  type CredentialsReplaceParams,
  credentialsConnect,
  credentialsGet,
  credentialsReplace,
  type NewConnection,
  type NewCredentials,
  type ProviderCredentials,
  type ProviderCredentialsOf,
  type ReplaceOutcome,
  type StoredCredentials,
  type StoredCredentialsOf,
} from './credentials/stored.js';
