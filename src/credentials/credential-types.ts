import type { Json } from '../types.js';

/** An OAuth client. */
export interface OAuthClient {
  /** The client id. */
  id: string;
  /** The client secret. */
  secret: string;
}

/** agentOS: an API key. */
export interface AgentosCredentials {
  /** Sent as the header `api_key`. */
  apiKey: string;
  /** The URL path segment that names the agency. */
  shortName: string;
  /** Limits the connection to one branch. */
  branchOid?: string | undefined;
}

/** Fields shared by both Reapit grants. */
export interface ReapitCommonCredentials {
  /** The agency's own OAuth client; defaults to NurtureHub's. */
  client?: OAuthClient | undefined;
  /** The latest access token, valid for one hour. */
  accessToken?: string | undefined;
  /** Sent as the header `api-version`. */
  apiVersion?: string | undefined;
}

/** Reapit with the client credentials grant. */
export interface ReapitClientCredentials extends ReapitCommonCredentials {
  /** The OAuth grant type. */
  grant: 'client_credentials';
  /** Sent as the header `reapit-customer`: names the agency; `SBOX` is the sandbox. */
  customer: string;
}

/** Reapit with the authorization code grant, for which someone at the agency has signed in. */
export interface ReapitAuthorizationCode extends ReapitCommonCredentials {
  /** The OAuth grant type. */
  grant: 'authorization_code';
  /** Single use: each refresh returns a new one. */
  refreshToken: string;
  /** Sent as the header `reapit-customer`, if known. */
  customer?: string | undefined;
}

/** Alto: the agency, and the OAuth client that gets its tokens. */
export interface AltoCredentials {
  /** Sent as the header `AgencyRef`: the agency's GUID. */
  agencyRef: string;
  /** The agency's own OAuth client; defaults to NurtureHub's. */
  client?: OAuthClient | undefined;
  /** The latest access token. */
  accessToken?: string | undefined;
}

/** Street: a bearer token. */
export interface StreetCredentials {
  /** The application's bearer token, which Street shows once. */
  token: string;
  /** Whether the token belongs to Street's sandbox, which has another base URL; defaults to false. */
  sandbox?: boolean | undefined;
}

/** Loop: an API key, and any other fields. */
export interface LoopCredentials {
  /** Sent as the header `x-api-key`. */
  apiKey: string;
  /** Fields unknown to this package. */
  [field: string]: Json;
}

/** An agency's own CRM that takes a bearer token, and any other fields. */
export interface CustomBearerCredentials {
  /** Sends `Authorization: Bearer …`. */
  scheme: 'bearer';
  /** The base URL of the CRM's API: https, or http on loopback. */
  baseUrl: string;
  /** The bearer token. */
  token: string;
  /** Fields unknown to this package. */
  [field: string]: Json;
}

/** An agency's own CRM that takes an API key in a header, and any other fields. */
export interface CustomApiKeyCredentials {
  /** Sends the API key in a header. */
  scheme: 'api_key';
  /** The base URL of the CRM's API: https, or http on loopback. */
  baseUrl: string;
  /** The header's name: a token as in RFC 9110. */
  header: string;
  /** The API key. */
  apiKey: string;
  /** Fields unknown to this package. */
  [field: string]: Json;
}

/** The decrypted credentials of each CRM. */
export interface CredentialsByProvider {
  /** agentOS. */
  agentos: AgentosCredentials;
  /** Reapit, discriminated by `grant`. */
  reapit: ReapitClientCredentials | ReapitAuthorizationCode;
  /** Alto. */
  alto: AltoCredentials;
  /** Street. */
  street: StreetCredentials;
  /** Loop. */
  loop: LoopCredentials;
  /** An agency's own CRM, discriminated by `scheme`. */
  custom: CustomBearerCredentials | CustomApiKeyCredentials;
}
