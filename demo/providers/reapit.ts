import { optionalTimestamp, type SyncError } from '../../src/index.js';
import { httpError, type RemoteRecord } from './common.js';

/** A contact, applicant or landlord: the fields of Reapit's models used here. */
export interface ReapitRecord {
  id: string;
  created: string;
  /** Up to seven fractional digits, sometimes without a time zone; may be missing. */
  modified?: string | null;
  /** Contacts only. */
  email?: string;
  mobilePhone?: string;
  /** Applicants and landlords only: their contacts. */
  related?: { id: string; name: string; type: 'contact'; email: string; mobilePhone?: string }[];
  /** Sent back in If-Match, including its quotes. */
  _eTag: string;
}

/** A page of a Reapit collection. A collection holds one type of record. */
export interface ReapitPage {
  _embedded: ReapitRecord[];
  pageNumber: number;
  pageSize: number;
  pageCount: number;
  totalCount: number;
}

/** Reads a page. Ids of different types look alike, so each record keeps its type. */
export function toRecords(
  entityType: 'contact' | 'applicant' | 'landlord',
  page: ReapitPage,
): RemoteRecord[] {
  return page._embedded.map(({ id, modified, email, related, _eTag }) => ({
    entityType,
    externalId: id,
    modifiedAt: optionalTimestamp(modified, { timeZone: 'UTC' }),
    version: _eTag,
    email: email ?? related?.[0]?.email ?? null,
  }));
}

/** Reads an error: `{ statusCode, dateTime, description, errors[] }`. */
export function toSyncError(body: { statusCode: number; dateTime: string; description: string }): SyncError {
  return httpError('Reapit', body.statusCode);
}

const page = (...records: ReapitRecord[]): ReapitPage => ({
  _embedded: records,
  pageNumber: 1,
  pageSize: 100,
  pageCount: 1,
  totalCount: records.length,
});

const barnaby: ReapitRecord = {
  id: 'OXF18000001',
  created: '2018-03-05T10:11:12',
  modified: '2026-11-12T09:14:03',
  email: 'barnaby@example.com',
  mobilePhone: '07700 900123',
  _eTag: '"3D1A9B5F21C04E77"',
};

const ottoline: ReapitRecord = {
  id: 'RPT120080',
  created: '2012-06-01T08:30:00',
  modified: '2026-11-13T16:42:10.4831097Z',
  related: [
    {
      id: 'RPT12000044',
      name: 'Ottoline Sprat',
      type: 'contact',
      email: 'ottoline@example.com',
      mobilePhone: '07700 900456',
    },
  ],
  _eTag: '"7C2E40D8A1F34B06"',
};

const jasper: ReapitRecord = {
  id: 'RPT120094',
  created: '2012-09-17T14:00:00',
  modified: '2026-11-10T08:00:00.0000000Z',
  related: [{ id: 'RPT12000051', name: 'Jasper Teacup', type: 'contact', email: 'jasper@example.org' }],
  _eTag: '"0F6B2D914C5A4E38"',
};

const winifred: ReapitRecord = {
  id: 'NEP110356',
  created: '2011-02-14T11:45:00',
  modified: null,
  related: [{ id: 'NEP11000203', name: 'Winifred Plum', type: 'contact', email: 'winifred@example.org' }],
  _eTag: '"A94417E0B3D24C5C"',
};

/** Landlord RPT120094 is no longer Jasper: Reapit has been known to reuse an id for another person. */
const rufus: ReapitRecord = {
  ...jasper,
  modified: '2026-11-18T10:20:00.1000000Z',
  related: [{ id: 'RPT26000007', name: 'Rufus Marrow', type: 'contact', email: 'rufus@example.com' }],
  _eTag: '"5B0C88F1D27E4A19"',
};

const winifredChanged: ReapitRecord = { ...winifred, modified: '2026-11-18T09:05:00.5Z' };
const barnabyChanged: ReapitRecord = { ...barnaby, modified: '2026-11-18T11:00:00' };
/** After NurtureHub's update. */
const ottolineChanged: ReapitRecord = {
  ...ottoline,
  modified: '2026-11-18T14:31:07.9999999Z',
  _eTag: '"E1D09A6C55B24F70"',
};

/** Winifred lets a property now: a second record of the same person. */
const winifredAsLandlord: ReapitRecord = {
  ...winifred,
  id: 'RPT120131',
  modified: '2026-11-19T15:00:00.2500000Z',
  _eTag: '"C83F5E0217A94D6B"',
};

/** The eTags that Ottoline's record had before and after NurtureHub's update. */
export const ottolineETags = { before: ottoline._eTag, after: ottolineChanged._eTag };

/** All records, as the first sync reads them. */
export const everything = [
  ...toRecords('contact', page(barnaby)),
  ...toRecords('landlord', page(ottoline, jasper)),
  ...toRecords('applicant', page(winifred)),
];

/** The records changed on Wednesday morning. */
export const wednesday = [
  ...toRecords('contact', page(barnabyChanged)),
  ...toRecords('landlord', page(rufus)),
  ...toRecords('applicant', page(winifredChanged)),
];

/** The records changed since the first of Wednesday's changes; `modifiedFrom` is inclusive. */
export const friday = [
  ...toRecords('contact', page(barnabyChanged)),
  ...toRecords('landlord', page(rufus, ottolineChanged, winifredAsLandlord)),
  ...toRecords('applicant', page(winifredChanged)),
];

/** Nothing new: `modifiedFrom` is inclusive, so Reapit returns the latest change again. */
export const sunday = toRecords('landlord', page(winifredAsLandlord));
