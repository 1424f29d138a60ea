// Loaded before a program: sets type parsers for every client of pg in the process, as some applications do.
import pg from 'pg';

pg.types.setTypeParser(pg.types.builtins.INT8, BigInt);
pg.types.setTypeParser(pg.types.builtins.TIMESTAMPTZ, (text) => Date.parse(text));
pg.types.setTypeParser(pg.types.builtins.JSONB, (text) => text);
pg.types.setTypeParser(pg.types.builtins.BOOL, (text) => (text === 't' ? 1 : 0));
pg.types.setTypeParser(pg.types.builtins.UUID, (text) => text.toUpperCase());
