import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type ContactLink,
  type ContactMove,
  contactExternalIdLinkMany,
  contactExternalIdRepointMany,
  contactExternalIdResolveMany,
  contactExternalIdUnlinkMany,
  externalRecordListByContacts,
  type IfContactTaken,
  type LinkOutcome,
  type Provider,
} from '../../src/index.js';
import { createTenant, useDatabase } from '../support/database.js';

const { pool } = useDatabase();

const contactNumbers = [0, 1, 2];
const externalIds = ['1', '2', '3', '4'];
const entityTypes = ['contact', 'landlord'];
const mappedProviders: Provider[] = ['reapit', 'alto'];
// One contact at one provider has most of the ids, so that it has several aliases to promote.
const anyContact = fc.constantFrom(0, 0, 0, 1, 2);
const anyProvider = fc.constantFrom<Provider[]>('reapit', 'reapit', 'reapit', 'alto');

interface Pair {
  provider: Provider;
  entityType: string;
  externalId: string;
  contact: number;
}

type Step =
  | { kind: 'link'; pairs: Pair[]; ifContactTaken: IfContactTaken }
  | { kind: 'unlink'; pairs: Pair[] }
  | { kind: 'unlinkPrimary'; provider: Provider; contact: number }
  | { kind: 'repoint'; moves: (Pair & { to: number })[] }
  | { kind: 'swap'; provider: Provider; contacts: [number, number] };

const pair = fc.record({
  provider: anyProvider,
  entityType: fc.constantFrom(...entityTypes),
  externalId: fc.constantFrom(...externalIds),
  contact: anyContact,
});
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('link'),
      pairs: fc.array(pair, { maxLength: 5 }),
      ifContactTaken: fc.constantFrom('refuse', 'alias', 'alias'),
    }),
  },
  fc.record({ kind: fc.constant('unlink'), pairs: fc.array(pair, { maxLength: 3 }) }),
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('unlinkPrimary'),
      provider: anyProvider,
      contact: anyContact,
    }),
  },
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

/** What an external id means. */
interface Mapping extends Pair {
  isPrimary: boolean;
  /** Counts the links: the order in which the ids were first seen. */
  seen: number;
}

type RecordKey = Omit<Pair, 'contact'>;

/** The expected mappings. */
class Model {
  readonly mappings = new Map<string, Mapping>();
  promotions = 0;
  #links = 0;

  static key({ provider, entityType, externalId }: RecordKey): string {
    return `${provider} ${entityType} ${externalId}`;
  }

  primaryOf(provider: Provider, contact: number): Mapping | undefined {
    return [...this.mappings.values()].find(
      (mapping) => mapping.isPrimary && mapping.provider === provider && mapping.contact === contact,
    );
  }

  isHeld(wanted: Pair): boolean {
    return this.mappings.get(Model.key(wanted))?.contact === wanted.contact;
  }

  #add(wanted: Pair, isPrimary: boolean): void {
    this.#links += 1;
    this.mappings.set(Model.key(wanted), { ...wanted, isPrimary, seen: this.#links });
  }

  link(wanted: Pair, ifContactTaken: IfContactTaken): LinkOutcome['outcome'] {
    if (this.mappings.has(Model.key(wanted)))
      return this.isHeld(wanted) ? 'already_linked' : 'external_id_taken';
    const hasPrimary = this.primaryOf(wanted.provider, wanted.contact) !== undefined;
    if (hasPrimary && ifContactTaken === 'refuse') return 'contact_taken';
    this.#add(wanted, !hasPrimary);
    return hasPrimary ? 'linked_as_alias' : 'linked';
  }

  unlink(pairs: readonly Pair[]): boolean[] {
    const held = pairs.map((wanted) => this.isHeld(wanted));
    const gone = pairs.filter((_, index) => held[index]).map((wanted) => this.#remove(wanted));
    this.#promote(gone);
    return held;
  }

  #remove(wanted: Pair): Mapping {
    const mapping = this.mappings.get(Model.key(wanted)) as Mapping;
    this.mappings.delete(Model.key(wanted));
    return mapping;
  }

  /** Gives each contact that has lost its primary id another: of the same entity type, then the oldest. */
  #promote(gone: readonly Mapping[]): void {
    for (const { provider, contact, entityType } of gone.filter(({ isPrimary }) => isPrimary)) {
      if (this.primaryOf(provider, contact) !== undefined) continue;
      const [next] = [...this.mappings.values()]
        .filter((mapping) => mapping.provider === provider && mapping.contact === contact)
        .sort(
          (one, other) =>
            Number(one.entityType !== entityType) - Number(other.entityType !== entityType) ||
            one.seen - other.seen,
        );
      if (next === undefined) continue;
      next.isPrimary = true;
      this.promotions += 1;
    }
  }

