/**
 * Encrypted credentials: typed by CRM, encrypted before they leave the process, and bound to their
 * connection. The root of the package works without this entry point and the libraries it needs.
 *
 * Members of `crm_app` call `credentialsConnect` inside `withOrganisation`. Members of `crm_app`, inside
 * `withOrganisation`, and of `crm_worker` call `credentialsReplace`. Only members of `crm_worker` may read
 * credentials, rotate keys or count connections by key.
 *
 * @packageDocumentation
 */

export { type CredentialsOwner, credentialsAad } from './connections/encrypted-credentials.js';
export { credentialAccount } from './credentials/credential-account.js';
export { type Credentials, checkCredentials } from './credentials/credential-checks.js';
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
} from './credentials/keys-in-use.js';
export {
  type CredentialsRefreshParams,
  credentialsRefresh,
  type RefreshRefusal,
} from './credentials/refresh.js';
export {
  type CredentialsToRevoke,
  type CredentialsToRevokeOf,
  credentialsClaimRevocation,
  credentialsRevoked,
} from './credentials/revocation.js';
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
} from './credentials/stored-credentials.js';
export { type TokenHasExpiredParams, tokenExpiresAt, tokenHasExpired } from './credentials/token-expiry.js';
export {
  generateKey,
  type KeyAlgorithm,
  keyAlgorithms,
  publicHalf,
  type RingKey,
} from './credentials/wrapping-keys.js';
