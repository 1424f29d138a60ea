// The habits of the simulated Reapit that its documentation states. The adapter is tested against it in test/adapters.
import { afterAll, describe, expect, test } from 'vitest';
import { type SimulatedCrm, startSimulatedCrm } from '../../examples/simulated-crm/server.js';
import { refreshAccessToken } from './client.js';

const started: SimulatedCrm[] = [];
afterAll(() => Promise.all(started.map((crm) => crm.stop())));

interface Reply {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: as the CRM sends it.
  body: any;
}

/** Starts a Reapit; `ask` sends a request with the headers of a user who has signed in, or with others. */
async function start() {
  const crm = await startSimulatedCrm({ provider: 'reapit', seed: 1, habits: { pageSize: 1_000 } });
  started.push(crm);
  const { credentials } = await refreshAccessToken(crm.url, crm.signIn());
  const usual = { authorization: `Bearer ${credentials.accessToken}`, 'api-version': '2020-01-31' };
  const ask = async (path: string, init: RequestInit = {}, headers: object = usual): Promise<Reply> => {
    const all = { ...headers, ...(init.headers as object) } as Record<string, string>;
    const response = await fetch(crm.url + path, { ...init, headers: all });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text && JSON.parse(text) };
  };
  return { crm, ask, usual };
}

type Started = Awaited<ReturnType<typeof start>>;

const basic = (id: string, secret: string) => `Basic ${btoa(`${id}:${secret}`)}`;

describe('the token endpoint', () => {
  const token = ({ ask }: Started, form: Record<string, string>, authorization: string) =>
    ask('/token', { method: 'POST', body: new URLSearchParams(form) }, { authorization });

  test('gives a token for an hour to a client that is named in Basic and in the form', async () => {
    const reapit = await start();
    const { client } = reapit.crm.signIn('client_credentials');
    const { id = '', secret = '' } = client ?? {};
    const form = { grant_type: 'client_credentials', client_id: id };
    const { body } = await token(reapit, form, basic(id, secret));
    expect(body).toEqual({ access_token: expect.any(String), token_type: 'Bearer', expires_in: 3600 });
    const refused = { status: 401, body: { error: 'invalid_client' } };
    expect(await token(reapit, form, basic(id, 'wrong'))).toMatchObject(refused);
    expect(await token(reapit, form, '')).toMatchObject(refused);
    const nameless = { grant_type: 'client_credentials' };
    expect(await token(reapit, nameless, basic(id, secret))).toMatchObject(refused);
    const other = await token(reapit, { ...form, grant_type: 'password' }, basic(id, secret));
    expect(other).toMatchObject({ status: 400, body: { error: 'unsupported_grant_type' } });
    reapit.crm.revokeTokens();
    expect(await token(reapit, form, basic(id, secret))).toMatchObject(refused);
  });
});

describe('a request', () => {
  test('needs a token, the version and, without a user, the customer', async () => {
    const { crm, ask, usual } = await start();
    expect((await ask('/contacts')).status).toBe(200);
    const { 'api-version': _, ...versionless } = usual;
    expect((await ask('/contacts', {}, versionless)).status).toBe(400);
    const other = { ...usual, 'reapit-customer': 'OTHER' };
    expect((await ask('/contacts', {}, other)).status).toBe(403);
    const { credentials } = await refreshAccessToken(crm.url, crm.signIn('client_credentials'));
    const machine = { ...usual, authorization: `Bearer ${credentials.accessToken}` };
    expect((await ask('/contacts', {}, machine)).status).toBe(403);
    expect((await ask('/contacts', {}, { ...machine, 'reapit-customer': 'SBOX' })).status).toBe(200);
    crm.expireAccessTokens();
    const expired = await ask('/contacts');
    expect(expired).toMatchObject({
      status: 401,
      body: { statusCode: 401, dateTime: expect.any(String), description: expect.any(String), errors: [] },
    });
  });
});

