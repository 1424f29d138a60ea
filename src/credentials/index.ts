/**
 * Credentials that nobody else can read: typed by CRM, encrypted before they leave the process, bound
 * to their connection. The root of the package does without this, and without the libraries it needs.
 *
 * `credentialsConnect` is for a member of `crm_app`, within `withOrganisation`; `credentialsReplace` for that
 * or a member of `crm_worker`; whatever reads credentials, or counts their keys, for the latter alone.
 *
 * @packageDocumentation
 */
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
} from './credential-types.js';
export { decryptCredentials, encryptCredentials, type OwnerOf } from './encryption.js';
export { type CredentialsOwner, credentialsAad } from './jwe.js';
export { type KeyInfo, KeyRing } from './key-ring.js';
export type { KeyRingDocument } from './key-ring-document.js';
export { credentialsCheckKeys, credentialsCountByKey, type KeyStanding, type KeyUsage } from './key-usage.js';
export { generateKey, type KeyAlgorithm, keyAlgorithms, publicHalf, type RingKey } from './keys.js';
export { type Credentials, checkCredentials } from './providers.js';
export { type CredentialsRefreshParams, credentialsRefresh } from './refresh.js';
export {
  credentialsRotate,
  type RotationFailure,
  type RotationProgress,
  type RotationResult,
} from './rotation.js';
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
} from './stored.js';
