import type { Json } from '../types.js';

/** An OAuth client. */
export interface OAuthClient {
  /** Its id. */
  id: string;
  /** Its secret. */
  secret: string;
}

/** agentOS: an API key. */
export interface AgentosCredentials {
  /** Sent as the header `api_key`. */
  apiKey: string;
  /** The segment of each URL's path that names the agency. */
  shortName: string;
  /** Narrows the connection to one branch. */
  branchOid?: string | undefined;
}

/** What both of Reapit's grants share. */
export interface ReapitCommonCredentials {
  /** The agency's own OAuth client; without it NurtureHub's. */
  client?: OAuthClient | undefined;
  /** The latest access token: an hour long. */
  accessToken?: string | undefined;
  /** Sent as the header `api-version`. */
  apiVersion?: string | undefined;
}

/** Reapit, by the grant for a client alone. */
export interface ReapitClientCredentials extends ReapitCommonCredentials {
  /** OAuth's name of it. */
  grant: 'client_credentials';
  /** Sent as the header `reapit-customer`: which agency; `SBOX` is the sandbox. */
  customer: string;
}

/** Reapit, by the grant for which a person of the agency has signed in. */
export interface ReapitAuthorizationCode extends ReapitCommonCredentials {
  /** OAuth's name of it. */
  grant: 'authorization_code';
  /** Single use: each refresh brings another. */
  refreshToken: string;
  /** Sent as the header `reapit-customer`, where it is known. */
  customer?: string | undefined;
}

/** Alto: which agency, and the client that gets its tokens. */
export interface AltoCredentials {
  /** Sent as the header `AgencyRef`: which agency, as a GUID. */
  agencyRef: string;
  /** The agency's own OAuth client; without it NurtureHub's. */
  client?: OAuthClient | undefined;
  /** The latest access token. */
  accessToken?: string | undefined;
}

/** Street: a bearer token. */
export interface StreetCredentials {
  /** The application's bearer token, which Street shows once. */
  token: string;
  /** Whether it belongs to Street's sandbox, which has another base URL; false if not given. */
  sandbox?: boolean | undefined;
}

/** Loop: an API key, and whatever else. */
export interface LoopCredentials {
  /** Sent as the header `x-api-key`. */
  apiKey: string;
  /** What we do not know. */
  [field: string]: Json;
}

/** A CRM of the agency's own that takes a bearer token, and whatever else. */
export interface CustomBearerCredentials {
  /** Sends `Authorization: Bearer …`. */
  scheme: 'bearer';
  /** Where the CRM's API is: https, or http on this very machine. */
  baseUrl: string;
  /** The bearer token. */
  token: string;
  /** What we do not know. */
  [field: string]: Json;
}

/** A CRM of the agency's own that takes a key as a header, and whatever else. */
export interface CustomApiKeyCredentials {
  /** Sends the key as a header. */
  scheme: 'api_key';
  /** Where the CRM's API is: https, or http on this very machine. */
  baseUrl: string;
  /** The header's name: RFC 9110's token. */
  header: string;
  /** The key. */
  apiKey: string;
  /** What we do not know. */
  [field: string]: Json;
}

/** The credentials of each CRM, decrypted. */
export interface CredentialsByProvider {
  /** agentOS. */
  agentos: AgentosCredentials;
  /** Reapit; to be told apart by `grant`. */
  reapit: ReapitClientCredentials | ReapitAuthorizationCode;
  /** Alto. */
  alto: AltoCredentials;
  /** Street. */
  street: StreetCredentials;
  /** Loop. */
  loop: LoopCredentials;
  /** A CRM of the agency's own; to be told apart by `scheme`. */
  custom: CustomBearerCredentials | CustomApiKeyCredentials;
}
