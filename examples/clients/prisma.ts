// With Prisma 7 and its adapter for pg: in an interactive transaction of Prisma, on its client. contacts.prisma is its schema.
import { organisationSet } from '@nurturehub/crm-schema';
import { clientOf, shareClients } from '@nurturehub/crm-schema/clients';
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { recordImport, runImport } from './import.js';
import { PrismaClient } from './prisma-client/client.js';

const pool = shareClients(new pg.Pool({ connectionString: process.env.DATABASE_URL }));
const prisma = new PrismaClient({ adapter: new PrismaPg(pool) });

await runImport((person) =>
  prisma.$transaction(async (tx) => {
    const client = await clientOf((statement) => tx.$queryRawUnsafe(statement));
    await organisationSet(client, person);
    await tx.contact.update({ where: { id: person.contactId }, data: { name: person.name } });
    await recordImport(client, person);
  }),
);
await prisma.$disconnect();
await pool.end();