  /** The code of the first refused element; undefined if everything moved. */
  repoint(moves: readonly (Pair & { to: number })[]): string | undefined {
    if (new Set(moves.map(Model.key)).size < moves.length) return 'invalid_input';
    for (const move of moves) {
      const { provider, to } = move;
      if (!this.isHeld(move)) return 'mapping_changed';
      const isCrowded =
        moves.filter((other) => other.provider === provider && other.to === to && this.isHeld(other)).length >
        1;
      const occupant = this.primaryOf(provider, to);
      const isLeaving = moves.some(
        (other) => occupant !== undefined && this.isHeld(other) && Model.key(other) === Model.key(occupant),
      );
      if (isCrowded || (occupant !== undefined && !isLeaving)) return 'contact_taken';
    }
    const gone = moves.map((move) => this.#remove(move));
    for (const { to, ...move } of moves) this.#add({ ...move, contact: to }, true);
    this.#promote(gone);
    return undefined;
  }
}

/** What {@link Model} expects of a contact's records, and what the database has, in the same form. */
function describeMapping({
  isPrimary,
  contact,
  ...record
}: RecordKey & { isPrimary: boolean; contact: number }) {
  return `${Model.key(record)} of ${contact}${isPrimary ? ', primary' : ''}`;
}

test('any sequence of link, alias, unlink, re-point and swap keeps every id with one contact', async () => {
  let swaps = 0;
  let promotions = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 12 }), async (steps) => {
      const { organisationId, contactIds } = await createTenant(pool, contactNumbers.length);
      const idOf = (contact: number) => contactIds[contact] as string;
      const link = ({ contact, ...record }: Pair): ContactLink => ({ ...record, contactId: idOf(contact) });
      const model = new Model();

      const repoint = async (moves: (Pair & { to: number })[]) => {
        const rows = moves.map(({ contact, to, ...record }): ContactMove => {
          return { ...record, fromContactId: idOf(contact), toContactId: idOf(to) };
        });
        const code = await contactExternalIdRepointMany(pool, { organisationId, moves: rows }).then(
          () => undefined,
          (error) => error.code,
        );
        expect(code).toBe(model.repoint(moves));
        return code;
      };

      for (const current of steps) {
        if (current.kind === 'link') {
          const { ifContactTaken } = current;
          // One call per link: within one call, key order decides which of two rivals wins.
          for (const wanted of current.pairs) {
            const links = [link(wanted)];
            const [result] = await contactExternalIdLinkMany(pool, { organisationId, links, ifContactTaken });
            expect(result?.outcome).toBe(model.link(wanted, ifContactTaken));
          }
        } else if (current.kind === 'unlink') {
          const unique = [...new Map(current.pairs.map((wanted) => [Model.key(wanted), wanted])).values()];
          const gone = await contactExternalIdUnlinkMany(pool, { organisationId, links: unique.map(link) });
          expect(gone).toEqual(model.unlink(unique));
        } else if (current.kind === 'unlinkPrimary') {
          const primary = model.primaryOf(current.provider, current.contact);
          if (primary === undefined) continue;
          const { isPrimary: _, seen: __, ...wanted } = primary;
          const links = [link(wanted)];
          expect(await contactExternalIdUnlinkMany(pool, { organisationId, links })).toEqual([true]);
          model.unlink([wanted]);
        } else if (current.kind === 'repoint') {
          await repoint(current.moves);
        } else {
          const { provider, contacts } = current;
          const [left, right] = contacts;
          const [leftId, rightId] = contacts.map((contact) => model.primaryOf(provider, contact));
          if (left === right || leftId === undefined || rightId === undefined) continue;
          const code = await repoint([
            { ...leftId, to: right },
            { ...rightId, to: left },
          ]);
          expect(code).toBeUndefined();
          swaps += 1;
        }

        const records = await externalRecordListByContacts(pool, { organisationId, contactIds });
        const found = records.map(({ contactId, ...record }) => {
          return describeMapping({ ...record, contact: contactIds.indexOf(contactId) });
        });
        expect(found.toSorted()).toEqual([...model.mappings.values()].map(describeMapping).toSorted());
        for (const provider of mappedProviders) {
          for (const entityType of entityTypes) {
            const record = { organisationId, provider, entityType };
            const owners = await contactExternalIdResolveMany(pool, { ...record, externalIds });
            for (const externalId of externalIds) {
              const owner = model.mappings.get(Model.key({ ...record, externalId }))?.contact;
              expect(owners.get(externalId)).toBe(owner === undefined ? undefined : idOf(owner));
            }
          }
        }
      }
      promotions += model.promotions;
    }),
    { numRuns: 100 },
  );
  expect(swaps).toBeGreaterThan(0);
  expect(promotions).toBeGreaterThan(0);
});