describe('a list', () => {
  test('has pages of 25 contacts, or of up to a hundred, and says how many there are', async () => {
    const { crm, ask } = await start();
    for (let count = 0; count < 101; count += 1) crm.create(`Test Person ${count}`);
    expect((await ask('/contacts')).body).toMatchObject({ pageSize: 25, pageCount: 25, totalCount: 101 });
    const { body } = await ask('/contacts?pageSize=500&pageNumber=2');
    expect(body).toMatchObject({ pageNumber: 2, pageSize: 100, pageCount: 1, totalPageCount: 2 });
    expect(body._embedded).toMatchObject([{ forename: 'Test Person', surname: '100', fromArchive: false }]);
  });

  test('leaves archived contacts out unless it is asked for them, and deleted ones always', async () => {
    const { crm, ask } = await start();
    const [kept = '', archived = '', deleted = ''] = ['a', 'b', 'c'].map(
      (name) => crm.create(name).externalId,
    );
    crm.archive(archived);
    crm.delete(deleted);
    const listed = async (query: string) =>
      (await ask(`/contacts${query}`)).body._embedded.map(({ id }: { id: string }) => id);
    expect(await listed('')).toEqual([kept]);
    expect(await listed('?fromArchive=false')).toEqual([kept]);
    expect(await listed('?fromArchive=true')).toEqual([archived]);
    expect((await ask(`/contacts/${archived}`)).body).toMatchObject({ fromArchive: true });
    expect((await ask(`/contacts/${deleted}`)).status).toBe(404);
  });

  test('is in the order of modification if it is asked for, and takes times with a zone', async () => {
    const { crm, ask } = await start();
    const [first, second] = [crm.create('a'), crm.create('b')];
    crm.edit(first.externalId, 'c');
    const ids = async (query: string) =>
      (await ask(`/contacts?${query}`)).body._embedded.map(({ id }: { id: string }) => id);
    expect(await ids('')).toEqual([first.externalId, second.externalId]);
    expect(await ids('sortBy=modified')).toEqual([second.externalId, first.externalId]);
    expect(await ids(`modifiedFrom=${crm.records()[0]?.modifiedAt}`)).toEqual([first.externalId]);
    expect((await ask('/contacts?modifiedFrom=2026-07-01T10:00:00')).status).toBe(400);
  });
});

test('a creation needs a surname, the consent, an office and a negotiator, and tells only where the contact is', async () => {
  const { crm, ask } = await start();
  const whole = {
    surname: 'Sprat',
    marketingConsent: 'notAsked',
    officeIds: ['OXF'],
    negotiatorIds: ['JAS'],
  };
  const post = (body: object) => ask('/contacts', { method: 'POST', body: JSON.stringify(body) });
  for (const field of Object.keys(whole)) {
    const { status, body } = await post({ ...whole, [field]: undefined });
    expect([status, body.errors[0].field]).toEqual([422, field]);
  }
  const created = await post(whole);
  expect(created).toMatchObject({ status: 201, body: '' });
  expect(created.headers.get('location')).toBe(`/contacts/${crm.records()[0]?.externalId}`);
});

test('an update needs the current eTag with its quotes, and leaves out what it does not name', async () => {
  const { crm, ask } = await start();
  const { externalId, version } = crm.create({ name: 'Ottoline Sprat', email: 'ottoline@example.com' });
  const patch = (headers: Record<string, string>, body: object) =>
    ask(`/contacts/${externalId}`, { method: 'PATCH', headers, body: JSON.stringify(body) });
  for (const etag of [undefined, String(version).slice(1, -1), '"other"'])
    expect((await patch(etag ? { 'if-match': etag } : {}, {})).status).toBe(412);
  const current = { 'if-match': String(version) };
  expect(await patch(current, { mobilePhone: '07700 900123', email: null })).toMatchObject({
    status: 204,
    body: '',
  });
  const read = await ask(`/contacts/${externalId}`);
  expect(read.body).toMatchObject({
    forename: 'Ottoline',
    surname: 'Sprat',
    mobilePhone: '07700 900123',
    email: 'ottoline@example.com',
  });
  expect(read.headers.get('etag')).toBe(read.body._eTag);
  expect(read.body._eTag).not.toBe(version);
  crm.archive(externalId);
  const archived = await patch({ 'if-match': String(crm.records()[0]?.version) }, {});
  expect(archived).toMatchObject({ status: 400, body: { description: expect.stringContaining('archived') } });
});

test('a 429 has no Retry-After unless a habit says so', async () => {
  const { crm, ask } = await start();
  crm.setHabits({ rateLimited: 1, retryAfterSeconds: null });
  const { status, headers } = await ask('/contacts');
  expect([status, headers.get('retry-after')]).toEqual([429, null]);
});
