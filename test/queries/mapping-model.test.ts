import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type ContactLink,
  type ContactMove,
  contactExternalIdLinkMany,
  contactExternalIdListByContacts,
  contactExternalIdRepointMany,
  contactExternalIdResolveMany,
  contactExternalIdUnlinkMany,
  type LinkOutcome,
  type Provider,
} from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

const contactNumbers = [0, 1, 2, 3];
const externalIds = ['1', '2', '3', '4'];
const mappedProviders: Provider[] = ['reapit', 'alto'];

interface Pair {
  provider: Provider;
  externalId: string;
  contact: number;
}

type Step =
  | { kind: 'link'; pairs: Pair[] }
  | { kind: 'unlink'; pairs: Pair[] }
  | { kind: 'repoint'; moves: (Pair & { to: number })[] }
  | { kind: 'swap'; provider: Provider; contacts: [number, number] };

const pair = fc.record({
  provider: fc.constantFrom(...mappedProviders),
  externalId: fc.constantFrom(...externalIds),
  contact: fc.constantFrom(...contactNumbers),
});
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constantFrom('link', 'unlink'), pairs: fc.array(pair, { maxLength: 5 }) }),
  fc.record({
    kind: fc.constant('repoint'),
    moves: fc
      .array(fc.tuple(pair, fc.constantFrom(...contactNumbers)), { minLength: 1, maxLength: 4 })
      .map((moves) => moves.map(([from, to]) => ({ ...from, to }))),
  }),
  fc.record({
    kind: fc.constant('swap'),
    provider: fc.constantFrom(...mappedProviders),
    contacts: fc.tuple(fc.constantFrom(...contactNumbers), fc.constantFrom(...contactNumbers)),
  }),
) as fc.Arbitrary<Step>;

/** The expected mappings: the contact of each provider and external id. */
class Model {
  readonly owners = new Map<string, number>();

  static key({ provider, externalId }: { provider: Provider; externalId: string }): string {
    return `${provider} ${externalId}`;
  }

  idOf(provider: Provider, contact: number): string | undefined {
    return externalIds.find((externalId) => this.owners.get(Model.key({ provider, externalId })) === contact);
  }

  link(wanted: Pair): LinkOutcome['outcome'] {
    const owner = this.owners.get(Model.key(wanted));
    if (owner !== undefined) return owner === wanted.contact ? 'already_linked' : 'external_id_taken';
    if (this.idOf(wanted.provider, wanted.contact) !== undefined) return 'contact_taken';
    this.owners.set(Model.key(wanted), wanted.contact);
    return 'linked';
  }

  unlink(wanted: Pair): boolean {
    if (this.owners.get(Model.key(wanted)) !== wanted.contact) return false;
    return this.owners.delete(Model.key(wanted));
  }

  /** The code of the first refused element; undefined if everything moved. */
  repoint(moves: (Pair & { to: number })[]): string | undefined {
    if (new Set(moves.map(Model.key)).size < moves.length) return 'invalid_input';
    const isHeld = (move: Pair) => this.owners.get(Model.key(move)) === move.contact;
    for (const { provider, to, ...move } of moves) {
      if (!isHeld({ provider, ...move })) return 'mapping_changed';
      const isCrowded = moves.filter((other) => other.provider === provider && other.to === to).length > 1;
      const isLeaving = moves.some(
        (other) => isHeld(other) && other.provider === provider && other.contact === to,
      );
      if (isCrowded || (this.idOf(provider, to) !== undefined && !isLeaving)) return 'contact_taken';
    }
    for (const move of moves) this.owners.set(Model.key(move), move.to);
    return undefined;
  }
}

test('any sequence of link, unlink, re-point and swap keeps both directions unique and consistent', async () => {
  let swaps = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      const { organisationId, contactIds } = await createTenant(pool, contactNumbers.length);
      const idOf = (contact: number) => contactIds[contact] as string;
      const link = ({ provider, externalId, contact }: Pair): ContactLink => ({
        provider,
        entityType: 'contact',
        externalId,
        contactId: idOf(contact),
      });
      const model = new Model();

      const repoint = async (moves: (Pair & { to: number })[]) => {
        const rows: ContactMove[] = moves.map(({ provider, externalId, contact, to }) => ({
          provider,
          entityType: 'contact',
          externalId,
          fromContactId: idOf(contact),
          toContactId: idOf(to),
        }));
        const code = await contactExternalIdRepointMany(pool, { organisationId, moves: rows }).then(
          () => undefined,
          (error) => error.code,
        );
        expect(code).toBe(model.repoint(moves));
        return code;
      };

      for (const current of steps) {
        if (current.kind === 'link') {
          // One call per link: within one call, key order decides which of two rivals wins.
          for (const wanted of current.pairs) {
            const [result] = await contactExternalIdLinkMany(pool, { organisationId, links: [link(wanted)] });
            expect(result?.outcome).toBe(model.link(wanted));
          }
        } else if (current.kind === 'unlink') {
          const unique = [...new Map(current.pairs.map((wanted) => [Model.key(wanted), wanted])).values()];
          const gone = await contactExternalIdUnlinkMany(pool, { organisationId, links: unique.map(link) });
          expect(gone).toEqual(unique.map((wanted) => model.unlink(wanted)));
        } else if (current.kind === 'repoint') {
          await repoint(current.moves);
        } else {
          const { provider, contacts } = current;
          const [left, right] = contacts;
          const [leftId, rightId] = contacts.map((contact) => model.idOf(provider, contact));
          if (left === right || leftId === undefined || rightId === undefined) continue;
          const code = await repoint([
            { provider, externalId: leftId, contact: left, to: right },
            { provider, externalId: rightId, contact: right, to: left },
          ]);
          expect(code).toBeUndefined();
          swaps += 1;
        }

        const rows = await contactExternalIdListByContacts(pool, { organisationId, contactIds });
        const byContact = rows.map((row) => [Model.key(row), contactIds.indexOf(row.contactId)]);
        expect(byContact.toSorted()).toEqual([...model.owners].toSorted());
        for (const provider of mappedProviders) {
          const found = await contactExternalIdResolveMany(pool, {
            organisationId,
            provider,
            entityType: 'contact',
            externalIds,
          });
          for (const externalId of externalIds) {
            const owner = model.owners.get(Model.key({ provider, externalId }));
            expect(found.get(externalId)).toBe(owner === undefined ? undefined : idOf(owner));
          }
        }
      }
    }),
    { numRuns: 100 },
  );
  expect(swaps).toBeGreaterThan(0);
});
