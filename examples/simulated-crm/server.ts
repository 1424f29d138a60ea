import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Provider } from '@nurturehub/crm-schema';
import { isSignIn, readCall, receivedIn } from './calls.js';
import { agentos } from './dialects/agentos.js';
import { alto } from './dialects/alto.js';
import { custom } from './dialects/custom.js';
import { type Call, type Dialect, Refusal, type Reply } from './dialects/dialect.js';
import { loop } from './dialects/loop.js';
import { reapit } from './dialects/reapit.js';
import { street } from './dialects/street.js';
import { calmed, calmHabits, drawFate, type Habits, storedName } from './habits.js';
import { Keys } from './keys.js';
import { seededRandom } from './random.js';
import type { ReceivedRequest, SimulatedCrm } from './simulated-crm.js';
import { Store } from './store.js';

export type { SimulatedCrm } from './simulated-crm.js';

const dialects: Record<Provider, Dialect> = { agentos, reapit, alto, street, loop, custom };

/**
 * Starts a simulated CRM on loopback, without misbehaviour unless `habits` say otherwise.
 *
 * The same seed gives the same ids, keys and fates: the n-th request always has the same fate.
 *
 * @param options.port defaults to a free one
 * @param options.account the name of the account, where the CRM has one
 * @param options.dialect the API of another CRM, which has the credentials of `provider`
 */
export async function startSimulatedCrm<P extends Provider>(options: {
  provider: P;
  seed: number;
  habits?: Partial<Habits>;
  port?: number;
  account?: string;
  dialect?: Dialect;
}): Promise<SimulatedCrm<P>> {
  const { provider, seed, port = 0 } = options;
  const dialect = options.dialect ?? dialects[provider];
  let habits: Habits = { ...calmHabits, ...options.habits };
  // One random source per purpose, so an edit by the test does not change the fate of a request.
  const [fates, identities, changes, wording] = [1, 2, 3, 4].map((purpose) =>
    seededRandom(seed * 4 + purpose),
  ) as [() => number, () => number, () => number, () => number];
  const keys = new Keys(identities, provider, options.account);
  const store = new Store({
    newId: (entityType, count) => dialect.newId(entityType, count, changes),
    hasEtag: dialect.hasEtag,
    random: changes,
    habits: () => habits,
  });
  let intercepted: ((call: Call) => Reply | undefined) | null = null;
  let requests = 0;
  let lastRequest: ReceivedRequest | null = null;
  let recent: number[] = [];

  function isOverLimit(): boolean {
    const now = performance.now();
    recent = recent.filter((time) => time > now - habits.requestWindowMilliseconds);
    return recent.push(now) > habits.requestLimit;
  }

  /** Handles a call in the dialect. All work is done here, synchronously. */
  function reply(call: Call, received: ReceivedRequest): Reply {
    const other = isSignIn(call) ? undefined : intercepted?.(call);
    if (other !== undefined) return other;
    try {
      return dialect.answer(call, { store, keys, random: wording, habits });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      received.reason = error.message;
      const { body, status } = dialect.error(error.status, error.message);
      return { status, body, headers: error.headers };
    }
  }

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const fate = drawFate(fates, habits);
    requests += 1;
    const received = receivedIn(request, response);
    lastRequest = received;
    const call = await readCall(request);
    const cut = () => void request.socket.destroy();
    if (fate.isCut) return cut();
    if (fate.isRateLimited || isOverLimit()) {
      const { retryAfterSeconds } = habits;
      const headers: Record<string, string> =
        retryAfterSeconds === null ? {} : { 'retry-after': String(retryAfterSeconds) };
      return send(response, { ...dialect.error(429, 'Too many requests.'), headers });
    }
    if (fate.serverError === 500 || fate.serverError === 503) {
      return send(response, dialect.error(fate.serverError, 'Something went wrong.'));
    }
    const before = store.writes.length;
    const answer = reply(call, received);
    const hasWritten = store.writes.length > before;
    if (hasWritten && fate.losesAnswer) return cut();
    if (isSignIn(call) && answer.status === 200 && fate.losesToken) return cut();
    if (fate.isSilent) return;
    await pause(fate.delayMilliseconds);
    if (fate.serverError === 502) return send(response, dialect.error(502, 'The gateway lost the answer.'));
    send(response, answer);
  }

  /** Sends a reply. `Date` is also by the CRM's own clock. */
  function send(response: ServerResponse, { status, headers = {}, body, text }: Reply): void {
    const date = new Date(store.now()).toUTCString();
    const type = body === undefined ? {} : { 'content-type': 'application/json' };
    response.writeHead(status, { date, ...type, ...headers });
    response.end(text ?? (body === undefined ? undefined : JSON.stringify(body)));
  }

  const server = createServer((request, response) => {
    // A killed client is not an error.
    serve(request, response).catch((error) => {
      if (request.destroyed && !request.complete) return;
      console.error('The simulated CRM is broken:', error);
      request.socket.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    provider,
    url,
    dialect,
    now: () => store.now(),
    holdBack: (change) => store.holdBack(change),
    intercept(answer) {
      intercepted = answer;
    },
    credentials: keys.signIn(provider, url),
    signIn: (grant) => keys.signIn(provider, url, grant),
    create: (person, reference = null, entityType = 'contact') => {
      return store.create(entityType, typeof person === 'string' ? { name: person } : person, reference);
    },
    edit: (externalId, change) => {
      return store.change(externalId, typeof change === 'string' ? { name: change } : change);
    },
    archive: (externalId) => store.change(externalId, { state: 'archived' }),
    unarchive: (externalId) => store.unarchive(externalId),
    delete: (externalId) => store.change(externalId, { state: 'deleted' }),
    hide: (externalId) => store.change(externalId, { state: 'hidden' }),
    restore: (externalId, name) => store.restore(externalId, name),
    stored: (name) => storedName(habits.naming, name),
    account: keys.account,
    merge(from, into) {
      const { reference } = store.change(from, { state: 'merged', mergedInto: into });
      return store.change(into, { reference: store.get(into)?.reference ?? reference });
    },
    records: () => store.records(),
    writes: store.writes,
    get requests() {
      return requests;
    },
    get lastRequest() {
      return lastRequest;
    },
    get signIns() {
      return keys.signIns;
    },
    calm() {
      habits = calmed(habits);
    },
    setHabits(changed) {
      habits = { ...habits, ...changed };
    },
    expireAccessTokens: () => keys.expireAccessTokens(),
    revokeTokens: () => keys.revoke(),
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}
